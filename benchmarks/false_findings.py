"""How often tests find a difference between two equal models: 5 in 100 is what p < 0.05 promises.

Both models are of the same skill; images, persons and answers are drawn anew in each repetition. Tests are those that
`cvlab compare` makes. Run: python -m benchmarks.false_findings
"""

from __future__ import annotations

import argparse
from types import SimpleNamespace
from typing import Any

import numpy as np

from cvlab.compare_draws import Drawn, groups_behind
from cvlab.metrics.classification import ClassificationPredictions, classification_metrics
from cvlab.metrics.classification_replicates import resampling
from cvlab.metrics.replicates import flat
from cvlab.statistics.bootstrap import group_weights
from cvlab.statistics.paired import bootstrap_difference, difference_of_means, mcnemar

Array = np.ndarray[Any, Any]
LEVEL = 0.05


def of_groups(groups: int, repeats: int, *, seed: int = 1) -> tuple[float, float]:
    """How often McNemar's test and the bootstrap of groups find a difference in accuracy; 5 alike images a group."""
    draw = np.random.default_rng(seed)
    found = np.zeros(2)
    for repeat in range(repeats):
        member = np.repeat(np.arange(groups), draw.poisson(4, groups) + 1)
        shared, *own = (spread * draw.normal(size=groups)[member] for spread in (1.2, 0.8, 0.8))
        one, other = (shared + mine + draw.normal(size=len(member)) > 0 for mine in own)
        weights = group_weights(member, resamples=500, seed=repeat)
        drawn = (weights @ one.astype(float) - weights @ other) / weights.sum(axis=1)
        p = bootstrap_difference(one.mean() - other.mean(), drawn, groups=groups).p
        found += mcnemar(one, other).p < LEVEL, p is not None and p < LEVEL
    return float(found[0] / repeats), float(found[1] / repeats)


def of_seeds(runs: int, repeats: int, *, samples: int = 200, seed: int = 2) -> float:
    """How often the means over several seeds of two models seem to differ; seeds change a run by 0.1 of a deviation."""
    draw = np.random.default_rng(seed)
    found = 0
    for repeat in range(repeats):
        shared, *own = (spread * draw.normal(size=samples) for spread in (1.0, 0.6, 0.6))
        models = [
            [
                (shared + mine + 0.1 * draw.normal() + 0.7 * draw.normal(size=samples) > 0).astype(float)
                for _ in range(runs)
            ]
            for mine in own
        ]
        weights = group_weights(np.arange(samples), resamples=500, seed=repeat)
        means = [np.mean(model, axis=0) for model in models]
        drawn = weights @ (means[0] - means[1]) / samples
        values = [[run.mean() for run in model] for model in models]
        p = difference_of_means(means[0].mean() - means[1].mean(), drawn, values, groups=samples).p
        found += p is not None and p < LEVEL
    return found / repeats


def of_rare_classes(rarest: int, repeats: int, *, seed: int = 3) -> tuple[float, float, float]:
    """How often macro ROC AUC of 200 images in 4 classes seems to differ, when all images count alike; and as compared.

    Returns:
        The share of findings where images count alike, that of `cvlab compare`, and how often that makes no test.
    """
    draw = np.random.default_rng(seed)
    sizes = [rarest, 60, 60, 80 - rarest]
    target = np.repeat(np.arange(4), sizes)
    everyone = np.arange(len(target))
    found = np.zeros(3)
    for repeat in range(repeats):
        signal = draw.normal(size=(len(target), 4))
        signal[everyone, target] += 1
        tables = [_table(target, 0.7 * signal + 0.8 * draw.normal(size=signal.shape)) for _ in range(2)]
        weights = group_weights(everyone, target, resamples=400, seed=repeat)
        models = [[_drawn(table, weights)] for table in tables]
        replicates = [model[0].replicates["macro_roc_auc",] for model in models]
        values = [classification_metrics(table)["macro_roc_auc"]["value"] for table in tables]
        samples: Any = SimpleNamespace(group=everyone, grouped=False, rows=lambda result: everyone)
        groups, reason = groups_behind(("macro_roc_auc",), *models, samples)
        for place, count in ((0, float(len(target))), (1, groups)):
            if place and reason:
                found[2] += 1
                continue
            p = bootstrap_difference(values[0] - values[1], replicates[0] - replicates[1], groups=count).p
            found[place] += p is not None and p < LEVEL
    return float(found[0] / repeats), float(found[1] / repeats), float(found[2] / repeats)


def _table(target: Array, logits: Array) -> ClassificationPredictions:
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    ids = np.arange(len(target)).astype(object)
    return ClassificationPredictions(ids, ids, target, scores.argmax(axis=1), scores, ("a", "b", "c", "d"))


def _drawn(table: ClassificationPredictions, weights: Array) -> Drawn:
    offer = resampling(table)
    result: Any = None
    return Drawn(result, offer, flat(offer.replicates(weights)))


def main() -> None:
    """Prints a table for each kind of comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=1000)
    repeats = parser.parse_args().repeats
    print("| accuracy, groups of about 5 images | McNemar | bootstrap of groups |\n| --- | ---: | ---: |")
    for groups in (8, 15, 40, 150):
        naive, ours = of_groups(groups, repeats)
        print(f"| {groups} groups | {naive:.3f} | {ours:.3f} |")
    print("\n| accuracy, several seeds | found |\n| --- | ---: |")
    for runs in (2, 3, 5):
        print(f"| {runs} runs of each model | {of_seeds(runs, repeats):.3f} |")
    print(
        "\n| macro ROC AUC, 4 classes | all images count alike | as compared | no test |\n| --- | ---: | ---: | ---: |"
    )
    for rarest in (3, 8, 20):
        naive, ours, none = of_rare_classes(rarest, max(repeats // 4, 1))
        print(f"| {rarest} images of the rarest class | {naive:.3f} | {ours:.3f} | {none:.3f} |")


if __name__ == "__main__":
    main()
