"""One's own images and masks: two folders or one, and what belongs together in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from cvlab.data.image_mask_folder import Config, load, other_data, write_sample
from cvlab.data.mask_pairs import match, split_by_suffix
from cvlab.errors import DataError
from tests.mask_fixture import prepared, slice_of

STEMS = st.lists(st.text("ab_m", min_size=1, max_size=4), max_size=6, unique=True)


def two_folders(root: Path, names: dict[str, str]) -> tuple[Path, Path]:
    """Writes `images/<name>` with `masks/<mask>` for each of `names`."""
    for number, (name, mask) in enumerate(names.items()):
        for kind, file, array in zip(("images", "masks"), (name, mask), slice_of(number, number % 3 == 0), strict=True):
            path = root / kind / file
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(path)
    return root / "images", root / "masks"


def pairs_of(**settings: Any) -> list[tuple[str, str]]:
    table = load(Config(**settings)).table
    return [(Path(image).name, Path(mask).name) for image, mask in zip(table.path, table.mask, strict=True)]


def test_two_folders_by_stem(tmp_path: Path) -> None:
    images, masks = two_folders(tmp_path, {"a.png": "a.tif", "b.tif": "b.png", "c.jpg": "c.png", "x/a.bmp": "x/a.png"})
    (images / "notes.txt").touch()
    source = load(Config(images=images, masks=masks))
    assert source.table.sample_id.tolist() == ["images/a.png", "images/b.tif", "images/c.jpg", "images/x/a.bmp"]
    assert source.table.mask.tolist() == [str(masks / name) for name in ("a.tif", "b.png", "c.png", "x/a.png")]
    assert source.labels.class_names == ("no structure", "structure")
    assert source.notes == [f"{images}: 1 file left out as no image (first: notes.txt)."]
    # A folder of masks may lie within that of the images.
    masks.rename(images / "masks")
    assert len(load(Config(images=images, masks=images / "masks")).table) == 4


def test_a_suffix(tmp_path: Path) -> None:
    images, masks = two_folders(tmp_path, {"a.png": "a_seg.tif", "b.png": "b_seg.png"})
    (masks / "preview.png").write_bytes((masks / "b_seg.png").read_bytes())
    settings: dict[str, Any] = {"images": images, "masks": masks, "mask_suffix": "_seg"}
    assert pairs_of(**settings) == [("a.png", "a_seg.tif"), ("b.png", "b_seg.png")]
    assert "1 image without the mask_suffix left out (first: preview.png)" in load(Config(**settings)).notes[0]
    for path in masks.glob("*_seg.*"):
        path.rename(images / path.name)
    assert pairs_of(images=images, mask_suffix="_seg") == [("a.png", "a_seg.tif"), ("b.png", "b_seg.png")]
    with pytest.raises(DataError, match=r"a_seg\.tif: has no mask; expected a_seg_mask\.\* beside it"):
        load(Config(images=images))


@given(STEMS, st.lists(st.sampled_from([".png", ".tif"]), min_size=12, max_size=12))
def test_every_file_is_in_a_pair_or_named(stems: list[str], endings: list[str]) -> None:
    names = [f"{stem}{ending}" for stem, ending in zip(stems, endings, strict=False)]
    images, masks = split_by_suffix(names, "_m")
    pairs, problems = match(images, masks, image_root=Path("/r"), mask_root=Path("/r"), suffix="_m")
    assert sorted([*images, *masks]) == sorted(names)
    paired = [path.name for pair in pairs for path in (pair.image, pair.mask)]
    assert len({*paired}) == len(paired)
    for pair in pairs:
        assert f"{pair.image.stem}_m" == pair.mask.stem
    assert all(any(f"/r/{name}:" in problem for problem in problems) for name in {*names} - {*paired})
    assert len(paired) + len(problems) == len(names)


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    images, masks = two_folders(tmp_path, {f"{name}.png": f"{name}.png" for name in "abcdefghijkl"})
    (masks / "a.png").unlink()
    (images / "b.png").unlink()
    (masks / "c.tif").write_bytes((masks / "c.png").read_bytes())
    settings: dict[str, Any] = {"images": images, "masks": masks}
    with pytest.raises(DataError) as caught:
        load(Config(**settings))
    assert str(caught.value).splitlines() == [
        f"data.images: {images}: 3 images and masks without counterparts, 9 pairs found:",
        f"  {images}/a.png: has no mask; expected a.* in {masks}",
        f"  {masks}/b.png: is a mask without an image",
        f"  {masks}/c.png and {masks}/c.tif: are 2 masks of one name; expected one",
        "Add what is missing, or remove what is too much, or leave them out with `data.on_unreadable=skip`.",
    ]
    (note,) = load(Config(**settings, on_unreadable="skip")).notes
    assert note.startswith("3 images and masks without counterparts left out (data.on_unreadable: skip): ")


def test_a_mask_is_no_jpeg(tmp_path: Path) -> None:
    images, masks = two_folders(tmp_path, {f"{name}.png": f"{name}.png" for name in "abcdefghijkl"})
    (masks / "d.png").unlink()
    Image.fromarray(slice_of(3, True)[1]).save(masks / "d.jpg")
    with pytest.raises(DataError, match=r"/masks/d\.jpg: is a JPEG file, which blurs .*: expected PNG or TIFF"):
        prepared(tmp_path, "image_mask_folder", images=images, masks=masks)


def test_folders_that_hold_no_pairs(tmp_path: Path) -> None:
    images, masks = two_folders(tmp_path, {"a.png": "b.png"})
    with pytest.raises(DataError, match=r"0 pairs found:(?s:.)*remove what is too much\.$"):
        load(Config(images=images, masks=masks, on_unreadable="skip"))
    with pytest.raises(DataError, match=r"data\.masks: .*: there is no such folder"):
        load(Config(images=images, masks=tmp_path / "none"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="expected images with their masks, found none"):
        load(Config(images=tmp_path / "empty"))
    with pytest.raises(ValidationError, match="expected a `mask_suffix` such as _mask"):
        Config(images=images, masks=images, mask_suffix="")
    (images / "loop").symlink_to(images)
    with pytest.raises(DataError, match="is a link to a folder that it lies in"):
        load(Config(images=images))


def test_groups_come_from_a_pattern(tmp_path: Path) -> None:
    names = {f"p{number // 2}_{number}.png": f"p{number // 2}_{number}.png" for number in range(24)}
    images, masks = two_folders(tmp_path, names)
    settings = {"images": images, "masks": masks, "structure": "nucleus"}
    samples = prepared(tmp_path, "image_mask_folder", **settings, split={"group_pattern": "(p.*)_"}).stages[0].samples
    assert len({*samples.table.group}) == 12
    assert {*samples.table.targets["class"]} == {"no nucleus", "nucleus"}
    assert np.array_equal(samples.truth().any(axis=(1, 2)), samples.table.targets["class"] == "nucleus")


def test_other_data_and_drawn_data(tmp_path: Path) -> None:
    images, masks = two_folders(tmp_path / "run", {"a.png": "a.png"})
    two_folders(tmp_path / "other", {"b.png": "b.png"})
    config = Config(images=images, masks=masks)
    assert load(other_data(config, tmp_path / "other")).table.sample_id.tolist() == ["images/b.png"]
    with pytest.raises(DataError, match=r"expected the folders images \(images\) and masks \(masks\) in it"):
        other_data(config, tmp_path)
    one = Config(images=images, mask_suffix="_m")
    assert other_data(one, masks).images == masks
    (drawn,) = write_sample([Config(images=images, masks=masks, sample="brain")], tmp_path / "samples", small=True)
    source = load(drawn)
    assert source.synthetic
    assert len({*source.table.group}) == 10
    assert source.unmatched_groups == 0
