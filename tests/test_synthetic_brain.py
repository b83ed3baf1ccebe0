"""Drawn brains: the layout of kaggle_3m, the same every time, tumours brighter on FLAIR in about a third of slices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cvlab.data.synthetic import brain
from cvlab.errors import DataError


def slices(folder: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    images = sorted(path for path in folder.glob("*/*.tif") if not path.stem.endswith("_mask"))
    return [
        (np.asarray(Image.open(path)), np.asarray(Image.open(path.with_name(f"{path.stem}_mask.tif"))))
        for path in images
    ]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("brains") / "kaggle_3m"
    assert brain.write(folder, identities=12, images_per_identity=6, image_size=64) == 72
    return folder


def test_the_layout(drawn: Path) -> None:
    patients = sorted(path for path in drawn.iterdir() if path.is_dir())
    assert len(patients) == 12
    assert {len([*patient.iterdir()]) for patient in patients} == {12}
    assert (patients[0] / f"{patients[0].name}_6_mask.tif").is_file()
    assert (drawn / brain.FOLDERS[0]).parent == drawn
    for image, mask in slices(drawn):
        assert image.shape == (64, 64, 3)
        assert image.dtype == mask.dtype == np.uint8
        assert mask.shape == (64, 64)
        assert {*np.unique(mask)} <= {0, 255}


def test_about_two_thirds_show_no_tumour(drawn: Path) -> None:
    shares = [bool(mask.any()) for _, mask in slices(drawn)]
    assert 0.25 < np.mean(shares) < 0.42
    by_patient = np.array(shares).reshape(12, 6).sum(axis=1)
    assert (by_patient >= 1).all()
    assert (by_patient <= 3).all()


def test_tumours_are_brighter_on_flair(drawn: Path) -> None:
    found = []
    for image, mask in slices(drawn):
        brain_pixels = (image[..., 1] > 40) & (mask == 0)
        if mask.any():
            inside, outside = image[mask > 0].astype(float), image[brain_pixels].astype(float)
            green = inside[:, 1].mean() - inside[:, 0].mean() > outside[:, 1].mean() - outside[:, 0].mean()
            found.append(bool(green))
    assert np.mean(found) > 0.9
    # Bright slices are no surer to show a tumour than dark ones.
    means = np.array([image.mean() for image, _ in slices(drawn)])
    assert means.min() > 5
    assert means.max() < 120


def test_the_same_every_time_and_others_elsewhere(drawn: Path, tmp_path: Path) -> None:
    brain.write(tmp_path / "again", identities=2, images_per_identity=6, image_size=64)
    for path in (tmp_path / "again").glob("*/*.tif"):
        assert path.read_bytes() == (drawn / path.parent.name / path.name).read_bytes()
    brain.write(tmp_path / "other", identities=2, images_per_identity=6, image_size=64, domain=1)
    names = {path.name for path in (tmp_path / "other").iterdir()}
    assert names.isdisjoint(path.name for path in drawn.iterdir() if path.is_dir())


@pytest.mark.parametrize("wrong", [{"identities": 0}, {"images_per_identity": 2}, {"image_size": 16}, {"seed": -1}])
def test_values_out_of_range(tmp_path: Path, wrong: dict[str, int]) -> None:
    with pytest.raises(DataError, match=next(iter(wrong))):
        brain.write(tmp_path / "x", **wrong)
