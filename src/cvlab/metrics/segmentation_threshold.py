"""The threshold of a mask: from which probability on a pixel is predicted, chosen on validation and kept.

The rule `dice` takes the largest Dice pooled over the pixels of all images, out of the thresholds 0.05, 0.10, ... 0.95;
of equally good ones that nearest to 0.5, and of two as near the larger. A number is the threshold itself.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields

import numpy as np

from cvlab.errors import DataError, RunFolderError, counted
from cvlab.metrics.segmentation_table import THRESHOLDS, Counts, PixelCounts, SegmentationPredictions
from cvlab.run_folder import Json

DEFAULT = 0.5
BEST_DICE = "dice"

Rule = float | str


@dataclass(frozen=True)
class MaskThreshold:
    """A threshold, how it came about, and what it reaches where it was chosen.

    Attributes:
        rule: A number or `dice`, as it was configured.
        threshold: The probability from which on a pixel is predicted.
        split: Whose predictions it was chosen from.
        images: How many these were.
        dice_pooled: Their Dice at the threshold, pooled over the pixels of all images.
    """

    rule: Rule
    threshold: float
    split: str
    images: int
    dice_pooled: float

    @property
    def is_chosen(self) -> bool:
        """Whether a rule chose the threshold; a number is given beforehand."""
        return isinstance(self.rule, str)

    def to_json(self) -> Json:
        """What `operating_point.json` holds."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Json) -> MaskThreshold:
        """Takes back what `to_json` gave.

        Raises:
            RunFolderError: Something in it is missing or impossible.
        """
        try:
            point = cls(**{field.name: value[field.name] for field in fields(cls)})
            sound = 0.0 <= point.threshold <= 1.0 and 0.0 <= point.dice_pooled <= 1.0 and point.images > 0
            sound = sound and (point.rule == BEST_DICE or isinstance(point.rule, int | float))
            sound = sound and isinstance(point.split, str)
        except (TypeError, KeyError):
            sound = False
        if not sound:
            raise RunFolderError(
                "operating_point.json: is damaged: expected a rule, a threshold from 0 to 1, a split, and the images "
                "and the Dice that it was chosen by. `cvlab evaluate RUN_DIR` writes the file anew."
            )
        return point

    def counts(self, p: SegmentationPredictions) -> PixelCounts | None:
        """Returns the counts of a table at this threshold out of its grid; None where it is not of the grid."""
        return p.at(THRESHOLDS.index(self.threshold)) if self.threshold in THRESHOLDS else None


def choose(p: SegmentationPredictions, rule: Rule, *, split: str = "val") -> MaskThreshold:
    """Chooses the threshold from the predictions of validation and nothing else.

    Args:
        p: The table; with a number as the rule it is counted at that number.
        rule: A number or `dice`.
        split: What `p` is called.

    Raises:
        DataError: There is nothing to choose by.
    """
    threshold = choose_threshold(p, rule)
    counts = p.at(THRESHOLDS.index(threshold)) if threshold in THRESHOLDS else p.counts
    return MaskThreshold(rule, threshold, split, len(p.counts), float(counts.pooled().dice()[0]))


def choose_threshold(p: SegmentationPredictions, rule: Rule) -> float:
    """Returns the threshold that a rule asks for, as the module describes it.

    Raises:
        DataError: No mask shows anything, so that no Dice tells the thresholds apart.
    """
    if not isinstance(rule, str):
        return float(rule)
    if rule != BEST_DICE:
        raise ValueError(f"Expected a number or '{BEST_DICE}', received '{rule}'.")
    if not p.counts.true.any():
        raise DataError(
            f"evaluate.threshold: {rule} chooses the threshold on validation, where the masks of all "
            f"{counted(len(p.counts), 'image')} are empty. Change data.split, or give the threshold as a number "
            "(evaluate.threshold=0.5)."
        )
    return best_threshold(p.grid_tp.sum(axis=0), p.grid_fp.sum(axis=0), int(p.counts.true.sum()))


def best_threshold(tp: Counts, fp: Counts, true: int) -> float:
    """Returns the threshold of the largest Dice, as the module describes it.

    Args:
        tp: (19,) true positives at each of `THRESHOLDS`, summed over all images.
        fp: (19,) false positives.
        true: Pixels of the structure in all images.
    """
    scores = PixelCounts(tp, fp, true - tp, np.zeros_like(tp)).dice().tolist()
    middle = THRESHOLDS.index(DEFAULT)
    best = max(range(len(THRESHOLDS)), key=lambda index: (scores[index], -abs(index - middle), index))
    return THRESHOLDS[best]
