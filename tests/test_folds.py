"""Folds: every sample tested once, whole groups, every class everywhere, as even as scikit-learn's."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedGroupKFold

from cvlab.data.folds import assign_folds, split_by_fold
from cvlab.data.samples import SampleTable
from cvlab.errors import DataError
from tests.test_split import connected, random_table, table

SPLITS = {"train", "val", "test"}


def splits_of(samples: SampleTable, folds: int, seed: int = 0, val: float = 0.2) -> list[SampleTable]:
    return [
        split_by_fold(samples, folds=folds, fold=fold, val=val, strata="class", seed=seed)
        for fold in range(1, folds + 1)
    ]


def feasible(samples: SampleTable, folds: int) -> bool:
    """Whether any placement puts every class in every fold, by trying all."""
    labels = set(samples.targets["class"])
    sets = [{samples.targets["class"][row] for row in rows} for rows in connected(samples)]
    cells = (
        {(label, home) for held, home in zip(sets, homes, strict=True) for label in held}
        for homes in itertools.product(range(folds), repeat=len(sets))
    )
    return any(len(found) == folds * len(labels) for found in cells)


rows = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 6), st.integers(0, 30)), min_size=4, max_size=30)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(rows, st.integers(2, 4), st.integers(0, 1000))
def test_every_sample_is_tested_once_and_nothing_is_parted(
    found: list[tuple[int, int, int]], folds: int, seed: int
) -> None:
    labels, groups, contents = ([f"{value}" for value in column] for column in zip(*found, strict=True))
    samples = table(labels, groups, contents)
    try:
        fold = assign_folds(samples, folds, strata="class", seed=seed)
    except DataError:
        assert folds == 2 or not feasible(samples, folds)
        return
    assert set(fold) == set(range(1, folds + 1))
    for together in connected(samples):
        assert len({fold[row] for row in together}) == 1
    for label in set(labels):
        assert set(fold[samples.targets["class"] == label]) == set(range(1, folds + 1))
    for number in range(1, folds + 1):
        try:
            done = split_by_fold(samples, folds=folds, fold=number, val=0.3, strata="class", seed=seed)
        except DataError:
            continue
        assert done.sample_id.tolist() == samples.sample_id.tolist()
        assert ((done.split == "test") == (fold == number)).all()
        for together in connected(done):
            assert len({done.split[row] for row in together}) == 1
        for label in set(labels):
            assert set(done.split[done.targets["class"] == label]) == SPLITS


@settings(max_examples=15, deadline=None)
@given(st.integers(20, 60), st.integers(2, 5), st.integers(0, 1000))
def test_folds_depend_on_the_seed_and_not_on_the_order_of_rows(groups: int, folds: int, seed: int) -> None:
    samples = random_table(groups, 12 * groups, 2, seed)
    order = np.random.default_rng(seed).permutation(len(samples))
    one, again = splits_of(samples, folds, seed), splits_of(samples, folds, seed)
    shuffled = splits_of(samples.take(order), folds, seed)
    for a, b, c in zip(one, again, shuffled, strict=True):
        assert a.split.tolist() == b.split.tolist() == c.split.tolist()
    assert np.stack([part.split == "test" for part in one]).sum(axis=0).tolist() == [1] * len(samples)
    others = [assign_folds(samples, folds, strata="class", seed=seed + more).tolist() for more in (0, 1, 2)]
    assert any(other != others[0] for other in others[1:])


@given(st.lists(st.integers(6, 60), min_size=1, max_size=5), st.integers(2, 6), st.integers(0, 2**32 - 1))
def test_single_images_give_folds_of_one_size(sizes: list[int], folds: int, seed: int) -> None:
    labels = [f"c{label}" for label, size in enumerate(sizes) for _ in range(size)]
    fold = assign_folds(table(labels), folds, strata="class", seed=seed)
    counts = np.bincount(fold, minlength=folds + 1)[1:]
    assert counts.max() - counts.min() <= 1
    for label in set(labels):
        of_class = np.bincount(fold[np.array(sorted(labels)) == label], minlength=folds + 1)[1:]
        assert of_class.max() - of_class.min() <= 1


def unevenness(labels: np.ndarray, fold: np.ndarray) -> float:
    """The root mean square deviation of the classes' shares from those of equal folds."""
    shares = [[(fold[labels == label] == number).mean() for number in np.unique(fold)] for label in np.unique(labels)]
    return float(np.sqrt(np.mean((np.array(shares) - 1 / len(np.unique(fold))) ** 2)))


