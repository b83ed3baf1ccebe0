"""Published figures beside those of a run: which are compared, and whether the run's interval covers them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cvlab.config import Experiment
from cvlab.config_expected import MOMENTS, split_metric
from cvlab.definitions import find, path_of
from cvlab.definitions_model import Definition, Group
from cvlab.errors import ConfigError, did_you_mean

Cell = dict[str, Any]
KINDS = {"per_class": "class", "per_target": "target"}


@dataclass(frozen=True)
class ExpectedResult:
    """A published figure and what a run has in its place.

    Attributes:
        metric: `<table>.<name>`, as configured.
        value: The published value.
        source: Where it was published.
        own: The run's cell; None where it has none.
        covered: Whether the run's interval covers the published value; None where no comparison is drawn.
        verdict: The same in words, or why there is no comparison.
    """

    metric: str
    value: float
    source: str
    own: Cell | None
    covered: bool | None
    verdict: str


def expected_results(
    figures: Sequence[Mapping[str, Any]], metrics: Mapping[str, Any], *, synthetic: bool
) -> list[ExpectedResult]:
    """Sets published figures beside the metrics of a run.

    No comparison is drawn with synthetic sample data, nor with another number of samples than the published one: data
    or split then differ. Equal numbers do not prove that they are the same.

    Args:
        figures: `expected` of the run's configuration.
        metrics: What `metrics.json` holds.
        synthetic: Whether the run used synthetic sample data.
    """
    return [_result(figure, metrics, synthetic=synthetic) for figure in figures]


def _result(figure: Mapping[str, Any], metrics: Mapping[str, Any], *, synthetic: bool) -> ExpectedResult:
    metric, value, source = (figure[key] for key in ("metric", "value", "source"))
    table, name = split_metric(metric, metrics) or (metric.partition(".")[0], "")
    own = _cell(metrics.get(table), path_of(name))
    covered: bool | None = None
    published, samples = figure.get("samples"), int((metrics.get(table) or {}).get("samples", 0))
    if synthetic:
        verdict = "no comparison: synthetic sample data"
    elif table not in metrics:
        verdict = f"no comparison: this run has no predictions of {table}"
    elif own is None:
        verdict = "no comparison: this run does not report it"
    elif published is not None and published != samples:
        verdict = f"no comparison: published on {published:,} samples, here {samples:,}; data or split differ"
    elif own["value"] is None:
        verdict = f"no comparison: undefined here ({own['reason']})"
    elif own.get("low") is None:
        verdict = f"{_difference(own['value'] - value)}; without an interval nothing follows from it"
    else:
        covered = bool(own["low"] <= value <= own["high"])
        verdict = _coverage(value, own) if not covered else "the interval of this run covers it"
    return ExpectedResult(metric, value, source, own, covered, verdict)


def _cell(table: Any, path: Sequence[str]) -> Cell | None:
    found = table
    for key in path:
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, dict) and "value" in found else None


def _difference(difference: float) -> str:
    return f"this run is {abs(difference):.3f} {'above' if difference > 0 else 'below'} it" if difference else "equal"


def _coverage(value: float, own: Cell) -> str:
    side = "above" if own["low"] > value else "below"
    return f"not covered: the interval of this run lies {side} it"


def definition_of(metric: str, tasks: Mapping[str, str]) -> tuple[Group, Definition] | None:
    """Returns the definition of `<table>.<name>`; None for a name that there is not.

    Args:
        metric: As configured.
        tasks: The name of the task by the name of each table.
    """
    parts = split_metric(metric, tasks)
    return None if parts is None else find(tasks[parts[0]], path_of(parts[1]))


def check_expected(experiment: Experiment, outputs: Sequence[Sequence[str]]) -> None:
    """Checks that the classes and targets that published figures name are there.

    Args:
        experiment: The experiment, whose metrics exist as far as can be told without the data.
        outputs: `Task.outputs` of each stage.

    Raises:
        ConfigError: A class or a target is unknown, or there is no positive class.
    """
    problems = []
    for number, figure in enumerate(experiment.expected):
        if problem := _misfit(figure.metric, experiment, outputs):
            problems.append(f"expected.{number}.metric: {problem}")
    if problems:
        raise ConfigError(problems)


def _misfit(metric: str, experiment: Experiment, outputs: Sequence[Sequence[str]]) -> str:
    moments = {f"{stage.name}-{moment}": i for i, stage in enumerate(experiment.stages) for moment in MOMENTS}
    moment = next((name for name in moments if metric.startswith(f"{name}/")), "")
    task, *names = outputs[moments.get(moment, -1)]
    path = path_of(metric.removeprefix(moment).partition(".")[2])
    # The first output of a classification is its form.
    names = names[1:] if task == "classification" else names
    if path[0] in KINDS and path[1] not in names:
        hint = did_you_mean(path[1], names)
        return f"expected a {KINDS[path[0]]} out of {', '.join(names)}, received '{path[1]}'{hint}"
    if path[0] == "binary" and len(names) != 2 and experiment.evaluate.positive_class is None:
        return (
            f"expected `evaluate.positive_class` with it: there are {len(names)} classes, and none is the positive one."
        )
    return ""
