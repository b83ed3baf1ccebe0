"""Settings of what is computed from predictions."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, model_validator

from cvlab.config_values import Settings

# With fewer replicates beyond either end of an interval, that end is luck.
FEWEST_BEYOND = 5


class Bootstrap(Settings):
    """How intervals are computed.

    Attributes:
        resamples: How many there are.
        method: `bca` (bias-corrected and accelerated) or `percentile`.
        confidence: Of every interval, those without a bootstrap too.
    """

    resamples: Annotated[int, Field(ge=200, le=100_000)] = 2000
    method: Literal["bca", "percentile"] = "bca"
    confidence: Annotated[float, Field(ge=0.5, lt=1)] = 0.95

    @model_validator(mode="after")
    def _enough(self) -> Bootstrap:
        needed = math.ceil(2 * FEWEST_BEYOND / (1 - self.confidence) - 1e-6)
        if self.resamples < needed:
            raise ValueError(
                f"expected at least {needed:,} `resamples` for a `confidence` of {self.confidence:g}, "
                f"received {self.resamples:,}"
            )
        return self
