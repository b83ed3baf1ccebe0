"""A comparison in plain sentences, which can say that there is no evidence of a difference."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean, stdev

from cvlab.compare_entrants import Entrant
from cvlab.compare_match import Samples
from cvlab.compare_task import Metric, Show
from cvlab.compare_tests import Comparison, Pair

LEVEL = 0.05
ACCURACY = ("accuracy",)
SPLITS = {"val": "validation"}


@dataclass(frozen=True)
class _Told:
    """A comparison seen from the better model.

    Attributes:
        metric: The metric.
        better: The name of the model with the better value.
        worse: That of the other.
        values: Both values, the better one first.
        gain: How far they are apart, from 0.
        interval: Of the gain; below 0 the other one is better. None where there is none.
    """

    metric: Metric
    better: str
    worse: str
    values: tuple[float, float]
    gain: float
    interval: tuple[float, float] | None

    @classmethod
    def of(cls, pair: Pair, found: Comparison) -> _Told:
        assert found.difference is not None
        assert found.first is not None
        assert found.second is not None
        names, values = (pair.first.title, pair.second.title), (found.first, found.second)
        up = -1 if found.metric.lower_is_better else 1
        interval = None
        first_is_better = up * found.difference >= 0
        if found.low is not None and found.high is not None:
            ends = (found.low, found.high) if first_is_better == (up == 1) else (-found.high, -found.low)
            interval = ends
        if not first_is_better:
            names, values = names[::-1], values[::-1]
        return cls(found.metric, *names, values, abs(found.difference), interval)


def images_of(samples: Samples, split: str) -> str:
    """Returns `the 1,600 test images`."""
    return f"the {len(samples.ids):,} {SPLITS.get(split, split)} images"


def p_text(p: float) -> str:
    """Returns `p < 0.001`, `p = 0.012` or `p = 0.37`, with so many decimals that it stays on its side of 0.05."""
    if p < 0.001:
        return "p < 0.001"
    digits = 2 if p >= 0.1 else 3
    while digits < 6 and (float(f"{p:.{digits}f}") < LEVEL) != (p < LEVEL):
        digits += 1
    return f"p = {p:.{digits}f}"


def p_cell(p: float | None) -> str:
    """Returns the same for a table: `< 0.001`, `0.012`; empty for no p."""
    return "" if p is None else p_text(p).removeprefix("p ").removeprefix("= ")


def evidence(found: Comparison) -> bool:
    """Whether there is evidence of a difference, all pairs considered."""
    return found.p_holm is not None and found.p_holm < LEVEL


def sentences_of_pair(pair: Pair, samples: Samples, split: str, show: Show) -> list[str]:
    """Returns what a pair comes to: by the metric that ranks the models, by the second one, and where others differ.

    Args:
        pair: Two models.
        samples: What they were tested on.
        split: What these are called.
        show: How a value is written.
    """
    said = [sentence(pair, found, images_of(samples, split), show) for found in pair.comparisons[:2]]
    return [*said, *_others(pair)]


def sentence(pair: Pair, found: Comparison, images: str, show: Show) -> str:
    """Returns a sentence on one metric of a pair; `images` are those that it was tested on."""
    label = found.metric.label
    if found.difference is None:
        values = ((pair.first, found.first), (pair.second, found.second))
        lacking = [model.title for model, value in values if value is None]
        return f"The {label} cannot be compared: it is undefined for {' and for '.join(lacking)}."
    told = _Told.of(pair, found)
    if found.p_holm is None:
        facts = _facts(told, images, show, than=False)
        return (
            f"Whether {told.better} and {told.worse} differ in {label} cannot be told, since {found.reason}: {facts}."
        )
    tested = f"{p_text(found.p_holm)} ({found.test.partition(' (')[0]})"
    facts = f"{_facts(told, images, show, than=evidence(found))}, {_interval(told, show)}{tested}."
    if evidence(found):
        return facts
    return f"No evidence of a difference in {label} between {told.better} and {told.worse}: {facts}"


def sentence_of_runs(entrant: Entrant, metric: Metric, show: Show) -> str:
    """Returns what the runs of a model came to, or the folds; empty where there are not two with a value."""
    values = entrant.values_of_parts(metric.path)
    if len(values) < 2:
        return ""
    spread = f"mean {show(fmean(values))}, standard deviation {show(stdev(values))}"
    ends = f"from {show(min(values))} to {show(max(values))}"
    return f"{metric.label} over the {len(values)} {entrant.kind} of {entrant.name}: {spread}, {ends}."


def _facts(told: _Told, images: str, show: Show, *, than: bool) -> str:
    """What was measured; `than` names the other model, too."""
    if told.metric.path == ACCURACY:
        if not told.gain:
            return f"both classified equally many of {images} correctly"
        behind = f" than {told.worse}" if than else ""
        return f"{told.better} classified {100 * told.gain:.1f} points more of {images} correctly{behind}"
    if not told.gain:
        return f"both have {show(told.values[0])}"
    against = f"{show(told.values[0])} against {show(told.values[1])}, a difference of {show(told.gain)}"
    comparative = "lower" if told.metric.lower_is_better else "higher"
    return f"{told.better} has a {comparative} {told.metric.label} than {told.worse}: {against}" if than else against


def _interval(told: _Told, show: Show) -> str:
    if told.interval is None:
        return ""
    low, high = told.interval
    if told.metric.path == ACCURACY:
        return f"95 % interval {100 * low:.1f} to {100 * high:.1f}, "
    return f"95 % interval {show(low)} to {show(high)}, "


def _others(pair: Pair) -> list[str]:
    """Which metrics beside the first two differ, and in whose favour; single classes are left to the tables."""
    better: dict[tuple[str, str], list[str]] = {}
    for found in pair.comparisons[2:]:
        if evidence(found) and found.difference and found.metric.path[0] not in ("per_class", "per_target"):
            told = _Told.of(pair, found)
            better.setdefault((told.better, told.worse), []).append(found.metric.label)
    also = " also" if any(evidence(found) for found in pair.comparisons[:2]) else ""
    return [
        f"There is{also} evidence that {name} is better than {worse} in {', '.join(labels)}."
        for (name, worse), labels in better.items()
    ]
