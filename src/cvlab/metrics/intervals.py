"""Intervals of the metrics of one table of predictions, added to the cells that hold the values.

A cell then is `{"value": v, "low": l, "high": h, "method": "..."}`, or `{"value": v, "no_interval": "reason"}`. A cell
without a value stays as it is, and so do counts and standard errors.

Where some group has two samples or more, groups are resampled, for everything. Elsewhere proportions have the interval
of Wilson, areas under ROC curves that of DeLong, and the rest the bootstrap of the samples.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvlab.config_evaluate import Bootstrap
from cvlab.errors import counted
from cvlab.metrics.class_means import MEANS, groups_of_mean, of_one_urn, rare_classes
from cvlab.metrics.replicates import Flags, Path, Resampling, flat, joined
from cvlab.statistics.bootstrap import (
    Values,
    bca_interval,
    jackknife_weights,
    percentile_interval,
    stratified,
    too_biased,
    weight_chunks,
)
from cvlab.statistics.delong import auc_interval, delong
from cvlab.statistics.proportions import wilson

Cells = dict[str, Any]

INTERVALS = "intervals"  # its key among the metrics of a table
FEW_UNITS = 20
MOST_UNDEFINED = 0.05
# So many rows of the jackknife tell its skewness well enough, however many groups there are.
JACKKNIFE_BLOCKS = 400
CHUNK_SIZE = 400_000


def with_intervals(metrics: Cells, table: Resampling, settings: Bootstrap, *, seed: int) -> Cells:
    """Returns the metrics of a table with intervals in their cells, and `intervals`, what these rest on.

    Args:
        metrics: Cells by name, some of them in mappings of their own, as a task computes them.
        table: What there is to resample.
        settings: Number of resamples, method and confidence.
        seed: Equal seeds give equal intervals.
    """
    basis = _Basis.of(table, settings, seed)
    return {**_filled(metrics, basis), INTERVALS: basis.described()}


def is_cell(value: object) -> bool:
    """Whether a part of the metrics is a cell, and no mapping of cells; a class may be called `value`."""
    return isinstance(value, dict) and "value" in value and not isinstance(value["value"], dict)


def _filled(cells: Cells, basis: _Basis, above: Path = ()) -> Cells:
    found: Cells = {}
    for name, cell in cells.items():
        path = (*above, name)
        if isinstance(cell, dict) and not is_cell(cell):
            found[name] = _filled(cell, basis, path)
        elif path in basis.whole and cell["value"] is not None:
            found[name] = {**cell, **basis.interval(path)}
        else:
            found[name] = cell
    return found


@dataclass(frozen=True)
class _Basis:
    """What the intervals of a table rest on.

    Attributes:
        table: What is resampled.
        settings: How.
        groups: How many groups there are.
        drawn: Every metric of each resample.
        mixed: The same with all groups in one urn, where `drawn` has rare classes apart; else empty.
        left_out: Every metric without each group, or block of groups.
        whole: Every metric of the whole table, computed as the others are.
    """

    table: Resampling
    settings: Bootstrap
    groups: int
    drawn: dict[Path, Values]
    mixed: dict[Path, Values]
    left_out: dict[Path, Values]
    whole: dict[Path, float]

    @classmethod
    def of(cls, table: Resampling, settings: Bootstrap, seed: int) -> _Basis:
        samples = len(table.group)
        groups = len(np.unique(table.group))
        chunk = max(CHUNK_SIZE // samples, 16)
        apart = stratified(table.group, table.strata)

        def resampled(strata: NDArray[Any] | None) -> dict[Path, Values]:
            chunks = weight_chunks(table.group, strata, resamples=settings.resamples, seed=seed, chunk=chunk)
            return flat(joined([table.replicates(weights) for weights in chunks]))

        left_out = jackknife_weights(table.group, blocks=JACKKNIFE_BLOCKS)
        parts = [table.replicates(left_out[start : start + chunk]) for start in range(0, len(left_out), chunk)]
        whole = flat(table.replicates(np.ones((1, samples), dtype=np.int32)))
        values = {path: float(value[0]) for path, value in whole.items()}
        mixed = resampled(None) if apart else {}
        return cls(table, settings, groups, resampled(table.strata), mixed, flat(joined(parts)), values)

    @property
    def grouped(self) -> bool:
        return self.groups < len(self.table.group)

    @property
    def fewest(self) -> int:
        """From how many groups on their range holds the truth as often as an interval should: 6 for 95 %."""
        return math.ceil(1 - math.log2(1 - self.settings.confidence) - 1e-9)

    @property
    def size(self) -> str:
        return counted(self.groups, self.unit)

    @property
    def unit(self) -> str:
        return "group" if self.grouped else self.table.unit

    def described(self) -> Cells:
        """What `metrics.json` says of all intervals of a table."""
        return {
            "confidence": self.settings.confidence,
            "method": self.settings.method,
            "resamples": self.settings.resamples,
            "units": self.groups,
            "unit": self.unit,
            "notes": self._notes(),
        }

    def _notes(self) -> list[str]:
        if self.groups < self.fewest:
            return [f"only {self.size}: too few for intervals, which take {self.fewest} or more"]
        rough = f"only {self.size}: the intervals are rough, and rather too narrow"
        notes = [rough] if self.groups < FEW_UNITS else []
        if rare := [name for name, size in self.classes.items() if 0 < size < self.fewest]:
            notes.append(
                f"{_names(rare)}: fewer than {self.fewest} {self.unit}s, so that the intervals of means over classes "
                "are rather too narrow, where there are any"
            )
        return notes

    @cached_property
    def classes(self) -> dict[str, int]:
        """In how many groups each class stands; empty where no mean over classes is taken."""
        if self.table.strata is None:
            return {}
        return {name: self._groups(self.table.strata == index) for index, name in enumerate(self.table.class_names)}

    @cached_property
    def apart(self) -> bool:
        """Whether rare classes are drawn apart."""
        return stratified(self.table.group, self.table.strata)

    def interval(self, path: Path) -> Cells:
        """Returns what is added to a cell."""
        if not self.grouped and path in self.table.proportions:
            return self._wilson(path)
        if path[-1] in ("roc_auc", "average_precision") and (*path[:-1], "roc_auc") in self.table.areas:
            return self._of_ranks(path)
        return self._bootstrap(path)

    def _wilson(self, path: Path) -> Cells:
        hit, of = self.table.proportions[path]
        return _cell(wilson(int((hit & of).sum()), int(of.sum()), self.settings.confidence), "Wilson")

    def _of_ranks(self, path: Path) -> Cells:
        """The interval of an area under a curve, which takes enough samples of both kinds."""
        is_positive, scores = self.table.areas[*path[:-1], "roc_auc"]
        kinds = {"positive": self._groups(is_positive), "negative": self._groups(~is_positive)}
        if path[-1] == "roc_auc" and self.whole[path] in (0, 1):
            # An area A of m and n samples has at most the variance A (1 - A) / min(m, n) (Birnbaum & Klose 1957).
            fewer = min(kinds.values())
            return self._wilson_as_of(fewer, none_or_all=int(self.whole[path]) * fewer)
        for kind, groups in kinds.items():
            if groups < self.fewest:
                return self._too_few(f"{kind} in {counted(groups, self.unit)} alone")
        if self.grouped or path[-1] == "average_precision":
            return self._bootstrap(path)
        aucs, covariance = delong(is_positive, scores[None])
        interval = auc_interval(float(aucs[0]), float(covariance[0, 0]), self.settings.confidence)
        return _none("its variance is 0") if interval is None else _cell(interval, "DeLong")

    def _bootstrap(self, path: Path) -> Cells:
        is_apart = self._is_apart(path)
        drawn = (self.drawn if is_apart or not self.apart else self.mixed)[path]
        drawn = drawn[~np.isnan(drawn)]
        undefined = 1 - len(drawn) / self.settings.resamples
        if undefined > MOST_UNDEFINED:
            return _none(f"it is undefined in {undefined:.0%} of the resamples")
        one_value = bool(_equal(drawn, self.whole[path]).all())
        if one_value and path in self.table.proportions and self.whole[path] in (0, 1):
            return self._wilson_of_groups(path)
        deciding = self._deciding(path)
        if deciding < self.fewest:
            return self._too_few(f"it rests on {counted(deciding, self.unit)}")
        if (resting := self._resting(path)) < self.fewest:
            return _none(rare_classes(self.classes, self.unit, fewest=self.fewest))
        if one_value:
            return _none("every resample gives this value")
        if path not in self.table.by_chance and (reason := too_biased(self.whole[path], drawn)):
            return _none(reason)
        low, high, name = self._percentiles(path, drawn, min(deciding, resting))
        if not np.isfinite([low, high]).all():
            return _none(f"it is infinite in {np.isinf(drawn).mean():.0%} of the resamples")
        apart = ", rare classes apart" if is_apart else ""
        return _cell((low, high), f"{name} bootstrap, {self.settings.resamples} resamples of {self.size}{apart}")

    def _is_apart(self, path: Path) -> bool:
        """Whether rare classes are drawn apart for a metric."""
        return self.apart and not of_one_urn(path, self.mixed[path])

    def _wilson_of_groups(self, path: Path) -> Cells:
        """Where no group tells 0 or 1 from less: groups are no better than so many independent samples."""
        hit, of = self.table.proportions[path]
        groups = self._groups(of)
        return self._wilson_as_of(groups, none_or_all=groups if (hit & of).any() else 0)

    def _wilson_as_of(self, groups: int, *, none_or_all: int) -> Cells:
        interval = wilson(none_or_all, groups, self.settings.confidence)
        return _cell(interval, f"Wilson, as of {counted(groups, self.unit)}")

    def _deciding(self, path: Path) -> int:
        """How many groups have a say in a metric: those without which it is another."""
        # A median stays what it is without most of what it is the median of.
        path = (*path[:-1], path[-1].replace("_median", "_mean"))
        deciding = int((~_equal(self.left_out[path], self.whole[path])).sum())
        return self.groups if deciding in (0, len(self.left_out[path])) else deciding

    def _resting(self, path: Path) -> float:
        """On how many groups a mean over classes rests; infinite for everything else."""
        if len(path) > 1 or path[0] not in MEANS or not self.classes:
            return math.inf
        drawn = {name: self.drawn["per_class", name, MEANS[path[0]]] for name in self.classes}
        return groups_of_mean(drawn, self.classes, fewest=self.fewest)

    def _groups(self, which: Flags) -> int:
        return len(np.unique(self.table.group[which]))

    def _too_few(self, what: str) -> Cells:
        return _none(f"{what}, and a {self.settings.confidence * 100:g} % interval takes {self.fewest} or more")

    def _percentiles(self, path: Path, drawn: Values, deciding: float) -> tuple[float, float, str]:
        confidence, left_out = self.settings.confidence, self.left_out[path]
        if path in self.table.by_chance:
            return *self._reflected(path, drawn, deciding), "basic"
        # The jackknife tells nothing of medians, which change in steps.
        if self.settings.method == "bca" and not path[-1].endswith("_median"):
            jackknife = left_out[np.isfinite(left_out)]
            try:
                return *bca_interval(self.whole[path], drawn, jackknife, confidence, groups=deciding), "BCa"
            except ValueError:  # Nothing can be corrected where all resamples lie on one side.
                pass
        return *percentile_interval(drawn, confidence, groups=deciding), "percentile"

    def _reflected(self, path: Path, drawn: Values, deciding: float) -> tuple[float, float]:
        """The basic bootstrap interval (Davison & Hinkley 1997, 5.2), from 0 on where chance alone gives as much.

        Resamples of an error that is never negative lie above it as it lies above the truth: other bootstrap
        intervals would hold the truth hardly ever.
        """
        value, confidence = self.whole[path], self.settings.confidence
        low, high = percentile_interval(drawn, confidence, groups=deciding)
        if value <= self.table.by_chance[path](confidence):
            return 0.0, max(2 * value - low, value)
        return min(max(2 * value - high, 0.0), value), max(2 * value - low, value)


def _equal(values: Values, value: float) -> NDArray[np.bool_]:
    """Whether values are equal but for rounding."""
    return np.isclose(values, value, rtol=1e-12, atol=1e-15)


def _cell(interval: tuple[float, float], method: str) -> Cells:
    return {"low": interval[0], "high": interval[1], "method": method}


def _none(reason: str) -> Cells:
    return {"no_interval": reason}


def _names(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
