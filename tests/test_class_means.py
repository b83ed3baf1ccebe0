"""On how many groups a mean over classes rests: as many as its variance has degrees of freedom, and one more."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cvlab.config_evaluate import Bootstrap
from cvlab.metrics.class_means import MEANS, groups_of_mean, rare_classes
from cvlab.metrics.classification import ClassificationPredictions, classification_metrics
from cvlab.metrics.classification_replicates import resampling
from cvlab.metrics.intervals import with_intervals

FEWEST = 6
CLASSES = ("a", "b", "c", "d")


def spread(*variances: float) -> dict[str, np.ndarray]:
    """Values of classes with these variances."""
    return {name: np.array([-1.0, 1.0]) * np.sqrt(one) for name, one in zip(CLASSES, variances, strict=False)}


def rests_on(variances: tuple[float, ...], *groups: int) -> float:
    return groups_of_mean(spread(*variances), dict(zip(CLASSES, groups, strict=False)), fewest=FEWEST)


def test_the_degrees_of_freedom_are_those_of_satterthwaite() -> None:
    assert rests_on((2.0,), 11) == pytest.approx(11)
    # Equal variances of equal degrees of freedom add up, and what does not vary counts for nothing.
    assert rests_on((0.02, 0.02), 11, 11) == pytest.approx(21)
    assert rests_on((0.02, 0.02, 0.0), 11, 11, 11) == pytest.approx(21)
    # By hand: 1 * 6 / 5 of 5, and 3 * 11 / 10 of 10 degrees of freedom.
    assert rests_on((1.0, 3.0), 6, 11) == pytest.approx(1 + (1.2 + 3.3) ** 2 / (1.2**2 / 5 + 3.3**2 / 10))
    assert rests_on((0.0, 0.0), 6, 11) == np.inf


def test_a_rare_class_varies_no_less_than_others_would_with_so_few_groups() -> None:
    # The other class has 3 * 11 / 10 from 11 groups, which are 3.3 * 11 / 5 from 5.
    least = 3.3 * 11 / 5
    expected = 1 + (least + 3.3) ** 2 / (least**2 / 4 + 3.3**2 / 10)
    assert rests_on((0.0, 3.0), 5, 11) == pytest.approx(expected)
    assert rests_on((1.0, 3.0), 5, 11) == pytest.approx(expected)
    more = 100 * 5 / 4
    assert rests_on((100.0, 3.0), 5, 11) == pytest.approx(1 + (more + 3.3) ** 2 / (more**2 / 4 + 3.3**2 / 10))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.floats(0.01, 1), st.integers(0, 30)), min_size=1, max_size=4))
def test_a_mean_rests_on_no_more_than_all_groups_and_on_no_fewer_than_the_rarest_class(classes: list) -> None:
    variances, groups = zip(*classes, strict=True)
    held = [count for count in groups if count]
    found = rests_on(variances, *groups)
    if held:
        assert min(held) - 1e-9 <= found <= sum(held) - len(held) + 1 + 1e-9
    else:
        assert found == np.inf


def test_rare_classes_are_named() -> None:
    assert rare_classes({"a": 2, "b": 6, "c": 0}, "group", fewest=6) == "rare classes decide it: a (2 groups)"
    many = rare_classes(dict.fromkeys("abcde", 1), "sample", fewest=6)
    assert many == "rare classes decide it: a (1 sample), b (1 sample), c (1 sample), 2 more"


@pytest.mark.parametrize(("rarest", "least"), [(1, 1.0), (2, 1.0), (20, 0.0)])
def test_a_mean_has_no_interval_where_a_class_of_few_samples_decides_it(rarest: int, least: float) -> None:
    """Such intervals held the truth in 2 of 10 cases with a single sample of a class, where they promise 19 of 20."""
    target = np.repeat([0, 1, 2, 3], [40, 40, 40, rarest])
    without = []
    for seed in range(5):
        logits = np.random.default_rng(seed).normal(size=(len(target), 4))
        logits[np.arange(len(target)), target] += 1.3
        scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        ids = np.arange(len(target)).astype(object)
        p = ClassificationPredictions(ids, ids, target, scores.argmax(axis=1), scores, CLASSES)
        found = with_intervals(classification_metrics(p), resampling(p), Bootstrap(resamples=200), seed=seed)
        without += [found[mean].get("no_interval") for mean in MEANS]
        assert "low" in found["accuracy"]
        assert "low" in found["weighted_f1"]
    refused = [reason for reason in without if reason is not None]
    assert np.mean([reason is not None for reason in without]) == least
    assert {*refused} <= {f"rare classes decide it: d ({rarest} sample{'s' * (rarest > 1)})"}
