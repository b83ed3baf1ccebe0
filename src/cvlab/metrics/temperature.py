"""Temperature scaling: one number, fitted on validation, by which logits are divided (Guo et al. 2017).

The logits are taken back from the scores as ln max(score, 1e-7), which differ from those of the network by a constant a
sample only, so that the softmax is the same; two columns of a sigmoid are a softmax over two classes. The order of the
scores of a sample stays, and with it what is predicted.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import softmax

from cvlab.errors import RunFolderError
from cvlab.metrics.calibration import Cell, Indices, Values, error_replicates
from cvlab.metrics.uncertainty import SMALLEST_SCORE, class_losses
from cvlab.run_folder import Json

TEMPERATURE = "temperature"  # its key in operating_point.json
CALIBRATED = "calibrated"  # its key among the metrics of a table
LOWEST, HIGHEST = 0.1, 10.0
ONE_CLASS = "every sample is of one class"
ALL_EQUAL = "every class has the same score in every sample, so that no temperature changes anything"
AT_LOWEST = (
    f"at the bound of {LOWEST:g}: a lower temperature would fit validation even better, since nearly all of it is told "
    "apart; that says little about other samples"
)
AT_HIGHEST = (
    f"at the bound of {HIGHEST:g}: a higher temperature would fit validation even better; the scores are far too sure, "
    "or say next to nothing about the truth"
)


@dataclass(frozen=True)
class Temperature:
    """A temperature and how it came about.

    Attributes:
        value: By which logits are divided; None where it is undefined.
        split: Whose predictions it was fitted to.
        samples: How many these were.
        nll_before: Their loss, the mean of -ln(score of the true class), with the scores as they are.
        nll_after: The same with the temperature; None where it is undefined.
        note: Why there is none, or what to beware of; empty for nothing.
    """

    value: float | None
    split: str
    samples: int
    nll_before: float
    nll_after: float | None
    note: str

    def to_json(self) -> Json:
        """What `operating_point.json` holds under `temperature`."""
        return asdict(self)

    @classmethod
    def from_json(cls, point: Json | None) -> Temperature | None:
        """Takes the temperature out of what `operating_point.json` holds; None where there is none.

        Raises:
            RunFolderError: Something in it is missing or impossible.
        """
        if not isinstance(point, dict) or TEMPERATURE not in point:
            return None
        try:
            found = cls(**{field.name: point[TEMPERATURE][field.name] for field in fields(cls)})
            numbers = [found.nll_before, *([] if found.value is None else [found.value, found.nll_after])]
            sound = all(type(number) in (int, float) for number in numbers) and found.samples > 0
            sound = sound and (bool(found.note) if found.value is None else LOWEST <= found.value <= HIGHEST)
        except (TypeError, KeyError):
            sound = False
        if not sound:
            raise RunFolderError(
                f"operating_point.json: '{TEMPERATURE}' is damaged: expected a value from {LOWEST:g} to {HIGHEST:g} "
                "and the losses before and after. `cvlab evaluate RUN_DIR` writes the file anew."
            )
        return found


def fit_temperature(target: Indices, scores: Values, *, split: str = "val") -> Temperature:
    """Fits the temperature that minimises the loss of validation, between 0.1 and 10.

    Args:
        target: (n,) indices of the true classes.
        scores: (n, k) that sum to 1.
        split: What they are called.
    """
    before = float(class_losses(target, scores).mean())
    value, note = _best(target, _logits(scores))
    after = None if value is None else float(class_losses(target, with_temperature(scores, value)).mean())
    return Temperature(value, split, len(target), before, after, note)


def with_temperature(scores: Values, temperature: float) -> Values:
    """Returns the softmax of the logits divided by the temperature, (n, k)."""
    return np.asarray(softmax(_logits(scores) / temperature, axis=1))


def calibrated_table(target: Indices, scores: Values, temperature: Temperature | None) -> dict[str, dict[str, Cell]]:
    """Returns `calibrated`, the metrics after a temperature; nothing where there is none."""
    if temperature is None or temperature.value is None:
        return {}
    return {CALIBRATED: calibrated_cells(target, scores, temperature.value)}


def calibrated_cells(target: Indices, scores: Values, temperature: float) -> dict[str, Cell]:
    """Computes loss, brier, ece and ece_equal_mass of the scores after the temperature."""
    found = calibrated_replicates(target, scores, temperature, np.ones((1, len(target))))
    return {name: {"value": float(values[0])} for name, values in found.items()}


def calibrated_replicates(
    target: Indices, scores: Values, temperature: float, weights: NDArray[Any]
) -> dict[str, Values]:
    """Computes the same of B weighted samples at once, (B,) each; the temperature stays that of validation.

    Args:
        target: (n,) indices of the true classes.
        scores: (n, k) as the network gives them.
        temperature: Which was fitted to other samples.
        weights: (B, n) how often each sample counts.
    """
    after = with_temperature(scores, temperature)
    weights = np.asarray(weights, dtype=np.float64)
    total = weights.sum(axis=1)
    loss = weights @ class_losses(target, after) / np.where(total > 0, total, np.nan)
    return {"loss": loss, **error_replicates(target, after, weights)}


def _logits(scores: Values) -> Values:
    return np.log(np.maximum(scores, SMALLEST_SCORE))


def _best(target: Indices, logits: Values) -> tuple[float | None, str]:
    """Returns the temperature and what to beware of; None and why there is none."""
    if len(np.unique(target)) == 1:
        return None, ONE_CLASS
    if not np.ptp(logits, axis=1).any():
        return None, ALL_EQUAL
    of_truth = logits[np.arange(len(target)), target]

    def slope(inverse: float) -> float:
        # In 1 / T the loss is convex: its derivative rises, and is 0 at the minimum.
        expected = (softmax(inverse * logits, axis=1) * logits).sum(axis=1)
        return float((expected - of_truth).mean())

    if slope(1 / LOWEST) <= 0:
        return LOWEST, AT_LOWEST
    if slope(1 / HIGHEST) >= 0:
        return HIGHEST, AT_HIGHEST
    return 1 / float(brentq(slope, 1 / HIGHEST, 1 / LOWEST, xtol=1e-12)), ""
