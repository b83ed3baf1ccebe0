"""A comparison as a document: sentences first, then every number that they rest on."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev

from cvlab.compare_config import differences
from cvlab.compare_costs import machines_differ
from cvlab.compare_definitions import meanings_sections
from cvlab.compare_differences import differences_sections, other_tests_blocks
from cvlab.compare_entrants import Entrant
from cvlab.compare_expected import expected_blocks
from cvlab.compare_figures import DIFFERENCES
from cvlab.compare_found import SYNTHETIC, Compared, costs_row, value_text
from cvlab.compare_task import cell_at
from cvlab.compare_words import images_of
from cvlab.document import Alert, Block, Bullets, Code, Document, Paragraph, Picture, Pictures, Section, Table
from cvlab.errors import counted
from cvlab.metrics.intervals import INTERVALS
from cvlab.report_text import code, md

LEADING = 3
NO_BREAK = "\u00a0"
REPETITIONS = "What each run of a model came to on its own test samples."


def document_of(found: Compared, pictures: Sequence[Picture]) -> Document:
    """Returns the document of a comparison with the pictures that were drawn."""
    of_differences = [picture for picture in pictures if Path(picture.path).stem == DIFFERENCES]
    others = [picture for picture in pictures if picture not in of_differences]
    sections = [
        Section("In words", _in_words(found)),
        Section("Leaderboard", _leaderboard(found)),
        Section("All metrics", _all_metrics(found)),
        *_repetitions(found),
        Section("Against published figures", expected_blocks(found)),
        Section("Curves", [Pictures(others)] if others else []),
        *differences_sections(found, of_differences),
        Section("Other tests of the same differences", other_tests_blocks(found)),
        Section("What differs in the configurations", _configurations(found)),
        Section("What differs in devices and versions", _machines(found)),
        Section("What was compared", _runs(found)),
        Section("Repeat this comparison", [Code(shlex.join(found.command), "sh")]),
        *meanings_sections(found),
    ]
    return Document(_title(found), _opening(found), [section for section in sections if section.blocks])


def _title(found: Compared) -> str:
    names = ", ".join(md(entrant.name) for entrant in found.entrants[:LEADING])
    more = f" and {len(found.entrants) - LEADING} more" if len(found.entrants) > LEADING else ""
    return f"{f'{SYNTHETIC}: ' if all(found.synthetic) else ''}Comparison: {names}{more}"


def _opening(found: Compared) -> list[Block]:
    blocks: list[Block] = []
    if all(found.synthetic):
        text = "The images of these runs were drawn by a program. Their numbers say nothing about real images."
        blocks.append(Alert(f"{SYNTHETIC}.", [text]))
    if found.warnings:
        blocks.append(Alert("To beware of:", list(found.warnings)))
    return [*blocks, Paragraph(_tested_on(found))]


def _tested_on(found: Compared) -> str:
    samples, ranked = found.samples, found.metrics[0].label
    images = images_of(samples, found.split)
    groups = f", which come in {counted(samples.groups, 'group')} (patients, persons)" if samples.grouped else ""
    what = {
        "samples": f"All models were tested on the same images: {images}{groups}.",
        "seeds": f"Runs of equal seeds were tested on the same images, out of {images}{groups}.",
        "nothing": f"The runs were tested on different images, out of {images}{groups}.",
    }[samples.pairing]
    if any(samples.left_out.values()):
        left = ", ".join(f"{count:,} of {md(name)}" for name, count in samples.left_out.items() if count)
        what += f" Images that other runs were not tested on are left out ({left})."
    return f"{what} The models are ranked by {md(ranked)}."


def _in_words(found: Compared) -> list[Block]:
    blocks: list[Block] = [Bullets(found.sentences())]
    if len(found.pairs) > 1:
        adjusted = f"p is adjusted for {counted(len(found.pairs), 'pair')} (Holm)."
        if len(found.told_pairs) < len(found.pairs):
            adjusted += f" Told are the {len(found.told_pairs)} pairs of the best model; compare.json has all."
        blocks.append(Paragraph(adjusted))
    return blocks


def _leaderboard(found: Compared) -> list[Block]:
    leading = found.metrics[:LEADING]
    head = ["", "model", *(md(metric.label) for metric in leading)]
    rows = [
        [
            entrant.letter,
            md(entrant.title),
            *(value_text(found, entrant, metric) for metric in leading),
            *(cell.replace(" ", NO_BREAK) for cell in costs_row(entrant)),
        ]
        for entrant in found.entrants
    ]
    table = Table([*head, "parameters", "size", "training", "images/s"], rows, text_columns=2)
    return [table, Paragraph(_about_values(found))]


def _about_values(found: Compared) -> str:
    described = [entrant.results[0].metrics.get(INTERVALS) for entrant in found.entrants if entrant.kind != "seeds"]
    levels = sorted({f"{one['confidence'] * 100:g} %" for one in described if one})
    said = [f"In brackets stand {' or '.join(levels)} intervals."] if levels else []
    if levels and _lacks_intervals(found):
        said.append("Why a value has none stands in the report of the run.")
    if any(entrant.kind == "seeds" for entrant in found.entrants):
        said.append("Behind ± stands the standard deviation over the runs, before it their mean.")
    if any(entrant.kind == "folds" for entrant in found.entrants):
        said.append("Of folds the predictions of all test folds are judged together.")
    return " ".join(
        [*said, "Size is that of best.keras; time and speed are those of training, and depend on the machine."]
    )


def _lacks_intervals(found: Compared) -> bool:
    cells = [
        cell_at(entrant.results[0].metrics, metric.path)
        for entrant in found.entrants
        for metric in found.metrics
        if entrant.kind != "seeds"
    ]
    return any(cell is not None and "no_interval" in cell for cell in cells)


def _all_metrics(found: Compared) -> list[Block]:
    rows = [
        [md(metric.label), *(value_text(found, entrant, metric) for entrant in found.entrants)]
        for metric in found.metrics[LEADING:]
    ]
    return [Table(["metric", *(entrant.letter for entrant in found.entrants)], rows)] if rows else []


def _repetitions(found: Compared) -> list[Section]:
    several = [entrant for entrant in found.entrants if len(entrant.parts) > 1]
    parts = [
        Section(f"{entrant.letter} {md(entrant.title)}", [_runs_table(found, entrant)], level=3) for entrant in several
    ]
    return [Section("Repetitions", [Paragraph(REPETITIONS)]), *parts] if several else []


def _runs_table(found: Compared, entrant: Entrant) -> Table:
    rows = []
    for metric in found.metrics:
        values = entrant.values_of_parts(metric.path)
        if len(values) > 1 and metric.path[0] not in ("per_class", "per_target"):
            numbers = (fmean(values), stdev(values), min(values), max(values))
            rows.append([md(metric.label), *map(found.task.show, numbers), f"{len(values)}"])
    return Table(["metric", "mean", "standard deviation", "min", "max", "runs"], rows)


def _configurations(found: Compared) -> list[Block]:
    rows = differences([[record.config for record in entrant.records] for entrant in found.entrants])
    if not rows:
        return [Paragraph("Nothing.")] if len(found.entrants) > 1 else []
    cells = [[code(key), *map(code, values)] for key, values in rows]
    return [
        Table(["key", *(entrant.letter for entrant in found.entrants)], cells, text_columns=len(found.entrants) + 1)
    ]


def _machines(found: Compared) -> list[Block]:
    rows = [[md(key), *map(md, values)] for key, values in machines_differ(found.entrants)]
    letters = [entrant.letter for entrant in found.entrants]
    return [Table(["", *letters], rows, text_columns=len(letters) + 1)] if rows else []


def _runs(found: Compared) -> list[Block]:
    rows = [
        [entrant.letter, md(entrant.title), code(record.run.path)]
        for entrant in found.entrants
        for record in entrant.records
    ]
    table = Table(["", "model", "run folder"], rows, text_columns=3)
    return [table, *([Bullets(list(found.left_out))] if found.left_out else [])]
