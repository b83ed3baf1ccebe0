"""Near-duplicates: copies are found whatever was done to them, other pictures are not, and none is missed."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.fft import dctn

from cvlab.console import Console
from cvlab.data import near_duplicates
from cvlab.data.cache import ImageCache, open_or_build
from cvlab.data.fingerprint import content_hashes
from cvlab.data.near_duplicates import FAINT, Looks, find_near, looks_of
from cvlab.errors import DataError
from tests.picture_fixture import picture, save, write_copies

# Left out of `scripts/test fast`.
pytestmark = pytest.mark.slow

DISTANCE = 16


def opened(paths: list[Path], folder: Path, size: int | tuple[int, int] = 64) -> tuple[dict[Path, str], ImageCache]:
    console = Console(StringIO())
    hashes = content_hashes(paths, cache_dir=folder / "cache", console=console)
    image_size = (size, size) if isinstance(size, int) else size
    cache = open_or_build(paths, hashes, image_size=image_size, cache_dir=folder / "cache", console=console)
    return dict(zip(paths, hashes, strict=True)), cache


def looks(words: np.ndarray) -> Looks:
    return Looks(tuple(f"{row:05d}" for row in range(len(words))), words)


def pairs(near: dict[str, dict[str, int]]) -> dict[tuple[str, str], int]:
    return {(one, two): bits for one, others in near.items() for two, bits in others.items() if one < two}


@pytest.mark.parametrize("size", [16, 32, 64, 128, (48, 96)])
def test_copies_are_found_and_other_pictures_are_not(tmp_path: Path, size: int | tuple[int, int]) -> None:
    sets = [[*write_copies(picture(seed), tmp_path / str(seed)).values()] for seed in range(12)]
    key_of, cache = opened([path for paths in sets for path in paths], tmp_path, size)
    near = find_near(looks_of(cache), DISTANCE)
    for paths in sets:
        keys = {key_of[path] for path in paths}
        assert len(keys) == len(paths)
        for key in keys:
            assert near[key].keys() == keys - {key}


def test_the_hash_is_the_sign_of_the_lowest_frequencies(tmp_path: Path) -> None:
    paths = [save(picture(seed), tmp_path / f"{seed}.png") for seed in range(5)]
    key_of, cache = opened(paths, tmp_path, (40, 56))
    found = looks_of(cache)
    for path, key in key_of.items():
        pixels = np.asarray(Image.open(path).resize((56, 40), Image.Resampling.BILINEAR), dtype=np.float64)
        # SciPy's DCT-II sums twice the products; the hash takes their mean.
        waves = dctn(pixels @ [0.299, 0.587, 0.114], type=2)[:16, :16] / (4 * 40 * 56)
        bits = np.unpackbits(found.words[found.keys.index(key)][None].view(np.uint8)).reshape(16, 16).astype(bool)
        waves[0, 0] = 0
        clear = np.abs(waves - FAINT) > 1e-3
        assert clear.sum() > 240
        assert np.array_equal(bits[clear], waves[clear] > FAINT)


def test_the_hash_of_one_size_is_near_that_of_another(tmp_path: Path) -> None:
    paths = [save(picture(seed), tmp_path / f"{seed}.png") for seed in range(8)]
    large, small = (looks_of(opened(paths, tmp_path, size)[1]) for size in (128, 32))
    assert large.keys == small.keys
    assert np.bitwise_count(large.words ^ small.words).sum(axis=1).max() <= DISTANCE


def test_images_of_one_colour_or_with_hardly_a_pattern_are_not_compared(tmp_path: Path) -> None:
    black, grey = (Image.new("RGB", (64, 64), colour) for colour in ("black", (99, 99, 99)))
    ramp = Image.fromarray(np.repeat(np.arange(0, 128, 2, dtype=np.uint8)[None], 64, axis=0))
    paths = [
        save(black, tmp_path / "black.png"),
        save(black, tmp_path / "black.jpg"),
        save(grey, tmp_path / "grey.png"),
        save(ramp, tmp_path / "ramp.png"),
        save(ramp, tmp_path / "ramp.jpg"),
        save(Image.new("L", (1, 1), 7), tmp_path / "dot.png"),
    ]
    picture_path = save(picture(1), tmp_path / "picture.png")
    key_of, cache = opened([*paths, picture_path], tmp_path)
    found = looks_of(cache)
    assert find_near(found, 64) == {}
    assert found.of_one_colour == {key_of[path] for path in paths}


def test_hashes_are_kept_beside_the_images_and_made_again_where_they_are_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [save(picture(seed), tmp_path / f"{seed}.png") for seed in range(3)]
    _, cache = opened(paths, tmp_path)
    first = looks_of(cache)
    (kept,) = (tmp_path / "cache").rglob("looks-*.npy")
    np.save(kept, first.words[::-1])
    assert np.array_equal(looks_of(cache).words, first.words[::-1])
    for damage in (b"", b"no array", np.lib.format.magic(1, 0)):
        kept.write_bytes(damage)
        assert np.array_equal(looks_of(cache).words, first.words)
    np.save(kept, first.words[:2])
    assert np.array_equal(looks_of(cache).words, first.words)
    assert np.array_equal(np.load(kept), first.words)
    assert not list(kept.parent.glob(".*"))


def test_hashes_of_several_stages_are_compared_once_each() -> None:
    words = np.random.default_rng(0).integers(0, 2**63, (3, 4), dtype=np.uint64)
    one, two = Looks(("a", "b"), words[:2]), Looks(("b", "c"), words[1:])
    joined = two.with_others([one, two])
    assert joined.keys == ("b", "c", "a")
    assert np.array_equal(joined.words, words[[1, 2, 0]])


@given(st.integers(0, 64), st.integers(2, 60), st.integers(1, 20), st.integers(0, 2**32 - 1))
def test_every_pair_within_the_distance_is_found_and_no_other(
    distance: int, count: int, originals: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    bits = rng.integers(0, 2, (originals, 256), dtype=np.uint8)[rng.integers(0, originals, count)]
    flipped = rng.random((count, 256)) < rng.uniform(0, 0.1, (count, 1))
    bits = bits ^ flipped
    found = looks(np.packbits(bits, axis=1).view(np.uint64))
    apart = (bits[:, None] != bits).sum(axis=2)
    expected = {
        (found.keys[one], found.keys[two]): int(apart[one, two])
        for one in range(count)
        for two in range(one + 1, count)
        if apart[one, two] <= distance
    }
    near = find_near(found, distance)
    assert pairs(near) == expected
    assert all(near[two][one] == bits for one, others in near.items() for two, bits in others.items())


def test_twenty_thousand_images_take_seconds() -> None:
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2, (20_000, 256), dtype=np.uint8)
    # Films of one kind agree in most of their lowest frequencies.
    bits[:, :40] = rng.random((20_000, 40)) < 0.9
    bits[10_000:10_100] = bits[:100]
    bits[10_000:10_100, 100:116] ^= 1
    near = pairs(find_near(looks(np.packbits(bits, axis=1).view(np.uint64)), DISTANCE))
    assert near == {(f"{row:05d}", f"{row + 10_000:05d}"): 16 for row in range(100)}


def test_nothing_but_look_alikes_is_refused_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_duplicates, "MOST_PAIRS", 1000)
    words = np.full((100, 4), 0b1011, dtype=np.uint64)
    with pytest.raises(DataError, match=r"more than 1,000 pairs of 100 images.*data\.near_duplicate_distance=null"):
        find_near(looks(words), DISTANCE)
    assert len(pairs(find_near(looks(words[:40]), DISTANCE))) == 40 * 39 // 2


def test_pairs_are_counted_once_however_many_parts_they_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_duplicates, "MOST_PAIRS", 66)
    alike = looks(np.full((12, 4), 7, dtype=np.uint64))
    assert len(pairs(find_near(alike, 3))) == 66
    monkeypatch.setattr(near_duplicates, "MOST_PAIRS", 65)
    with pytest.raises(DataError, match="more than 65 pairs of 12 images"):
        find_near(alike, 3)


def test_no_images_and_one_image_have_no_pairs() -> None:
    words = np.ones((1, 4), dtype=np.uint64)
    assert find_near(looks(words), DISTANCE) == find_near(looks(words[:0]), DISTANCE) == {}
