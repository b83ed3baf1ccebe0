"""Each training image becomes several samples: exact pixels, ids, the training split only; runs that resume."""

from __future__ import annotations

import csv
import io
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cvlab.config import Experiment, ModelConfig, StageConfig, Variant
from cvlab.console import Console
from cvlab.data.audit import find_leaks
from cvlab.data.expansion import describe_expansion, expand_training, turn
from cvlab.data.image_folder import Config
from cvlab.data.pipeline import Batches
from cvlab.data.prepare import PreparedData, data_json, load_sources, prepare
from cvlab.data.samples import SampleTable, new_table, read_samples, samples_csv, text_column
from cvlab.errors import DataError, Interrupted, RunFolderError
from cvlab.experiment import Request, evaluate, resume, train
from cvlab.run_folder import RunFolder, read_json, write_text
from cvlab.tasks.classification import Config as Task
from tests.config_fixture import changed, problems_of
from tests.experiment_fixture import write_toy
from tests.faults.kill_and_resume import differences

ALL: list[Variant] = ["identity", "flip", "rot90", "rot180", "rot270"]
EXACT: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "identity": lambda image: image,
    "flip": np.fliplr,
    "rot90": np.rot90,
    "rot180": lambda image: np.rot90(image, 2),
    "rot270": lambda image: np.rot90(image, 3),
}
COLUMNS = st.lists(st.sampled_from(["", *ALL[1:]]), max_size=12)


def table(ids: list[str], splits: list[str]) -> SampleTable:
    made = new_table(ids, [Path("/") / name for name in ids], ["g"] * len(ids), {"class": ["a"] * len(ids)})
    return made.with_columns(split=text_column(splits), content=text_column([f"h{name}" for name in ids]))


@given(COLUMNS, st.integers(1, 5), st.integers(0, 99))
def test_every_image_is_turned_as_numpy_turns_it(variants: list[str], side: int, seed: int) -> None:
    images = np.random.default_rng(seed).integers(0, 256, (len(variants), side, side, 3), dtype=np.uint8)
    before = images.copy()
    turned = turn(images, text_column(variants))
    assert turned.dtype == np.uint8
    for variant, image, result in zip(variants, images, turned, strict=True):
        assert np.array_equal(result, EXACT[variant or "identity"](image))
    assert np.array_equal(images, before)


def test_images_that_are_not_square_may_be_mirrored_and_turned_half() -> None:
    image = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(1, 2, 3, 3)
    assert np.array_equal(turn(image, text_column(["flip"]))[0], np.fliplr(image[0]))
    assert np.array_equal(turn(image, text_column(["rot180"]))[0], np.rot90(image[0], 2))


def test_rotations_are_counter_clockwise() -> None:
    image = np.array([[[1], [2]], [[3], [4]]], dtype=np.uint8)[None]
    assert turn(image, text_column(["rot90"]))[0, :, :, 0].tolist() == [[2, 4], [1, 3]]
    assert turn(image, text_column(["rot270"]))[0, :, :, 0].tolist() == [[3, 1], [4, 2]]


def test_only_training_samples_become_several() -> None:
    plain = table(["r/1.png", "r/2.png", "r/3.png", "r/4.png"], ["train", "val", "train", "test"])
    expanded = expand_training(plain, ["flip", "identity", "rot90"])
    assert expanded.sample_id.tolist() == [
        "r/1.png", "r/1.png#flip", "r/1.png#rot90", "r/2.png", "r/3.png", "r/3.png#flip", "r/3.png#rot90", "r/4.png",
    ]  # fmt: skip
    assert expanded.variant.tolist() == ["", "flip", "rot90", "", "", "flip", "rot90", ""]
    assert expanded.split.tolist() == [*["train"] * 3, "val", *["train"] * 3, "test"]
    assert {*expanded.group} == {"g"}
    assert expanded.content.tolist() == [*["hr/1.png"] * 3, "hr/2.png", *["hr/3.png"] * 3, "hr/4.png"]
    assert samples_csv(expanded.originals()) == samples_csv(plain)
    assert expand_training(plain, []) is plain
    assert samples_csv(expand_training(plain, ["identity"])) == samples_csv(plain)
    assert len({plain.fingerprint(), expanded.fingerprint()}) == 2


def test_a_table_with_variants_comes_back_from_its_file(tmp_path: Path) -> None:
    written = expand_training(table(["r/1.png", "r/2.png"], ["train", "val"]), ALL)
    write_text(tmp_path / "samples.csv", samples_csv(written))
    read = read_samples(tmp_path / "samples.csv")
    assert read.variant.tolist() == written.variant.tolist()
    assert read.fingerprint() == written.fingerprint()
    write_text(tmp_path / "samples.csv", samples_csv(written).replace(",flip,", ",flop,"))
    with pytest.raises(RunFolderError, match=r"expected a variant out of identity, flip, .*found 'flop'"):
        read_samples(tmp_path / "samples.csv")


