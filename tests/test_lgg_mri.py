"""The kaggle_3m folder: patients, slices, masks; and every way in which they can be wrong."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image
from pydantic import ValidationError

from cvlab.config_split import Rounding
from cvlab.data.lgg_mri import Config, load, other_data, write_sample
from cvlab.data.prepare import data_json
from cvlab.data.samples import new_table, read_samples, samples_csv
from cvlab.data.source import Labels
from cvlab.data.split import split_samples
from cvlab.errors import DataError
from tests.mask_fixture import SIDE, prepared, write_slices

FIRST = "P00/P00_1"


def refused(tmp_path: Path, **settings: Any) -> str:
    with pytest.raises(DataError) as caught:
        prepared(tmp_path, root=tmp_path / "kaggle_3m", **settings)
    return str(caught.value)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_slices(tmp_path / "kaggle_3m")


def test_the_public_folder_as_it_is(root: Path, tmp_path: Path) -> None:
    for name in ("data.csv", "README.md", ".DS_Store"):
        (root / name).touch()
    source = load(Config(root=root))
    table = source.table
    assert source.labels == Labels(class_names=("no tumour", "tumour"), masks=("tumour",))
    assert source.notes == []
    assert len(table) == 36
    assert table.sample_id[0] == "kaggle_3m/P00/P00_1.tif"
    assert table.group.tolist() == [f"P{n // 6:02d}" for n in range(36)]
    assert table.mask[0] == str(root / f"{FIRST}_mask.tif")
    samples = prepared(tmp_path, root=root).stages[0].samples
    truth = samples.truth()
    for name, mask, rows in zip(samples.table.path, samples.table.mask, truth, strict=True):
        assert np.array_equal(np.asarray(Image.open(mask)) > 0, rows > 0), name
    shows = [bool(mask.any()) for mask in truth]
    assert samples.table.targets["class"].tolist() == [("no tumour", "tumour")[found] for found in shows]
    assert 0 < sum(shows) < 36
    places = {*zip(samples.table.group, samples.table.split, strict=True)}
    assert len(places) == 6  # each patient in one split
    assert data_json(prepared(tmp_path, root=root), [{}], allow_leakage=False)["stages"][0]["group_name"] == "patient"


def test_the_table_keeps_masks_and_their_contents(root: Path, tmp_path: Path) -> None:
    table = prepared(tmp_path, root=root).stages[0].samples.table
    path = tmp_path / "samples.csv"
    path.write_text(samples_csv(table))
    again = read_samples(path)
    assert again.fingerprint() == table.fingerprint()
    assert again.mask.tolist() == table.mask.tolist()
    Image.fromarray(np.eye(SIDE, dtype=np.uint8)).save(root / f"{FIRST}_mask.tif")
    assert prepared(tmp_path, root=root).stages[0].samples.table.fingerprint() != table.fingerprint()


def test_a_patient_with_one_slice(root: Path, tmp_path: Path) -> None:
    for path in (root / "P03").iterdir():
        if path.stem not in ("P03_1", "P03_1_mask"):
            path.unlink()
    table = prepared(tmp_path, root=root).stages[0].samples.table
    assert (table.group == "P03").sum() == 1


def test_by_slice_leaks_and_says_so(root: Path, tmp_path: Path) -> None:
    data = prepared(tmp_path, root=root, unit="slice", split={"rounding": "nearest"})
    table, (leak,) = data.stages[0].samples.table, data.leaks
    assert {split: int((table.split == split).sum()) for split in ("train", "val", "test")} == {
        "train": 29,
        "val": 4,
        "test": 3,
    }
    patients = np.array([Path(path).parent.name for path in table.path])
    several = sum(len({*table.split[patients == name]}) > 1 for name in {*patients})
    assert str(leak).startswith(f"data.unit: slice, in stage 'only': {several} of 6 patients stand in several splits")
    written = data_json(data, [{}], allow_leakage=False)
    assert written["leaks"] == [str(leak)]
    assert written["stages"][0]["warnings"] == [f"LEAKAGE: {leak}."]
    assert written["stages"][0]["masks"] == ["tumour"]
    assert written["stages"][0]["group_name"] == "group"
    assert prepared(tmp_path, root=root).leaks == []


def test_the_sizes_of_the_published_split_by_slice() -> None:
    ids = [f"kaggle_3m/{number}" for number in range(3929)]
    table = new_table(ids, [Path("/", name) for name in ids], ids, {})
    fractions = {"train": 0.8, "val": 0.1, "test": 0.1}
    sizes: dict[Rounding, tuple[int, int, int]] = {"nearest": (3143, 393, 393), "down": (3143, 392, 394)}
    for rounding, wanted in sizes.items():
        split = split_samples(table, fractions, strata=None, seed=42, rounding=rounding).split
        assert tuple(int((split == name).sum()) for name in fractions) == wanted


def three_values(path: Path) -> None:
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[3], mask[5] = 128, 255
    Image.fromarray(mask).save(path)


WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "mask without image": (
        lambda root: (root / f"{FIRST}.tif").unlink(),
        f"  {{root}}/{FIRST}_mask.tif: is a mask without an image\n",
    ),
    "image without mask": (
        lambda root: (root / f"{FIRST}_mask.tif").unlink(),
        f"  {{root}}/{FIRST}.tif: has no mask; expected P00_1_mask.* beside it\n",
    ),
    "two images": (
        lambda root: (root / f"{FIRST}.tiff").write_bytes((root / f"{FIRST}.tif").read_bytes()),
        f"  {{root}}/{FIRST}.tif and {{root}}/{FIRST}.tiff: are 2 images of one name; expected one\n",
    ),
    "other size": (
        lambda root: Image.new("L", (SIDE, SIDE + 2)).save(root / f"{FIRST}_mask.tif"),
        f"  {{root}}/{FIRST}_mask.tif: is 24 x 26 pixels (width x height): expected 24 x 24 as its image has, "
        f"{{root}}/{FIRST}.tif\n",
    ),
    "three values": (
        lambda root: three_values(root / f"{FIRST}_mask.tif"),
        f"  {{root}}/{FIRST}_mask.tif: is no mask: expected 0 (black) for the background and one other value for the "
        "structure, found 3 values (0, 128, 255)\n",
    ),
    "float": (
        lambda root: tifffile.imwrite(root / f"{FIRST}.tif", np.zeros((SIDE, SIDE, 3), np.float32), photometric="rgb"),
        f"  {{root}}/{FIRST}.tif: holds signed or floating-point values: expected unsigned 8 or 16 bits a channel\n",
    ),
    "pages": (
        lambda root: tifffile.imwrite(root / f"{FIRST}.tif", np.zeros((2, SIDE, SIDE, 3), np.uint8), photometric="rgb"),
        f"  {{root}}/{FIRST}.tif: is a TIFF of 2 pages: expected one; save each page as its own file\n",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_named_or_left_out(root: Path, tmp_path: Path, case: str) -> None:
    change, expected = WRONG[case]
    change(root)
    expected = expected.format(root=root)
    text = refused(tmp_path)
    assert expected in text
    assert "`data.on_unreadable=skip`" in text
    stage = prepared(tmp_path, root=root, on_unreadable="skip").stages[0]
    assert len(stage.samples.table) == 35
    assert f"kaggle_3m/{FIRST}.tif" not in stage.samples.table.sample_id
    (said,) = [text for text in [*stage.notes, *stage.warnings] if "on_unreadable: skip" in text]
    assert expected.strip() in said


def test_masks_that_show_nothing_or_everything(root: Path, tmp_path: Path) -> None:
    masks = [*root.glob("*/*_mask.tif")]
    for path in masks:
        Image.new("L", (SIDE, SIDE), 255).save(path)
    table = prepared(tmp_path, root=root).stages[0].samples.table
    assert {*table.targets["class"]} == {"tumour"}
    for path in masks:
        Image.new("L", (SIDE, SIDE), 0).save(path)
    assert "No mask of the training split shows any tumour" in refused(tmp_path)
    speck = np.zeros((SIDE, SIDE), np.uint8)
    speck[0, 0] = 255
    Image.fromarray(speck).save(masks[0])
    Image.fromarray(255 - speck).save(masks[1])
    Image.fromarray(255 - speck).save(masks[2])
    stage = prepared(tmp_path, root=root, unit="slice", image_size=(4, 4), split={"train": 0.9, "val": 0.1}).stages[0]
    assert any("1 mask show so little that nothing is left of it" in text for text in stage.warnings)


def test_masks_whose_background_is_white_are_noticed(root: Path, tmp_path: Path) -> None:
    assert not any("inverted" in text for text in prepared(tmp_path, root=root).stages[0].warnings)
    for path in root.glob("*/*_mask.tif"):
        Image.fromarray(255 - np.asarray(Image.open(path))).save(path)
    (said,) = [text for text in prepared(tmp_path, root=root).stages[0].warnings if "inverted" in text]
    assert said.startswith("Half of the masks cover 100% or more of their image. 0 (black) is the background")
    assert str(root / "P00/P00_1_mask.tif") in said


def test_other_folders(root: Path, tmp_path: Path) -> None:
    for wrong, hint in ((tmp_path, f"Did you mean data.root={root}?"), (root / "P00", f"data.root={root}?")):
        with pytest.raises(DataError, match="expected a folder a patient") as caught:
            load(Config(root=wrong))
        assert str(caught.value).endswith(hint)
    with pytest.raises(DataError, match="there is no such folder"):
        load(Config(root=tmp_path / "nothing"))
    (root / "P00/notes.txt").touch()
    (root / "P00/deep").mkdir()
    (root / "P00/deep/a.tif").touch()
    (note,) = load(Config(root=root)).notes
    assert note == f"{root}: 2 other files left out (first: P00/deep/a.tif)."


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"unit": "slice", "near_duplicate_distance": 8}, "`near_duplicate_distance: null` with `unit: slice`"),
        ({"split": {"group_pattern": "x"}}, "no `split.group_pattern`"),
        ({"structure": " "}, "the name of what masks show"),
        ({"unit": "person"}, "'patient' or 'slice'"),
    ],
)
def test_settings_that_contradict(settings: dict[str, object], expected: str) -> None:
    with pytest.raises(ValidationError, match=expected):
        Config.model_validate({"root": Path("/x"), **settings})


def test_drawn_data_and_other_data(tmp_path: Path) -> None:
    config = Config(root=tmp_path / "kaggle_3m", sample="brain", image_size=(32, 32), unit="slice")
    (drawn,) = write_sample([config], tmp_path / "samples", small=True)
    source = load(drawn)
    assert source.synthetic
    assert drawn.unit == "slice"
    assert len(source.table) == 60
    assert load(other_data(config, drawn.root)).table.sample_id.tolist() == source.table.sample_id.tolist()
    with pytest.raises(DataError, match=r"data\.sample"):
        write_sample([Config(root=tmp_path)], tmp_path, small=True)


@pytest.mark.slow
@pytest.mark.skipif("CVLAB_DATA" not in os.environ, reason="needs the real slices ($CVLAB_DATA)")
def test_the_real_slices(tmp_path: Path) -> None:
    samples = (
        prepared(tmp_path, root=Path(os.environ["CVLAB_DATA"]) / "lgg/kaggle_3m", image_size=(64, 64)).stages[0].samples
    )
    assert len(samples.table) == 460
    assert len({*samples.table.group}) == 12
    assert samples.truth().any(axis=(1, 2)).sum() == 144
