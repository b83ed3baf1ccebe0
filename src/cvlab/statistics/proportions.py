"""Intervals of proportions."""

from __future__ import annotations

import math

from scipy.special import ndtri


def wilson(successes: int, samples: int, confidence: float = 0.95) -> tuple[float, float]:
    """Returns the score interval of a proportion (Wilson 1927, JASA 22:209), without continuity correction.

    With p = successes / n and z the normal quantile, the ends are
    (p + z^2 / 2n +- z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n).
    It never leaves 0..1 and is no point at 0 and 1.

    Args:
        successes: From 0 to `samples`.
        samples: n, at least 1; they are taken to be independent.
        confidence: Such as 0.95.
    """
    if not 0 <= successes <= samples or samples < 1:
        raise ValueError(f"Expected successes of one or more samples, received {successes} of {samples}.")
    z = float(ndtri((1 + confidence) / 2))
    share = successes / samples
    centre = share + z**2 / (2 * samples)
    reach = z * math.sqrt(share * (1 - share) / samples + z**2 / (4 * samples**2))
    scale = 1 + z**2 / samples
    # Exact at the ends, where rounding would leave 1e-17 over.
    low = (centre - reach) / scale if successes else 0.0
    high = (centre + reach) / scale if successes < samples else 1.0
    return low, high
