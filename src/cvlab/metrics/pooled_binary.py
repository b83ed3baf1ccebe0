"""The binary table of samples that several networks have judged, each at a threshold of its own."""

from __future__ import annotations

from typing import Any

from cvlab.config_evaluate import Bootstrap
from cvlab.metrics.binary import Scores, Truth, binary_metrics
from cvlab.metrics.binary_replicates import BinaryReplicates, binary_proportions
from cvlab.metrics.classification_table import ClassificationPredictions
from cvlab.metrics.intervals import with_intervals
from cvlab.metrics.replicates import Resampling

BINARY = "binary"


def pooled_binary(
    p: ClassificationPredictions, truth: Truth, score: Scores, threshold: Scores, settings: Bootstrap, *, seed: int
) -> dict[str, Any]:
    """Returns the cells of `binary_metrics` with intervals, every sample judged at its own network's threshold.

    `roc_auc` and `average_precision` rank all scores together, although a score of one network need not mean what it
    means of another.

    Args:
        p: n predictions.
        truth: (n,) whether the truth is the positive class.
        score: (n,) the score of that class.
        threshold: (n,) that of the network that judged the sample.
        settings: How the intervals are computed.
        seed: Equal seeds give equal intervals.
    """
    replicates = BinaryReplicates(truth, score, threshold=threshold)
    shares = binary_proportions(truth, score, threshold=threshold)
    table = Resampling(
        p.group,
        p.target,
        p.class_names,
        lambda weights: {BINARY: replicates(weights)},
        {(BINARY, name): share for name, share in shares.items()},
        {(BINARY, "roc_auc"): (truth, score)},
    )
    cells = {BINARY: binary_metrics(truth, score, threshold=threshold)}
    found: dict[str, Any] = with_intervals(cells, table, settings, seed=seed)[BINARY]
    return found
