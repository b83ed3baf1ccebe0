from __future__ import annotations

import hashlib
import re
import time
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cvlab import registry
from cvlab.data import image_folder
from cvlab.data.synthetic import chest, covid, drawing
from cvlab.data.synthetic.film import FIRST, draw_film
from cvlab.data.synthetic.thorax import Grid, Opacity, Thorax, clouds, soft
from cvlab.errors import DataError

# Drawing some hundred films takes seconds.
pytestmark = pytest.mark.slow
SETS = pytest.mark.parametrize("module", [chest, covid], ids=["chest", "covid"])


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def patient(path: Path) -> str:
    match = re.search(chest.GROUP_PATTERN, path.stem)
    assert match is not None
    return match.group(1)


def films(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*/*") if path.is_file())


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Each set with about 400 small films."""
    folder = tmp_path_factory.mktemp("drawn")
    for module in (chest, covid):
        module.write(folder / module.__name__, identities=144, images_per_identity=3, image_size=48)
    return {module.__name__: folder / module.__name__ for module in (chest, covid)}


@SETS
def test_layout_is_class_folders_with_patients_in_the_names(module: ModuleType, drawn: dict[str, Path]) -> None:
    folder = drawn[module.__name__]
    assert sorted(path.name for path in folder.iterdir()) == sorted([*module.CLASSES, drawing.MARKER])
    assert "no real patients" in " ".join((folder / drawing.MARKER).read_text(encoding="utf-8").split())
    found = films(folder)
    assert len(found) == 432
    assert {*Counter(map(patient, found)).values()} == {3}
    # All films of a patient are of one class, and the classes are as unequal as the cycle says.
    classes = {(patient(path), path.parent.name) for path in found}
    assert len(classes) == 144
    share = Counter(module.CYCLE)
    assert Counter(name for _, name in classes) == {name: 144 * n // len(module.CYCLE) for name, n in share.items()}
    assert len({*share.values()}) > 1
    assert {*share} == {*module.CLASSES}


@SETS
def test_files_are_of_several_kinds_whatever_the_class(module: ModuleType, drawn: dict[str, Path]) -> None:
    kinds: dict[str, Counter[tuple[str | None, str]]] = {name: Counter() for name in module.CLASSES}
    for path in films(drawn[module.__name__]):
        with Image.open(path) as image:
            assert image.size == (48, 48)
            kinds[path.parent.name][image.format, image.mode] += 1
    assert {*sum(kinds.values(), Counter())} == {("JPEG", "L"), ("JPEG", "RGB"), ("PNG", "L")}
    for found in kinds.values():
        assert found["JPEG", "L"] / found.total() > 0.65


@SETS
def test_pictures_differ(module: ModuleType, drawn: dict[str, Path]) -> None:
    assert len(set(digests(drawn[module.__name__]).values())) == 433


@SETS
def test_same_seed_gives_the_same_bytes_and_a_larger_set_holds_the_smaller(module: ModuleType, tmp_path: Path) -> None:
    for name, identities, count in (("a", 6, 2), ("b", 6, 2), ("more", 7, 3)):
        module.write(tmp_path / name, identities=identities, images_per_identity=count, image_size=40, seed=5)
    first = digests(tmp_path / "a")
    assert len(first) == 13
    assert digests(tmp_path / "b") == first
    assert first.items() <= digests(tmp_path / "more").items()


def test_another_seed_or_domain_draws_other_films_and_other_patients(tmp_path: Path) -> None:
    changes: dict[str, dict[str, Any]] = {"a": {}, "seed": {"seed": 1}, "domain": {"domain": 1}}
    for name, settings in changes.items():
        chest.write(tmp_path / name, identities=4, images_per_identity=2, image_size=40, **settings)
    pictures = [{path.read_bytes() for path in films(tmp_path / name)} for name in ("a", "seed", "domain")]
    assert len(set.union(*pictures)) == 24
    assert {patient(path) for path in films(tmp_path / "domain")} == {f"p{1000 + number}" for number in range(4)}


def learned(module: ModuleType, folder: Path, features: str) -> float:
    """Balanced accuracy of a linear classifier on patients that it has not seen."""
    found = films(folder)
    pixels = np.array([np.asarray(Image.open(path).convert("L").resize((32, 32))).ravel() / 255 for path in found])
    labels = np.array([module.CLASSES.index(path.parent.name) for path in found])
    patients = np.array([patient(path) for path in found])
    names = np.random.default_rng(0).permutation(np.unique(patients))
    held_out = np.isin(patients, names[: len(names) // 3])
    given = pixels if features == "pixels" else np.column_stack([pixels.mean(axis=1), pixels.std(axis=1)])
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.05, max_iter=1000, class_weight="balanced"))
    model.fit(given[~held_out], labels[~held_out])
    return float(balanced_accuracy_score(labels[held_out], model.predict(given[held_out])))


@SETS
def test_pixels_tell_the_class_but_brightness_and_contrast_hardly(module: ModuleType, drawn: dict[str, Path]) -> None:
    chance = 1 / len(module.CLASSES)
    # 144 films of patients never trained on.
    assert chance + 0.15 < learned(module, drawn[module.__name__], "pixels") < 0.95
    assert abs(learned(module, drawn[module.__name__], "brightness") - chance) < 0.15


def lit(opacities: list[Opacity], size: int = 96) -> np.ndarray:
    """What opacities add to a chest that is otherwise the same."""
    body = Thorax.random(np.random.default_rng(3))
    grid = Grid.of(size, shift=(0, 0), scale=1, degrees=0)
    empty = [opacity._replace(density=0.0) for opacity in opacities]
    ill, well = (body.attenuation(grid, drawn, breath=0, rng=np.random.default_rng(1)) for drawn in (opacities, empty))
    return ill - well


def test_an_opacity_lies_in_its_lung_at_its_place() -> None:
    added = lit([Opacity((-0.6, 0.1), 0.2, 0.8, 0.0)])
    assert added.max() > 0.1
    rows, columns = np.nonzero(added > 0.5 * added.max())
    # The right lung is on the left of the picture; y = 0.1 is 5 % of the height below the middle.
    assert columns.max() < 48
    assert rows.mean() == pytest.approx(0.55 * 96, abs=3)
    assert np.abs(added[:, 60:]).max() < 0.01


@pytest.mark.parametrize("seed", range(8))
def test_what_is_drawn_of_a_disease_lies_in_the_lungs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    both = covid.patches(rng)
    assert {np.sign(opacity.place[0]) for opacity in both} == {-1, 1}
    assert 4 <= len(both) <= 7
    one = chest.consolidation(rng)
    assert 1 <= len(one) <= 2
    assert chest.nothing(rng) == []
    assert max(o.density for o in both) < 0.76 < 0.96 > max(o.density for o in one)
    grid = Grid.of(64, shift=(0, 0), scale=1, degrees=0)
    lungs = Thorax.random(np.random.default_rng(3)).lungs(grid, 0)
    outside = np.abs(lit(both + one, size=64))[lungs < 0.01]
    assert outside.max() < 0.01


def test_a_chest_is_moved_and_turned_as_asked() -> None:
    grid = Grid.of(100, shift=(0.2, -0.1), scale=0.5, degrees=90)
    # The body's middle lies at the shift; one unit to its right, turned clockwise by 90 degrees, is half a side down.
    assert np.hypot(grid.x, grid.y)[44:46, 59:61].max() < 0.05
    assert (grid.x[69, 59], grid.y[69, 59]) == pytest.approx((1.0, 0.0), abs=0.05)


def test_clouds_have_mean_0_and_deviation_1() -> None:
    for size, grain in ((40, 0.03), (97, 0.1), (160, 0.5)):
        field = clouds(size, grain, np.random.default_rng(0))
        assert field.shape == (size, size)
        assert (field.mean(), field.std()) == pytest.approx((0, 1), abs=1e-6)


def test_soft_borders() -> None:
    assert soft(np.array([-1.0, 0.0, 1.0]), 0.01) == pytest.approx([0, 0.5, 1])


def test_a_large_film_shows_what_a_small_one_shows() -> None:
    body = Thorax.random(np.random.default_rng(0))
    small, large = (draw_film(body, chest.nothing, FIRST, size, np.random.default_rng(4)) for size in (160, 320))
    reduced = np.asarray(large.resize((160, 160), Image.Resampling.BOX), dtype=float)
    assert large.size == (320, 320)
    assert np.corrcoef(reduced.ravel(), np.asarray(small, dtype=float).ravel())[0, 1] > 0.97


@pytest.mark.parametrize(
    ("setting", "value"),
    [("identities", 2), ("identities", 1001), ("images_per_identity", 0), ("image_size", 31), ("seed", -1),
     ("domain", True)],
)  # fmt: skip
def test_a_wrong_setting_is_refused_before_anything_is_written(tmp_path: Path, setting: str, value: int) -> None:
    settings: dict[str, Any] = {setting: value}
    with pytest.raises(DataError, match=rf"`{setting}` must be .*Received: {re.escape(repr(value))}"):
        chest.write(tmp_path / "set", **settings)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("classes", "used"),
    [(["No_findings", "Covid-19"], ["No_findings", "Covid-19"]), (["COVID", "Non-COVID"], None), (None, None)],
)
def test_sample_data_keep_the_classes_that_they_have(
    tmp_path: Path, classes: list[str] | None, used: list[str] | None
) -> None:
    settings = {"root": [str(tmp_path / "films")], "classes": classes, "sample": "covid", "image_size": (32, 32)}
    config = image_folder.Config.model_validate(settings, strict=False)
    (sample,) = image_folder.write_sample([config], tmp_path / "drawn", small=True)
    assert sample.classes == used
    found = image_folder.load(sample)
    assert found.labels.class_names == tuple(used or covid.CLASSES)
    assert found.synthetic
    assert found.unmatched_groups == 0
    assert len(set(found.table.group)) == len(found.table) / 3


@SETS
def test_the_small_set_is_drawn_quickly_and_named(module: ModuleType, tmp_path: Path) -> None:
    sets = registry.SYNTHETIC["image_folder"]
    assert sets[module.__name__.rpartition(".")[2]] == module.__name__
    assert len(module.FOLDERS) == len(module.FULL) == len(module.SMALL) == 2
    started = time.process_time()
    count = module.write(tmp_path / "set", image_size=128, **module.SMALL[0])
    assert time.process_time() - started < 15
    assert 100 <= count <= 200
    assert sum(path.stat().st_size for path in films(tmp_path / "set")) / count < 20_000
