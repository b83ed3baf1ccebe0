"""Batches are a function of seed, stage, epoch and number, and every column belongs to its image."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvlab.data.augment import Augmenter
from cvlab.data.pipeline import Batches

FLIP = [{"name": "HorizontalFlip", "p": 0.5}]


def batches(count: int = 10, size: int = 4, **settings: Any) -> Batches:
    """Images whose pixels tell their number, in the reverse order of the rows, with columns that tell it too."""
    images = np.zeros((count + 3, 5, 6, 3), dtype=np.uint8)
    images[:] = np.arange(count + 3)[:, None, None, None]
    images[..., 0, :] += 100
    rows = np.arange(count)[::-1] + 3
    columns: dict[str, Any] = {"targets": np.stack([rows, -rows], axis=1).astype(np.float32)}
    columns["weights"] = (rows / 2).astype(np.float32)
    return Batches(images, rows, size, **{"seed": (7, 0), **columns, **settings})


def assert_same(one: tuple[np.ndarray, ...], other: tuple[np.ndarray, ...]) -> None:
    assert len(one) == len(other)
    assert all(np.array_equal(a, b) and a.dtype == b.dtype for a, b in zip(one, other, strict=True))


def whole(found: Batches, epoch: int) -> list[tuple[np.ndarray, ...]]:
    return [found.load(epoch, batch) for batch in range(found.per_epoch)]


@given(st.integers(1, 40), st.integers(1, 50), st.booleans(), st.integers(0, 5))
def test_an_epoch_holds_every_sample_once_with_its_own_columns(
    count: int, size: int, shuffled: bool, epoch: int
) -> None:
    found = batches(count, size, shuffled=shuffled)
    loaded = whole(found, epoch)
    images, targets, weights = (np.concatenate(column) for column in zip(*loaded, strict=True))
    numbers = images[:, 0, 1, 0]
    assert sorted(numbers) == list(range(3, count + 3))
    assert np.array_equal(targets, np.stack([numbers, -numbers.astype(int)], axis=1))
    assert np.array_equal(weights, numbers / 2)
    assert [len(batch[0]) for batch in loaded[:-1]] == [size] * (found.per_epoch - 1)
    assert 1 <= len(loaded[-1][0]) <= size
    if not shuffled:
        assert np.array_equal(numbers, found.rows)


def test_batches_depend_on_seed_stage_epoch_and_number_only() -> None:
    settings: dict[str, Any] = {"shuffled": True, "augmenter": Augmenter(FLIP), "count": 64, "size": 16}
    one, again = batches(**settings), batches(**settings)
    forwards = {(epoch, batch): one.load(epoch, batch) for epoch in range(3) for batch in range(4)}
    for key in sorted(forwards, reverse=True):
        assert_same(again.load(*key), forwards[key])
    orders = [
        one.order(0),
        one.order(1),
        batches(**settings, seed=(7, 1)).order(0),
        batches(**settings, seed=(8, 0)).order(0),
    ]
    assert len({tuple(order) for order in orders}) == 4


def test_unshuffled_epochs_keep_the_order_of_the_table() -> None:
    found = batches()
    assert_same(found.load(0, 1), found.load(5, 1))


def test_images_change_only_when_an_augmenter_is_given() -> None:
    plain, flipped = batches(64, 64, shuffled=True), batches(64, 64, shuffled=True, augmenter=Augmenter(FLIP))
    stored = plain.images.copy()
    (images, *columns), (changed, *same) = plain.load(1, 0), flipped.load(1, 0)
    assert np.array_equal(images, plain.images[plain.rows[plain.order(1)]])
    assert_same(tuple(columns), tuple(same))
    turned = (changed != images).any(axis=(1, 2, 3))
    assert 10 < turned.sum() < 54
    assert np.array_equal(changed[turned], images[turned][:, :, ::-1])
    assert np.array_equal(plain.images, stored)
    assert np.array_equal(flipped.images, stored)
    assert not np.array_equal(flipped.load(2, 0)[0][..., 0, 0] > 99, changed[..., 0, 0] > 99)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"targets": None}, "targets with the weights"),
        ({"targets": np.zeros((11, 2), np.float32)}, "targets as float32, a row for each of 10"),
        ({"weights": np.zeros(9, np.float32)}, "weights as float32, a row for each of 10"),
        ({"weights": np.zeros(10)}, "received float64"),
        ({"size": 0}, "batch size"),
    ],
)
def test_columns_that_do_not_belong_to_the_images_are_refused(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        batches(**settings)


@pytest.mark.tensorflow
@pytest.mark.parametrize("columns", [{}, {"weights": None}, {"targets": None, "weights": None}])
def test_the_data_set_gives_the_same_batches_and_any_tail_of_them(columns: dict[str, Any]) -> None:
    found = batches(22, 5, shuffled=True, augmenter=Augmenter(FLIP), **columns)
    for first in (0, 1, 3, 4, 5):
        data = found.dataset(first=first)
        assert int(data.cardinality()) == found.per_epoch - first
        for epoch in (0, 2, 1):
            found.epoch = epoch
            given = [tuple(np.asarray(part) for part in batch) for batch in data]
            expected = whole(found, epoch)[first:]
            assert len(given) == len(expected)
            for one, other in zip(given, expected, strict=True):
                assert_same(one, other)


@pytest.mark.tensorflow
def test_the_data_set_says_its_shapes() -> None:
    shapes = [tuple(spec.shape) for spec in batches(22, 5).dataset().element_spec]
    assert shapes == [(None, 5, 6, 3), (None, 2), (None,)]


@pytest.mark.tensorflow
def test_what_was_begun_ahead_is_of_no_other_epoch() -> None:
    found = batches(count=23, size=3, shuffled=True, augmenter=Augmenter(FLIP))
    dataset = found.dataset()
    for epoch, taken in ((0, 2), (1, 8), (2, 3), (0, 8)):
        found.epoch = epoch
        for number, parts in enumerate(dataset.take(taken).as_numpy_iterator()):
            assert_same(parts, found.load(epoch, number))
    assert sorted(found.ready) == list(range(8))
