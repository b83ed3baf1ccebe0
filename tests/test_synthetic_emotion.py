from __future__ import annotations

import hashlib
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cvlab.data.synthetic import drawing, emotion
from cvlab.data.synthetic.person import Expression
from cvlab.errors import DataError

# Drawing some hundred faces takes seconds.
pytestmark = pytest.mark.slow


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def person(path: Path) -> str:
    match = re.fullmatch(r"(.+)_\d+", path.stem)
    assert match is not None
    return match.group(1)


def grey_pixels(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    files = sorted(folder.glob("*/*.jpg"))
    images = [np.asarray(Image.open(path).convert("L").resize((32, 32))).ravel() / 255 for path in files]
    return np.array(images), np.array([path.parent.name for path in files]), np.array([person(p) for p in files])


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn") / "faces"
    assert emotion.write(folder, image_size=64) == 640
    return folder


def test_layout_is_class_folders_of_rgb_jpeg(faces: Path) -> None:
    assert sorted(path.name for path in faces.iterdir()) == sorted([*emotion.CLASSES, drawing.MARKER])
    assert "no real persons" in (faces / drawing.MARKER).read_text(encoding="utf-8")
    files = list(faces.glob("*/*"))
    assert len(files) == 640
    for path in files:
        with Image.open(path) as image:
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (64, 64))


@pytest.mark.parametrize("count", [8, 11, 16])
def test_every_person_shows_every_expression_as_evenly_as_possible(tmp_path: Path, count: int) -> None:
    emotion.write(tmp_path / "set", identities=9, images_per_identity=count, image_size=32)
    files = list((tmp_path / "set").glob("*/*.jpg"))
    counts = Counter((person(path), path.parent.name) for path in files)
    assert len({name for name, _ in counts}) == 9
    assert len(counts) == 9 * len(emotion.CLASSES)
    assert set(counts.values()) == {count // 8, -(-count // 8)}
    assert set(Counter(person(path) for path in files).values()) == {count}
    # Nine persons start at all eight classes and one class once more: what is left over spreads.
    of_class = Counter(path.parent.name for path in files)
    assert max(of_class.values()) - min(of_class.values()) <= 1
    assert len({path.stem for path in files}) == len(files)


def test_pictures_differ_and_each_shows_a_face(faces: Path) -> None:
    assert len(set(digests(faces).values())) == 641
    pixels, _, _ = grey_pixels(faces)
    assert pixels.mean(axis=1).min() > 0.1
    assert pixels.mean(axis=1).max() < 0.95
    middle = pixels.reshape(-1, 32, 32)[:, 8:24, 8:24].reshape(len(pixels), -1)
    rows, columns = np.mgrid[:16, :16]
    light = np.column_stack([np.ones(256), rows.ravel(), columns.ravel()])
    features = middle.T - light @ np.linalg.lstsq(light, middle.T, rcond=None)[0]
    # Eyes, nose and mouth stand out from the skin beyond uneven light; noise alone spans less than 0.05.
    assert np.ptp(np.percentile(features, [1, 99], axis=0), axis=0).min() > 0.1


def test_same_seed_gives_the_same_bytes_and_a_larger_set_holds_the_smaller(tmp_path: Path) -> None:
    for name, identities, count in (("a", 2, 9), ("b", 2, 9), ("more", 3, 17)):
        emotion.write(tmp_path / name, identities=identities, images_per_identity=count, image_size=48, seed=5)
    first = digests(tmp_path / "a")
    assert len(first) == 19
    assert digests(tmp_path / "b") == first
    assert first.items() <= digests(tmp_path / "more").items()


def test_another_seed_or_domain_draws_other_pictures(tmp_path: Path) -> None:
    emotion.write(tmp_path / "a", identities=2, images_per_identity=8, image_size=48)
    emotion.write(tmp_path / "seed", identities=2, images_per_identity=8, image_size=48, seed=1)
    emotion.write(tmp_path / "domain", identities=2, images_per_identity=8, image_size=48, domain=1)
    pictures = [{path.read_bytes() for path in (tmp_path / name).glob("*/*")} for name in ("a", "seed", "domain")]
    assert [len(each) for each in pictures] == [16, 16, 16]
    assert len(set.union(*pictures)) == 48


def test_domains_differ_in_look_and_share_no_person(faces: Path, tmp_path: Path) -> None:
    emotion.write(tmp_path / "other", identities=30, images_per_identity=8, image_size=64, domain=2)
    persons = {person(path) for path in (tmp_path / "other").glob("*/*.jpg")}
    assert persons == {f"p{2000 + i}" for i in range(30)}
    assert persons.isdisjoint(person(path) for path in faces.glob("*/*.jpg"))

    def saturation(folder: Path) -> float:
        images = [np.asarray(Image.open(path).convert("HSV"))[..., 1].mean() for path in folder.glob("*/*.jpg")]
        return float(np.mean(images))

    assert saturation(tmp_path / "other") < 0.8 * saturation(faces)
    assert grey_pixels(tmp_path / "other")[0].mean() < grey_pixels(faces)[0].mean() - 0.05


def test_the_last_person_of_a_domain_stays_below_the_first_of_the_next(tmp_path: Path) -> None:
    for name in emotion.CLASSES:
        (tmp_path / name).mkdir()
    emotion.write_person(tmp_path, 999, count=8, size=32, key=(0, 0))
    emotion.write_person(tmp_path, 0, count=8, size=32, key=(0, 1))
    assert {person(path) for path in tmp_path.glob("*/*.jpg")} == {"p0999", "p1000"}


def test_a_linear_classifier_of_pixels_is_above_chance_and_far_from_perfect(faces: Path) -> None:
    pixels, classes, persons = grey_pixels(faces)
    held_out = np.isin(persons, np.unique(persons)[::3])
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
    model.fit(pixels[~held_out], classes[~held_out])
    # 224 pictures of persons never trained on: four standard errors above chance (1 in 8) is 0.213.
    assert held_out.sum() == 224
    assert 0.213 < model.score(pixels[held_out], classes[held_out]) < 0.9


def test_contempt_alone_is_one_sided() -> None:
    forms = {name: np.array(form) for name, form in emotion.FORMS.items()}
    smirk = Expression._fields.index("smirk")
    assert {name for name, form in forms.items() if form[:, smirk].any()} == {"contempt"}
    assert set(forms) == set(emotion.CLASSES)
    assert all(form.shape == (2, len(Expression._fields)) for form in forms.values())


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("identities", 0),
        ("identities", 1001),
        ("images_per_identity", 7),
        ("image_size", 31),
        ("image_size", 64.0),
        ("seed", -1),
        ("domain", -1),
        ("domain", True),
    ],
)
def test_a_wrong_setting_is_refused_before_anything_is_written(tmp_path: Path, setting: str, value: int) -> None:
    with pytest.raises(DataError, match=rf"`{setting}` must be .*Received: {re.escape(repr(value))}"):
        emotion.write(tmp_path / "set", **{setting: value})
    assert not list(tmp_path.iterdir())


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    target = tmp_path / "set"
    target.mkdir()
    (target / "thesis.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(DataError, match="not empty"):
        emotion.write(target, identities=1, images_per_identity=8)
    assert [path.name for path in tmp_path.rglob("*")] == ["set", "thesis.txt"]


def test_a_file_or_the_current_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="current folder"):
        emotion.write(Path(), identities=1, images_per_identity=8)
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="is a file"):
        emotion.write(tmp_path / "file", identities=1, images_per_identity=8)
    with pytest.raises(DataError, match="cannot be written"):
        emotion.write(tmp_path / "file" / "below", identities=1, images_per_identity=8)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "deep" / "set").mkdir(parents=True)
    assert emotion.write(tmp_path / "deep" / "set", identities=1, images_per_identity=8, image_size=32) == 8
    assert len(list((tmp_path / "deep" / "set").glob("*/*.jpg"))) == 8
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["set"]


