"""How well a property tells the class: checked against scikit-learn, and never by chance."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from cvlab.data.confounding import (
    BINS,
    FEWEST,
    FOLDS,
    SMOOTHING,
    Clue,
    Property,
    class_auc,
    deal_folds,
    find_clues,
    name_prefix,
    told,
)
from cvlab.data.image_facts import ImageFacts
from cvlab.data.samples import SampleTable, new_table

FACT = ImageFacts("JPEG", "RGB", 100, 100, 5000)


def by_definition(codes: np.ndarray, positive: np.ndarray, blocks: np.ndarray) -> float:
    """The same number, sample by sample: in each fold scikit-learn's AUC, weighted by the fold's pairs."""
    folds = deal_folds(positive, blocks)
    total, pairs = 0.0, 0
    for fold in range(FOLDS):
        held = np.flatnonzero(folds == fold)
        others = np.flatnonzero(folds != fold)
        prior = float(np.mean([positive[i] for i in others]))
        scores = []
        for i in held:
            same = [positive[j] for j in others if codes[j] == codes[i]]
            scores.append((sum(same) + SMOOTHING * prior) / (len(same) + SMOOTHING))
        truth = positive[held]
        weight = int(truth.sum()) * int((~truth).sum())
        if weight:
            total += weight * roc_auc_score(truth, scores)
            pairs += weight
    return total / pairs


cases = st.tuples(st.integers(25, 120), st.integers(1, 12), st.integers(0, 2**32 - 1), st.booleans())


@pytest.mark.slow
@given(cases)
def test_the_auc_is_scikit_learns_in_folds(case: tuple[int, int, int, bool]) -> None:
    count, kinds, seed, grouped = case
    rng = np.random.default_rng(seed)
    positive = rng.random(count) < 0.5
    positive[:FEWEST], positive[FEWEST : 2 * FEWEST] = True, False
    codes = np.where(rng.random(count) < 0.4, positive, rng.integers(0, kinds, count))
    blocks = rng.integers(0, 40, count) if grouped else np.arange(count)
    found = class_auc(codes, positive, blocks)
    if min(len({*blocks[positive]}), len({*blocks[~positive]})) < FEWEST:
        assert found is None
    else:
        assert found == pytest.approx(by_definition(codes, positive, blocks), abs=1e-9)
        renamed = rng.permutation(int(codes.max()) + 1)[codes]
        assert class_auc(renamed, positive, blocks) == pytest.approx(found, abs=1e-9)


def test_a_property_that_is_the_class_tells_it_and_one_of_each_sample_tells_nothing() -> None:
    positive = np.arange(100) < 30
    blocks = np.arange(100)
    assert class_auc(positive.astype(np.int64), positive, blocks) == 1.0
    assert class_auc(1 - positive.astype(np.int64), positive, blocks) == 1.0
    assert class_auc(np.arange(100), positive, blocks) == 0.5
    assert class_auc(np.zeros(100, dtype=np.int64), positive, blocks) == 0.5


def test_what_is_learned_from_a_person_is_not_tried_on_the_same_person() -> None:
    persons = np.repeat(np.arange(40), 5)
    positive = persons % 2 == 0
    assert class_auc(persons, positive, persons) == 0.5
    alone = class_auc(persons, positive, np.arange(200))
    assert alone is not None
    assert alone > 0.95


@given(st.integers(1, 60), st.integers(0, 1000))
def test_sets_are_never_parted_and_folds_are_even(sets: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    blocks = np.sort(rng.integers(0, sets, 200))
    folds = deal_folds(rng.random(200) < 0.3, blocks)
    for block in {*blocks}:
        assert len({*folds[blocks == block]}) == 1
    number = len({*blocks})
    dealt = [len({*blocks[folds == fold]}) for fold in range(FOLDS)]
    assert max(dealt) - min(dealt) <= 1
    assert sum(dealt) == number


def test_few_samples_are_not_measured() -> None:
    positive = np.arange(60) < FEWEST - 1
    codes = positive.astype(np.int64)
    assert class_auc(codes, positive, np.arange(60)) is None
    assert class_auc(codes, ~positive, np.arange(60)) is None
    positive[FEWEST - 1] = True
    assert class_auc(positive.astype(np.int64), positive, np.arange(60)) == 1.0
    assert class_auc(positive.astype(np.int64), positive, np.arange(60) // 2) is None


def test_amounts_are_taken_by_rank() -> None:
    values = np.random.default_rng(0).lognormal(0, 3, 320)
    codes = Property("size", values, str).codes
    assert np.array_equal(codes, Property("size", np.exp(values / values.max()), str).codes)
    assert set(np.bincount(codes)) == {320 // BINS}
    assert (np.diff(codes[np.argsort(values)]) >= 0).all()
    assert Property("size", np.full(50, 3.5), str).codes.tolist() == [1] * 50


@pytest.mark.parametrize(
    ("stem", "prefix"),
    [
        ("person1001_bacteria_2932", "person"),
        ("NORMAL2-IM-0206-0001", "NORMAL"),
        ("00001280_004", "<8 digits>"),
        ("31BA3780-2323", "<number>"),
        ("7", "<number>"),
        ("E63574A7-4188", "E"),
        ("Ärzte_3", "Ärzte"),
        ("_hidden", "_"),
        ("(1)", "("),
        ("happy_003", "<class name>"),
        ("Happy-3", "<class name>"),
        ("", ""),
    ],
)
def test_how_a_name_begins(stem: str, prefix: str) -> None:
    assert name_prefix(stem, "happy") == prefix


def samples(names: list[str], labels: list[str]) -> SampleTable:
    ids = [f"set/{label}/{name}" for name, label in zip(names, labels, strict=True)]
    return new_table(ids, [Path("/", name) for name in ids], ids, {"class": labels})


def clues_of(table: SampleTable, facts: list[ImageFacts | None]) -> dict[str, Clue]:
    names = sorted({*table.targets["class"]})
    return {clue.name: clue for clue in find_clues(table, facts, names, np.arange(len(table)))}


def test_the_properties_of_files_are_told_in_words() -> None:
    labels = ["ill"] * 40 + ["well"] * 60
    table = samples([f"{'film' if i % 10 else 'scan'}{i:03d}.jpg" for i in range(100)], labels)
    ill = [ImageFacts("PNG", "RGBA" if i % 4 else "L", 300 + i, 200, 9000 + i) for i in range(40)]
    well = [ImageFacts("JPEG", "L", 400, 400, 20_000 + 100 * i) for i in range(60)]
    found = clues_of(table, [*ill, *well])
    assert found["mode"].telling == {
        "ill": "'L' in 25% of it, in 100% of the rest",
        "well": "'L' in 100% of it, in 25% of the rest",
    }
    # 30 of 40 are told for certain, the rest is a tie.
    assert found["mode"].auc["ill"] == pytest.approx(0.875, abs=0.01)
    assert found["format"].auc == {"ill": 1.0, "well": 1.0}
    assert found["format"].telling["ill"] == "'JPEG' in 0% of it, in 100% of the rest"
    assert found["file size"].telling["ill"] == (
        "half of it from 9.01 kB to 9.03 kB, half of the rest from 21.5 kB to 24.4 kB"
    )
    assert found["width x height"].auc["ill"] == 1.0
    assert "folder" not in found
    assert found["file-name prefix"].telling == {}
    lines = told([*found.values()])
    assert "mode tells ill, AUC 0.88 ('L' in 25% of it, in 100% of the rest)" in lines
    assert not [line for line in lines if "tells well" in line]
    assert lines == sorted(lines, key=lambda line: -float(line.split("AUC ")[1][:4]))


def test_folders_that_were_merged_may_tell_the_class() -> None:
    labels = ["ill"] * 30 + ["well"] * 30
    ids = [f"{'hospital' if label == 'ill' else 'school'}/{label}/{i}.png" for i, label in enumerate(labels)]
    table = new_table(ids, [Path("/", name) for name in ids], ids, {"class": labels})
    found = clues_of(table, [FACT] * 60)
    assert [*found] == ["folder"]
    assert found["folder"].telling["ill"] == "'hospital' in 100% of it, in 0% of the rest"


def test_files_named_after_their_class_tell_nothing() -> None:
    labels = ["ill"] * 30 + ["well"] * 30
    assert clues_of(samples([f"{label}{i}.png" for i, label in enumerate(labels)], labels), [FACT] * 60) == {}


def test_files_without_a_header_are_left_out() -> None:
    labels = ["ill"] * 30 + ["well"] * 30
    table = samples([f"{i}.png" for i in range(60)], labels)
    facts: list[ImageFacts | None] = [None, *[FACT] * 29, *[ImageFacts("PNG", "L", 100, 100, 5000)] * 30]
    assert clues_of(table, facts)["mode"].auc["ill"] == 1.0
    assert find_clues(table, [None] * 60, ["ill", "well"], np.arange(60)) == []


@pytest.mark.parametrize("count", [24, 60, 300])
def test_chance_tells_nothing(count: int) -> None:
    """Random labels and properties of many kinds: not one in a thousand is taken for a clue."""
    rng = np.random.default_rng(count)
    for _ in range(60):
        labels = [*rng.permutation(["a", "b"] * (count // 2))]
        table = samples([f"{'xyz'[rng.integers(3)]}{i}.png" for i in range(count)], labels)
        facts: list[ImageFacts | None] = [
            ImageFacts("PNG", "L" if rng.random() < 0.5 else "RGB", int(rng.integers(90, 110)), 100, int(size))
            for size in rng.lognormal(8, 1, count)
        ]
        assert told([*clues_of(table, facts).values()]) == []