def test_an_id_that_looks_like_a_variant_is_refused() -> None:
    with pytest.raises(DataError, match=r"(?s)an image and for a variant of another.*r/1\.png#flip"):
        expand_training(table(["r/1.png", "r/1.png#flip"], ["train", "test"]), ["identity", "flip"])


def test_batches_hold_turned_images_before_they_are_augmented() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 4, 4, 3), dtype=np.uint8)
    rows, variants = np.array([2, 0, 2, 1]), text_column(["", "flip", "rot90", "rot270"])
    found = Batches(images, rows, 3, seed=(1, 0), variants=variants, shuffled=True)
    for epoch in range(3):
        loaded = np.concatenate([found.load(epoch, batch)[0] for batch in range(found.per_epoch)])
        for image, member in zip(loaded, found.order(epoch), strict=True):
            assert np.array_equal(image, EXACT[variants[member] or "identity"](images[rows[member]]))


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("root: data/a", "root: data/a\n  expand: [flip]", "7: data.expand: expected 'identity' among them: without it "
         "no image would be trained on as it is, received ['flip']."),
        ("root: data/a", "root: data/a\n  expand: [identity, identity]",
         "7: data.expand: expected each variant once, received ['identity', 'identity']."),
        ("root: data/a", "root: data/a\n  expand: [identity, rot45]", "7: data.expand.1: expected 'identity', 'flip', "
         "'rot90', 'rot180' or 'rot270', received 'rot45'; did you mean 'rot90'?"),
        ("root: data/a", "root: data/a\n  expand: flip", "7: data.expand: expected a list, received 'flip'."),
        ("root: data/a\n  image_size: [64, 64]", "root: data/a\n  image_size: [64, 48]\n  expand: [identity, rot270]",
         "8: data.expand: expected a square `image_size` with rot90 and rot270, received [64, 48]: height and width "
         "would change places. Make it square, or leave these two out."),
    ],
)  # fmt: skip
def test_wrong_settings_are_named(tmp_path: Path, old: str, new: str, problem: str) -> None:
    assert problems_of(tmp_path / "c.yaml", changed((old, new))) == [f"c.yaml:{problem}"]


def prepared(folder: Path, before: list[SampleTable] | None = None, **settings: Any) -> PreparedData:
    root = folder / "set"
    for number in range(40 if not root.exists() else 0):
        path = root / "ab"[number % 2] / f"p{number // 4}_{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (9, 7, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    split = {"train": 0.6, "val": 0.2, "test": 0.2, "group_pattern": "(.+)_"}
    data = Config.model_validate(
        {"root": [str(root)], "image_size": (8, 8), "split": split, "cache_dir": folder / "cache", **settings},
        strict=False,
    )
    stage = StageConfig(name="s", epochs=1, learning_rate=1e-3, task=Task(), data=data)
    experiment = Experiment(name="x", task=Task(), data=data, model=ModelConfig(name="vggnet"), stages=[stage])
    return prepare(experiment, load_sources(experiment), Console(io.StringIO()), before=before or [])


def test_preparing_expands_after_the_split_and_draws_of_the_expanded(tmp_path: Path) -> None:
    (plain,) = prepared(tmp_path).stages
    data = prepared(tmp_path, expand=ALL, sampling="balanced")
    (stage,) = data.stages
    table, images = stage.samples.table, int((plain.samples.table.split == "train").sum())
    assert data.leaks == []
    assert {split: int((table.split == split).sum()) for split in ("train", "val", "test")} == {
        "train": 5 * images, "val": 8, "test": 8,
    }  # fmt: skip
    assert samples_csv(table.originals()) == samples_csv(plain.samples.table)
    decoded = dict(zip(plain.samples.table.sample_id, plain.samples.pixels(), strict=True))
    for name, variant, pixels in zip(table.sample_id, table.variant, stage.samples.pixels(), strict=True):
        assert np.array_equal(pixels, EXACT[variant or "identity"](decoded[name.split("#")[0]]))
    training = stage.samples.of_split("train")
    batches = training.batches(7, seed=(1,))
    loaded = np.concatenate([batches.load(0, batch)[0] for batch in range(batches.per_epoch)])
    assert np.array_equal(loaded, training.pixels())
    assert sum(drawn for _, drawn in stage.draws.values()) == 5 * images
    assert stage.notes == [
        f"{images} training images became {5 * images} samples (data.expand: identity, flip, rot90, rot180, rot270); "
        "validation and test are as they were.",
        f"An epoch draws {5 * images} times from {5 * images} training samples, each class {5 * images // 2} times "
        "(data.sampling: balanced).",
    ]
    record = data_json(data, [{}], allow_leakage=False)["stages"][0]
    assert record["draws"] == {
        name: {"samples": samples, "drawn": drawn} for name, (samples, drawn) in stage.draws.items()
    }
    assert describe_expansion(table, []) == []