@pytest.mark.parametrize("failure", [RuntimeError("broken"), KeyboardInterrupt()])
def test_a_failure_leaves_nothing_behind(tmp_path: Path, failure: BaseException) -> None:
    def write_half(folder: Path) -> None:
        with drawing.new_folder(folder, marker="text") as temporary:
            (temporary / "half.txt").touch()
            raise failure

    with pytest.raises(type(failure)):
        write_half(tmp_path / "set")
    assert not list(tmp_path.iterdir())


def test_a_folder_filled_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    def write_late(folder: Path) -> None:
        with drawing.new_folder(folder, marker="text"):
            folder.mkdir()
            (folder / "other.txt").touch()

    with pytest.raises(DataError, match="cannot be written"):
        write_late(tmp_path / "set")
    assert [path.name for path in tmp_path.rglob("*")] == ["set", "other.txt"]


def test_canvas_places_and_rotates_the_figure() -> None:
    canvas = drawing.Canvas(80, (0, 0, 0), centre=(0.5, 0.5), unit=0.25, degrees=90)
    canvas.fill(drawing.oval((1, 0), (0.2, 0.2)), (255, 255, 255))
    rows, columns = np.nonzero(np.asarray(canvas.finish().convert("L")) > 127)
    # One unit to the right, turned clockwise by 90 degrees, is one unit (20 pixels) down.
    assert rows.mean() == pytest.approx(59.5, abs=1)
    assert columns.mean() == pytest.approx(39.5, abs=1)
    assert len(rows) == pytest.approx(np.pi * 4**2, rel=0.15)


def test_bend_passes_through_its_three_points() -> None:
    path = drawing.bend((0, 0), (1, 3), (2, 0))
    assert path[[0, 6, 12]] == pytest.approx(np.array([[0, 0], [1, 3], [2, 0]]), abs=1e-12)


def test_stroke_is_as_wide_as_asked() -> None:
    canvas = drawing.Canvas(100, (0, 0, 0), centre=(0.0, 0.5), unit=1.0)
    canvas.stroke(drawing.points((0.1, 0), (0.5, 0), (0.9, 0)), (255, 255, 255), width=0.2)
    picture = np.asarray(canvas.finish().convert("L")) / 255
    assert picture[:, 50].sum() == pytest.approx(20, abs=1)
    assert picture[50].sum() == pytest.approx(80, abs=1)


def test_mix_stays_between_its_colours() -> None:
    assert drawing.mix((0, 100, 200), (100, 100, 0), 0.25) == pytest.approx((25, 100, 150))
    assert drawing.mix((0, 0, 0), (9, 9, 9), -1) == (0, 0, 0)
    assert drawing.mix((0, 0, 0), (9, 9, 9), 2) == (9, 9, 9)
