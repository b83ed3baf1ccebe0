"""Splits: whole groups, every class everywhere, near the wanted shares, and the seed's alone."""

from __future__ import annotations

import itertools
import math
import os
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cvlab.data.image_folder import Config, load
from cvlab.data.samples import SampleTable, new_table, text_column
from cvlab.data.split import split_samples
from cvlab.errors import DataError

USUAL = {"train": 0.7, "val": 0.15, "test": 0.15}


def table(labels: list[str], groups: list[str] | None = None, contents: list[str] | None = None) -> SampleTable:
    ids = [f"r/{label}/{number:06d}" for number, label in enumerate(labels)]
    made = new_table(ids, [Path("/", name) for name in ids], ids if groups is None else groups, {"class": labels})
    order = np.argsort(ids, kind="stable")
    return made.with_columns(content=text_column([contents[i] for i in order])) if contents else made


def split(samples: SampleTable, fractions: dict[str, float] | None = None, seed: int = 0) -> SampleTable:
    return split_samples(samples, fractions or USUAL, strata="class", seed=seed)


def shares(samples: SampleTable) -> dict[str, list[float]]:
    counts = samples.counts("class")
    totals = {label: int((samples.targets["class"] == label).sum()) for label in set(samples.targets["class"])}
    return {label: [counts[name].get(label, 0) / total for name in counts] for label, total in totals.items()}


def random_table(groups: int, samples: int, classes: int, seed: int) -> SampleTable:
    rng = np.random.default_rng(seed)
    labels = rng.choice(classes, samples, p=rng.dirichlet(np.full(classes, 3.0)))
    return table([f"c{label}" for label in labels], [f"g{group}" for group in rng.integers(0, groups, samples)])


def connected(samples: SampleTable) -> list[set[int]]:
    """Sets of rows that share groups or contents, found by flooding."""
    rows_of = defaultdict(list)
    for row in range(len(samples)):
        rows_of["group", samples.group[row]].append(row)
        rows_of["content", samples.content[row] or f"row {row}"].append(row)
    left, found = set(range(len(samples))), []
    while left:
        waiting, reached = [left.pop()], set()
        while waiting:
            row = waiting.pop()
            reached.add(row)
            for key in (("group", samples.group[row]), ("content", samples.content[row] or f"row {row}")):
                fresh = left.intersection(rows_of[key])
                left -= fresh
                waiting += fresh
        found.append(reached)
    return found


def feasible(samples: SampleTable, splits: int) -> bool:
    """Whether any placement puts every class in every split, by trying all."""
    labels = set(samples.targets["class"])
    sets = [{samples.targets["class"][row] for row in rows} for rows in connected(samples)]

    def serves(homes: tuple[int, ...]) -> bool:
        cells = {(label, home) for held, home in zip(sets, homes, strict=True) for label in held}
        return len(cells) == splits * len(labels)

    return any(serves(homes) for homes in itertools.product(range(splits), repeat=len(sets)))


@pytest.mark.parametrize("seed", [0, 42])
def test_single_images_give_exactly_the_whole_numbers(seed: int) -> None:
    done = split(table(["n"] * 1583 + ["p"] * 4273), {"train": 0.6, "val": 0.2, "test": 0.2}, seed)
    assert done.counts("class") == {
        "train": {"n": 949, "p": 2563},
        "val": {"n": 316, "p": 854},
        "test": {"n": 318, "p": 856},
    }


def test_a_few_copies_do_not_cost_the_whole_numbers() -> None:
    contents = [f"{number}" for number in range(1000)]
    contents[7] = contents[3]
    done = split(table(["a"] * 500 + ["b"] * 500, contents=contents), {"train": 0.6, "val": 0.2, "test": 0.2})
    assert done.counts("class") == {s: {"a": n, "b": n} for s, n in (("train", 300), ("val", 100), ("test", 100))}
    assert done.split[3] == done.split[7]


