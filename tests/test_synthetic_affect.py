"""Drawn faces in larger pictures: the layout of AffectNet, boxes that frame the faces, numbers that can be learned."""

from __future__ import annotations

import csv
import hashlib
import re
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cvlab.data.synthetic import affect, emotion
from cvlab.errors import DataError

# Drawing some hundred faces takes seconds.
pytestmark = pytest.mark.slow

HEADER = "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal"


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*.jpg"))
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def lines(folder: Path) -> list[str]:
    return (folder / affect.TABLE).read_text(encoding="utf-8").splitlines()


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / affect.TABLE).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def person(row: dict[str, str]) -> str:
    match = re.search(affect.GROUP_PATTERN, Path(row[affect.IMAGE]).stem)
    assert match is not None
    return match[1]


def box(row: dict[str, str]) -> tuple[int, int, int, int]:
    left, top, width, height = (int(row[name]) for name in affect.BOX)
    return left, top, left + width, top + height


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn") / "affect"
    assert affect.write(folder, identities=48, image_size=48) == 768
    return folder


def test_layout_is_that_of_affectnet(faces: Path) -> None:
    assert sorted(path.name for path in faces.iterdir()) == sorted(["images", "training.csv", "SYNTHETIC.md"])
    assert lines(faces)[0] == HEADER
    found = rows(faces)
    names = [row[affect.IMAGE] for row in found]
    assert len(set(names)) == 768
    assert set(names) == {path.relative_to(faces / "images").as_posix() for path in faces.rglob("*.jpg")}
    assert all(re.fullmatch(r"[0-4]/p00\d\d_0\d\d\.jpg", name) for name in names)
    assert Counter(Counter(map(person, found)).values()) == {16: 48}


def test_boxes_lie_in_larger_pictures_of_many_shapes(faces: Path) -> None:
    shapes = set()
    for row in rows(faces):
        with Image.open(faces / "images" / row[affect.IMAGE]) as image:
            assert (image.format, image.mode) == ("JPEG", "RGB")
            width, height = image.size
        left, top, right, bottom = box(row)
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
        assert 0.75 * 48 < min(right - left, bottom - top) <= max(right - left, bottom - top) < 1.25 * 48
        assert width * height > 1.3 * (right - left) * (bottom - top)
        shapes.add((width > 1.1 * height, height > 1.1 * width))
        eyes_and_mouth = np.array(row["facial_landmarks"].split(";"), dtype=float).reshape(4, 2)
        assert (eyes_and_mouth > [left, top]).all()
        assert (eyes_and_mouth < [right, bottom]).all()
    assert shapes == {(False, False), (True, False), (False, True)}


def test_one_picture_in_twenty_is_unclear_and_has_no_numbers(faces: Path) -> None:
    of_code = defaultdict(list)
    for row in rows(faces):
        of_code[row["expression"]].append((float(row["valence"]), float(row["arousal"])))
    assert set(of_code) == {*affect.CLASSES, "8", "9", "10"}
    unclear = sum(len(of_code[code]) for code in ("8", "9", "10"))
    assert unclear == pytest.approx(768 / 20, abs=4 * (768 * 0.05 * 0.95) ** 0.5)
    for code, values in of_code.items():
        named = code in affect.CLASSES
        assert named or set(values) == {(-2, -2)}
        assert not named or np.abs(values).max() <= 1
        assert not named or len(values) > 70


def test_numbers_are_the_place_of_the_emotion_times_its_strength() -> None:
    rng = np.random.default_rng(0)
    for name, place in affect.CIRCUMPLEX.items():
        values = np.array([affect.random_affect(name, 0.5, rng) for _ in range(2000)], dtype=float)
        assert values.mean(axis=0) == pytest.approx(np.array(place) / 2, abs=4 * affect.NOISE / 2000**0.5)
        assert values.std(axis=0) == pytest.approx(affect.NOISE, rel=0.1)
        strong = np.array([affect.random_affect(name, 3, rng) for _ in range(20)], dtype=float)
        assert np.abs(strong).max() <= 1
    assert set(affect.CIRCUMPLEX) == set(emotion.CLASSES) == set(affect.CLASSES.values())


def crops(folder: Path, found: list[dict[str, str]], *, cut: bool) -> np.ndarray:
    pictures = []
    for row in found:
        image = Image.open(folder / "images" / row[affect.IMAGE]).convert("L")
        part = image.crop(box(row)) if cut else image
        pictures.append(np.asarray(part.resize((24, 24))).ravel() / 255)
    return np.array(pictures)


def test_what_is_in_the_box_tells_class_valence_and_arousal_of_other_persons(faces: Path) -> None:
    clear = [row for row in rows(faces) if row["expression"] in affect.CLASSES]
    persons = np.array([*map(person, clear)])
    held_out = np.isin(persons, np.unique(persons)[::3])
    codes = np.array([row["expression"] for row in clear])
    numbers = np.array([[float(row[name]) for name in affect.NUMBERS] for row in clear])

    def scores(pixels: np.ndarray) -> tuple[float, float, float]:
        classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000))
        classifier.fit(pixels[~held_out], codes[~held_out])
        predicted = Ridge(alpha=30).fit(pixels[~held_out], numbers[~held_out]).predict(pixels[held_out])
        valence, arousal = (np.corrcoef(predicted[:, i], numbers[held_out, i])[0, 1] for i in range(2))
        return classifier.score(pixels[held_out], codes[held_out]), valence, arousal

    inside, whole = scores(crops(faces, clear, cut=True)), scores(crops(faces, clear, cut=False))
    assert inside[0] > 1 / 8 + 4 * (1 / 8 * 7 / 8 / held_out.sum()) ** 0.5
    assert min(inside[1:]) > 4 / held_out.sum() ** 0.5
    assert all(a > b for a, b in zip(inside, whole, strict=True))
    assert max(inside) < 0.95


def test_same_seed_gives_the_same_bytes_and_a_larger_set_holds_the_smaller(tmp_path: Path) -> None:
    for name, identities, count in (("a", 2, 9), ("b", 2, 9), ("more", 3, 17)):
        affect.write(tmp_path / name, identities=identities, images_per_identity=count, image_size=48, seed=5)
    assert len(digests(tmp_path / "a")) == 18
    assert (digests(tmp_path / "b"), lines(tmp_path / "b")) == (digests(tmp_path / "a"), lines(tmp_path / "a"))
    assert digests(tmp_path / "a").items() <= digests(tmp_path / "more").items()
    assert set(lines(tmp_path / "a")) <= set(lines(tmp_path / "more"))


def test_another_seed_or_domain_draws_other_pictures_of_other_persons(tmp_path: Path) -> None:
    for name, settings in (("a", {}), ("seed", {"seed": 1}), ("domain", {"domain": 1})):
        affect.write(tmp_path / name, identities=2, images_per_identity=8, image_size=48, **settings)
    pictures = [set(digests(tmp_path / name).values()) for name in ("a", "seed", "domain")]
    assert len(set.union(*pictures)) == 48
    assert {person(row) for row in rows(tmp_path / "domain")} == {"p1000", "p1001"}
    assert {row[affect.IMAGE].split("/")[0] for row in rows(tmp_path / "domain")} == {"100"}


def test_a_wrong_setting_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    for setting, value in (("identities", 0), ("images_per_identity", 7), ("image_size", 16), ("seed", -1)):
        with pytest.raises(DataError, match=f"`{setting}` must be .*Received: {value}"):
            affect.write(tmp_path / "set", **{setting: value})
    assert not list(tmp_path.iterdir())
