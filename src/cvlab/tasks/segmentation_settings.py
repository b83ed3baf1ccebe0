"""The losses that a segmentation can be trained with, as settings."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from cvlab.config_values import NotNegative, Positive, Settings

Fraction = Annotated[float, Field(gt=0, lt=1)]


class Dice(Settings):
    """1 - Dice of all pixels of a batch together (Milletari et al. 2016)."""

    name: Literal["dice"] = "dice"


class BinaryCrossEntropy(Settings):
    """Cross-entropy of each pixel, natural logarithm, averaged."""

    name: Literal["bce"] = "bce"


class DiceCrossEntropy(Settings):
    """`weight` times the Dice loss plus (1 - `weight`) times the cross-entropy."""

    name: Literal["dice_bce"] = "dice_bce"
    weight: Fraction = 0.5


class Focal(Settings):
    """a (1 - p)^gamma times the cross-entropy of a pixel, p the score of its true class (Lin et al. 2017).

    a is `alpha` in the structure and 1 - `alpha` elsewhere; 0.5 gives all pixels the same weight.
    """

    name: Literal["focal"] = "focal"
    gamma: NotNegative = 2.0
    alpha: Fraction = 0.25


class Tversky(Settings):
    """1 - TP / (TP + alpha FP + beta FN) of all pixels of a batch together (Salehi et al. 2017).

    `alpha` is the weight of false positives, `beta` that of false negatives; 0.5 and 0.5 are Dice.
    """

    name: Literal["tversky"] = "tversky"
    alpha: Positive = 0.3
    beta: Positive = 0.7


Loss = Annotated[Dice | BinaryCrossEntropy | DiceCrossEntropy | Focal | Tversky, Field(discriminator="name")]
