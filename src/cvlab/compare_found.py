"""What a comparison found, and how its values are shown wherever they stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import stdev

from cvlab.compare_costs import Costs
from cvlab.compare_entrants import Entrant
from cvlab.compare_match import Samples
from cvlab.compare_task import ComparedTask, Metric, cell_at
from cvlab.compare_tests import Pair
from cvlab.compare_words import sentence_of_runs, sentences_of_pair
from cvlab.report_text import number
from cvlab.text import duration

SYNTHETIC = "SYNTHETIC SAMPLE DATA"
MOST_PAIRS = 10


@dataclass(frozen=True)
class Compared:
    """Everything that a comparison found.

    Attributes:
        entrants: The models, the best first.
        samples: What they were tested on.
        split: What these are called.
        metrics: What is compared; the first ranks the models.
        pairs: Every model with every one behind it.
        task: Their task.
        warnings: What to beware of.
        left_out: Runs that were not compared.
        command: What was asked for.
    """

    entrants: Sequence[Entrant]
    samples: Samples
    split: str
    metrics: Sequence[Metric]
    pairs: Sequence[Pair]
    task: ComparedTask
    warnings: Sequence[str]
    left_out: Sequence[str]
    command: Sequence[str]

    @property
    def synthetic(self) -> list[bool]:
        """Whether each model is of synthetic sample data."""
        return [entrant.records[0].synthetic for entrant in self.entrants]

    @property
    def told_pairs(self) -> list[Pair]:
        """The pairs that are told of: all, or with many models those of the best one."""
        if len(self.pairs) <= MOST_PAIRS:
            return list(self.pairs)
        return [pair for pair in self.pairs if pair.first is self.entrants[0]]

    def sentences(self, *, brief: bool = False) -> list[str]:
        """What was found, in words; in brief only by the metric that ranks the models."""
        show = self.task.show
        of_pairs = [sentences_of_pair(pair, self.samples, self.split, show) for pair in self.told_pairs]
        told = [text for of_pair in of_pairs for text in (of_pair[:1] if brief else of_pair)]
        runs = [sentence_of_runs(entrant, self.metrics[0], show) for entrant in self.entrants if entrant.kind != "run"]
        return [*told, *filter(None, runs)]


def costs_row(entrant: Entrant) -> list[str]:
    """Returns parameters, size on disk, training time and images a second of a model, as they are shown."""
    costs = Costs.of(entrant)
    speed = "" if costs.images_per_second is None else f"{costs.images_per_second:,.0f}"
    return [
        "not known" if costs.parameters is None else f"{costs.parameters:,}",
        "not known" if costs.bytes is None else f"{costs.bytes / 1e6:,.1f} MB",
        "not known" if costs.seconds is None else duration(costs.seconds),
        f"{speed or 'not known'}{' (head alone)' if costs.head_alone else ''}",
    ]


def value_text(found: Compared, entrant: Entrant, metric: Metric) -> str:
    """Returns the value of a metric with its interval; of several runs the mean with the standard deviation."""
    if entrant.kind == "seeds":
        mean, values = entrant.value(metric.path), entrant.values_of_parts(metric.path)
        return "undefined" if mean is None else f"{found.task.show(mean)} ± {found.task.show(stdev(values))}"
    cell = cell_at(entrant.results[0].metrics, metric.path)
    return "undefined" if cell is None or cell["value"] is None else number(cell, found.task.show).split(" (no")[0]