def test_a_leak_of_an_expanded_run_counts_once(tmp_path: Path) -> None:
    earlier = prepared(tmp_path, expand=ALL).stages[0].samples.table
    with pytest.raises(DataError) as caught:
        prepared(tmp_path, before=[earlier], split={"train": 0.2, "val": 0.2, "test": 0.6})
    text = str(caught.value)
    assert "The gate stops" in text
    assert "#" not in text
    later = prepared(tmp_path, split={"train": 0.2, "val": 0.2, "test": 0.6}, allow_leakage=True).stages[0]
    assert f"{len(find_leaks([later.samples.table], before=[earlier.originals()]))} leaks" in text


def request() -> Request:
    return Request(Console(io.StringIO()), ["cvlab", "train"])


WORDS = (
    "data.expand=[identity, flip, rot90, rot180, rot270]",
    "data.sampling=undersample",
    "task={name: classification, loss: {name: focal, gamma: 1.5}, class_weights: null}",
    "data.classes=[happy, sad]",
    "stages.0.epochs=2",
    "train.save_every_minutes=1e-6",
)


def thin_out(config: Path) -> None:
    """Makes one class rare."""
    for path in sorted((config.parent / "data" / "train" / "sad").glob("*"))[::3]:
        path.unlink()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunFolder]:
    """A finished run with expansion, sampling and focal loss."""
    folder = tmp_path_factory.mktemp("expanded")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CVLAB_CACHE_DIR", str(folder / "cache"))
        config = write_toy(folder, identities=12)
        thin_out(config)
        return config, train(config, WORDS, request(), sample=False, parent=folder / "runs")


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.tensorflow
def test_a_run_predicts_what_it_was_trained_on_and_says_what_it_drew(whole: tuple[Path, RunFolder]) -> None:
    run = whole[1]
    samples = rows(run.samples)
    for split in ("train", "val", "test"):
        expected = [row["sample_id"] for row in samples if row["split"] == split]
        assert [row["sample_id"] for row in rows(run.predictions(split))] == expected
    assert {row["variant"] for row in samples if row["split"] != "train"} == {""}
    training = [row for row in samples if row["split"] == "train"]
    assert len(training) == 5 * sum(row["variant"] == "" for row in training)
    draws = read_json(run.data)["stages"][0]["draws"]
    fewest = min(cells["samples"] for cells in draws.values())
    assert {cells["drawn"] for cells in draws.values()} == {fewest}
    assert fewest < max(cells["samples"] for cells in draws.values())
    report = run.report.read_text()
    assert f"| {fewest} | 1.000 | 50.0% |" in report
    assert "Sampling: undersample. Class weights: none. Loss: focal (gamma 1.5)." in report
    assert f"An epoch draws {2 * fewest} times from {len(training)} training samples" in run.log.read_text()


@pytest.mark.tensorflow
def test_a_run_that_is_stopped_within_an_epoch_goes_on_as_if_nothing_had_happened(
    whole: tuple[Path, RunFolder], tmp_path: Path
) -> None:
    config, run = whole
    watcher = threading.Thread(target=interrupt_when_saved, args=(tmp_path,))
    watcher.start()
    with pytest.raises(Interrupted):
        train(config, WORDS, request(), sample=False, parent=tmp_path)
    watcher.join()
    (stopped,) = (tmp_path / "toy").iterdir()
    assert read_json(stopped / "status.json")["step"] > 0
    assert differences(run.path, resume(RunFolder(stopped), [], request()).path) == []


def interrupt_when_saved(parent: Path) -> None:
    """Sends Ctrl-C to this process as soon as a training has saved its state in the middle of an epoch."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        saved = [path for path in parent.glob("toy/*/status.json") if read_json(path).get("step")]
        if saved:
            os.kill(os.getpid(), signal.SIGINT)
            return
        time.sleep(0.001)


@pytest.mark.tensorflow
def test_another_expansion_is_another_run(whole: tuple[Path, RunFolder]) -> None:
    with pytest.raises(RunFolderError, match=r"data\.expand"):
        resume(whole[1], ["data.expand=[identity, flip]"], request())
    with pytest.raises(RunFolderError, match=r"data\.sampling"):
        resume(whole[1], ["data.sampling=oversample"], request())


@pytest.mark.tensorflow
def test_evaluating_again_gives_the_same_predictions(whole: tuple[Path, RunFolder]) -> None:
    run = whole[1]
    before = {split: run.predictions(split).read_bytes() for split in ("train", "test")}
    evaluate(run, request(), split=None, folder=None)
    assert {split: run.predictions(split).read_bytes() for split in before} == before