@pytest.mark.parametrize("folds", [3, 5, 10])
@pytest.mark.parametrize(("groups", "samples", "classes"), [(60, 400, 2), (150, 600, 4), (250, 2500, 8)])
def test_folds_are_as_even_as_those_of_scikit_learn(folds: int, groups: int, samples: int, classes: int) -> None:
    for seed in range(2):
        made = random_table(groups, samples, classes, seed)
        labels = made.targets["class"]
        ours = unevenness(labels, assign_folds(made, folds, strata="class", seed=seed))
        theirs = np.zeros(len(made), dtype=np.int64)
        splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
        for number, (_, test) in enumerate(splitter.split(labels, labels, made.group)):
            theirs[test] = number
        assert ours <= unevenness(labels, theirs) + 0.002


def test_a_person_who_holds_half_of_a_class_is_one_fold() -> None:
    labels = ["rage"] * 208 + ["joy"] * 300
    groups = ["big"] * 104 + [f"p{number // 2}" for number in range(104)] + [f"q{number}" for number in range(300)]
    fold = assign_folds(table(labels, groups), 3, strata="class", seed=0)
    of_class = np.array(sorted(labels))
    assert sorted(np.bincount(fold[of_class == "rage"])[1:].tolist()) == [52, 52, 104]
    assert np.bincount(fold[of_class == "joy"])[1:].tolist() == [100, 100, 100]


def test_leaving_one_group_out_is_as_many_folds_as_groups() -> None:
    samples = table([f"{number}" for number in range(40)], [f"g{number % 8}" for number in range(40)])
    fold = assign_folds(samples, 8, strata=None, seed=1)
    assert sorted({*zip(samples.group, fold.tolist(), strict=True)}, key=lambda pair: pair[1]) == [
        (group, number) for number, group in enumerate(samples.group[np.argsort(fold, kind="stable")][::5], start=1)
    ]
    assert np.bincount(fold)[1:].tolist() == [5] * 8


def test_near_duplicates_stay_together() -> None:
    samples = table(["a"] * 12 + ["b"] * 12, contents=[f"{number}" for number in range(24)])
    pixels = samples.pixels
    near = {pixels[0]: [pixels[5]], pixels[5]: [pixels[0]]}
    for seed in range(10):
        fold = assign_folds(samples, 3, strata="class", seed=seed, near=near)
        assert fold[0] == fold[5]


@pytest.mark.parametrize(
    ("folds", "message"),
    [
        (
            5,
            r"5 folds need at least 5 groups of every class .*; 'b' has 3 groups\. Ask for at most 3 folds, add images",
        ),
        (2, r"2 folds need at least 4 groups of every class .*; 'b' has 3 groups\. Ask for at most 3 folds"),
    ],
)
def test_too_few_groups_are_named(folds: int, message: str) -> None:
    labels = ["a"] * 12 + ["b"] * 9
    groups = [f"p{number}" for number in range(12)] + ["q1"] * 3 + ["q2"] * 3 + ["q3"] * 3
    with pytest.raises(DataError, match=message):
        assign_folds(table(labels, groups), folds, strata="class", seed=0)
    assert set(assign_folds(table(labels, groups), 3, strata="class", seed=0)) == {1, 2, 3}


def test_what_cannot_be_placed_is_named_by_class_and_fold() -> None:
    """Each two classes share a group twice, so that the pairs cannot serve four folds."""
    labels = ["a", "b", "b", "c", "a", "c"] * 2
    groups = ["ab", "ab", "bc", "bc", "ac", "ac", "ab2", "ab2", "bc2", "bc2", "ac2", "ac2"]
    with pytest.raises(DataError, match=r"(?s)no way was found .* in 4 folds.*'[abc]' in fold [1-4]\n"):
        assign_folds(table(labels, groups), 4, strata="class", seed=0)


@pytest.mark.slow
def test_real_faces_by_person(real_data: Path) -> None:
    from cvlab.data.image_folder import Config, load

    config = Config.model_validate(
        {"root": str(real_data / "faces"), "split": {"group_pattern": r"(.+)_\d+$"}}, strict=False
    )
    samples = load(config).table
    fold = assign_folds(samples, 5, strata="class", seed=42)
    labels = samples.targets["class"]
    for label in ("anger", "happy", "neutral", "sad", "surprise"):
        shares = np.bincount(fold[labels == label], minlength=6)[1:] / (labels == label).sum()
        assert np.allclose(shares, 0.2, atol=0.01)