@given(
    st.lists(st.integers(3, 60), min_size=2, max_size=5),
    st.sampled_from([USUAL, {"train": 0.98, "val": 0.01, "test": 0.01}, {"train": 0.9, "val": 0.1, "test": 0.0}]),
    st.integers(0, 2**32 - 1),
)
def test_single_images_of_any_number(sizes: list[int], fractions: dict[str, float], seed: int) -> None:
    labels = [f"c{label}" for label, size in enumerate(sizes) for _ in range(size)]
    counts = split(table(labels), fractions, seed).counts("class")
    used = [name for name, share in fractions.items() if share > 0]
    assert list(counts) == used
    for label, size in enumerate(sizes):
        found = [counts[name][f"c{label}"] for name in used]
        assert sum(found) == size
        wanted = [math.floor(size * fractions[name] + 1e-9) for name in used[:-1]]
        if all(wanted) and sum(wanted) < size:
            assert found[:-1] == wanted
        assert min(found) >= 1


rows = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 6), st.integers(0, 30)), min_size=4, max_size=30)


@settings(max_examples=150, deadline=None)
@given(rows, st.sampled_from([USUAL, {"train": 0.8, "val": 0.2}]), st.integers(0, 1000))
def test_groups_and_copies_stay_whole_and_every_class_is_everywhere(
    found: list[tuple[int, int, int]], fractions: dict[str, float], seed: int
) -> None:
    labels, groups, contents = ([f"{value}" for value in column] for column in zip(*found, strict=True))
    samples = table(labels, groups, contents)
    try:
        done = split(samples, fractions, seed)
    except DataError:
        assert not feasible(samples, len(fractions))
        return
    assert done.sample_id.tolist() == samples.sample_id.tolist()
    assert set(done.split) == set(fractions)
    for together in connected(done):
        assert len({done.split[row] for row in together}) == 1
    for label in set(labels):
        assert set(done.split[done.targets["class"] == label]) == set(fractions)


@settings(max_examples=40, deadline=None)
@given(st.integers(20, 60), st.integers(0, 1000))
def test_the_split_depends_on_the_seed_and_not_on_the_order_of_rows(groups: int, seed: int) -> None:
    samples = random_table(groups, 6 * groups, 3, seed)
    assume(min(np.unique(samples.targets["class"], return_counts=True)[1]) > 12)
    order = np.random.default_rng(seed).permutation(len(samples))
    one, again, shuffled = split(samples, seed=seed), split(samples, seed=seed), split(samples.take(order), seed=seed)
    assert one.split.tolist() == again.split.tolist() == shuffled.split.tolist()
    assert one.sample_id.tolist() == shuffled.sample_id.tolist()
    assert any(split(samples, seed=other).split.tolist() != one.split.tolist() for other in (seed + 1, seed + 2))


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 5))])
def test_small_mixed_groups_come_near_the_wanted_shares(seed: int) -> None:
    for groups, samples in ((100, 800), (1000, 4000), (3000, 10_000)):
        done = split(random_table(groups, samples, 8, seed), seed=seed)
        for found in shares(done).values():
            assert np.allclose(found, list(USUAL.values()), atol=0.05)


def test_rare_classes_in_mixed_groups_are_not_drawn_into_training() -> None:
    """Groups that hold a rare class beside common ones: the common ones must not decide for all of them."""
    rng = np.random.default_rng(0)
    labels, groups = [], []
    for group in range(600):
        labels += ["common"] * 4 + ["other"] * 3 + (["rare"] if group < 60 else [])
        groups += [f"g{group}"] * (8 if group < 60 else 7)
    order = rng.permutation(len(labels))
    done = split(table([labels[i] for i in order], [groups[i] for i in order]))
    assert np.allclose(shares(done)["rare"], [0.7, 0.15, 0.15], atol=0.02)


