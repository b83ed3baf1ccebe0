"""The tables of differences between models, and of further tests of them."""

from __future__ import annotations

from collections.abc import Sequence

from cvlab.compare_definitions import LOWER_IS_BETTER
from cvlab.compare_draws import resamples_of
from cvlab.compare_found import Compared
from cvlab.compare_tests import Comparison, Pair
from cvlab.compare_words import evidence, p_cell
from cvlab.document import Block, Paragraph, Picture, Pictures, Section, Table
from cvlab.report_text import md

READING = (
    "Each difference is the value of the first model less that of the second; in brackets its 95 % interval. p is "
    "adjusted for the number of pairs (Holm), metric by metric; it is not adjusted for looking at several metrics. "
    "Below 0.05 it counts as evidence and stands in bold. The intervals are not adjusted."
)
THESE_NETWORKS = (
    "Tests of single runs are about these trained networks on images like these. How much a result would change if a "
    "network was trained anew, they cannot tell: repeat it with other seeds (cvlab train CONFIG --seeds 5) and compare "
    "those."
)

NOT_INDEPENDENT = (
    "These tests take the images to be independent. Images of one group (a patient, a person) are not, so that their p "
    "is too small as a rule; they stand here for comparison with what others report."
)


def differences_sections(found: Compared, pictures: Sequence[Picture]) -> list[Section]:
    """Returns how to read differences and the picture of them, then a section with a table for each pair told of."""
    if not found.pairs:
        return []
    blocks: list[Block] = [Paragraph(READING), Paragraph(_about_bootstrap(found))]
    if any(entrant.kind == "run" for entrant in found.entrants):
        blocks.append(Paragraph(md(THESE_NETWORKS)))
    if pictures:
        blocks.append(Pictures(pictures))
    return [Section("Differences", blocks), *(_pair_section(found, pair) for pair in found.told_pairs)]


def _pair_section(found: Compared, pair: Pair) -> Section:
    models = (pair.first, pair.second)
    rows = [_difference_row(found, one) for one in pair.comparisons]
    head = ["metric", "test", *(model.letter for model in models), "difference", "p (adjusted)"]
    heading = " against ".join(f"{model.letter} {md(model.title)}" for model in models)
    return Section(heading, [Table(head, rows, text_columns=2)], level=3)


def _difference_row(found: Compared, one: Comparison) -> list[str]:
    show = found.task.show
    values = ["undefined" if value is None else show(value) for value in (one.first, one.second)]
    label = md(one.metric.label) + (LOWER_IS_BETTER if one.metric.lower_is_better else "")
    tested = md("; ".join(text for text in (one.test, one.reason) if text))
    if one.difference is None:
        return [label, tested, *values, "", ""]
    interval = "" if one.low is None or one.high is None else f" ({show(one.low)} to {show(one.high)})"
    p = md(p_cell(one.p_holm))
    return [label, tested, *values, f"{show(one.difference)}{interval}", f"**{p}**" if evidence(one) else p]


def _about_bootstrap(found: Compared) -> str:
    unit = "groups" if found.samples.grouped else "images"
    several = any(entrant.kind == "seeds" for entrant in found.entrants)
    runs = (
        " Where a model has several runs, the spread over the runs is added to that over the images, and Student's t "
        "with the degrees of freedom of Welch and Satterthwaite takes the place of percentiles."
        if several
        else ""
    )
    return (
        f"Bootstrap: both models on the same {resamples_of(found.entrants):,} resamples of {unit}, drawn whole; "
        f"expanded percentile interval, and the p at which it just reaches 0.{runs}"
    )


def other_tests_blocks(found: Compared) -> list[Block]:
    """Returns the tests that are not the main one of their metric, and what to think of them."""
    rows = [
        [
            f"{pair.first.letter} - {pair.second.letter}",
            md(one.metric.label),
            md(other.test.name),
            md(other.test.note),
            md(p_cell(other.p_holm)) or "cannot be made",
        ]
        for pair in found.told_pairs
        for one in pair.comparisons
        for other in one.others
    ]
    if not rows:
        return []
    table = Table(["pair", "metric", "test", "counts", "p (adjusted)"], rows, text_columns=4)
    return [Paragraph(NOT_INDEPENDENT), table] if found.samples.grouped else [table]