def test_a_person_who_holds_half_of_a_class_goes_to_training() -> None:
    labels = ["rage"] * 208 + ["joy"] * 300
    groups = ["big"] * 104 + [f"p{number // 2}" for number in range(104)] + [f"q{number}" for number in range(300)]
    done = split(table(labels, groups))
    assert set(done.split[done.group == "big"]) == {"train"}
    assert np.allclose(shares(done)["rage"], [0.7, 0.15, 0.15], atol=0.011)
    assert np.allclose(shares(done)["joy"], [0.7, 0.15, 0.15], atol=0.011)


def test_placements_that_one_by_one_would_miss_are_found() -> None:
    """Three groups a class, each shared with another class: one placement out of many serves all."""
    for seed in range(20):
        labels, groups = [], []
        homes = np.random.default_rng(seed).permuted(np.tile(np.arange(3), (6, 1)), axis=1)
        for label, places in enumerate(homes):
            for number, home in enumerate(places):
                labels.append(f"c{label}")
                groups.append(f"g{home}-{(label + number) % 2}")
        assert set(split(table(labels, groups), seed=seed).split) == set(USUAL)


def test_classes_with_too_few_groups_are_named() -> None:
    labels = ["a"] * 9 + ["b"] * 9
    groups = [f"p{number}" for number in range(9)] + ["q1"] * 5 + ["q2"] * 4
    with pytest.raises(DataError, match=r"at least 3 groups.*train, val, test; 'b' has 2 groups\."):
        split(table(labels, groups))
    assert set(split(table(labels, groups), {"train": 0.8, "val": 0.2, "test": 0.0}).split) == {"train", "val"}


def test_what_cannot_be_placed_is_named_by_class_and_split() -> None:
    """Each two classes share a group: one of the three always lacks in one of two splits."""
    labels = ["a", "b", "b", "c", "a", "c"]
    groups = ["ab", "ab", "bc", "bc", "ac", "ac"]
    with pytest.raises(DataError, match=r"(?s)no way was found.*'[abc]' in (train|val)\n"):
        split(table(labels, groups), {"train": 0.5, "val": 0.5})


@pytest.mark.slow
@pytest.mark.parametrize("groups", [30_000, 10**9])
def test_a_hundred_thousand_samples_take_seconds(groups: int) -> None:
    samples = random_table(groups, 100_000, 8, 1)
    started = time.monotonic()
    done = split(samples)
    assert time.monotonic() - started < 10
    for found in shares(done).values():
        assert np.allclose(found, list(USUAL.values()), atol=0.002)


@pytest.mark.skipif("CVLAB_DATA" not in os.environ, reason="needs CVLAB_DATA")
@pytest.mark.parametrize("seed", [0, 42])
def test_real_faces_by_person(seed: int) -> None:
    root = Path(os.environ["CVLAB_DATA"]) / "faces"
    config = Config.model_validate({"root": str(root), "split": {"group_pattern": r"(.+)_\d+$"}}, strict=False)
    done = split(load(config).table, seed=seed)
    found = shares(done)
    for label in ("anger", "happy", "neutral", "sad", "surprise"):
        assert np.allclose(found[label], list(USUAL.values()), atol=0.01)
    assert np.allclose(found["disgust"], list(USUAL.values()), atol=0.05)


def test_without_classes_whole_groups_are_split_by_the_shares_alone() -> None:
    labels = [f"{number / 7}" for number in range(300)]
    made = table(labels, [f"g{number % 60}" for number in range(300)])
    done = split_samples(made, USUAL, strata=None, seed=3)
    sizes = [int((done.split == name).sum()) for name in ("train", "val", "test")]
    assert sizes == [210, 45, 45]
    assert all(len(set(done.split[done.group == group])) == 1 for group in set(done.group))
    assert done.split.tolist() == split_samples(made, USUAL, strata=None, seed=3).split.tolist()
    assert done.split.tolist() != split_samples(made, USUAL, strata=None, seed=4).split.tolist()
    with pytest.raises(DataError, match="'all images' has 2 groups"):
        split_samples(table(["0.5", "0.7"]), USUAL, strata=None, seed=0)
