"""A whole segmentation: trained, killed and resumed, evaluated at a threshold of validation, reported."""

from __future__ import annotations

import csv
import io
import json
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from cvlab.config import EvaluateConfig
from cvlab.config_file import load_experiment
from cvlab.console import Console
from cvlab.data.decoded import DecodedSamples
from cvlab.data.samples import read_samples
from cvlab.data.source import Labels
from cvlab.data.synthetic import brain
from cvlab.errors import ConfigError, DataError, RunFolderError
from cvlab.evaluation_pictures import PictureBook
from cvlab.experiment import evaluate, train
from cvlab.metrics.segmentation import MaskMonitor, read_predictions
from cvlab.report import write_report
from cvlab.run_folder import RunFolder, read_json, write_json
from cvlab.tasks.segmentation import Config, build, mask_path, read_mask, write_mask
from tests.faults.kill_and_resume import differences, run_through, run_with_kills
from tests.test_experiment import request

CONFIG = """
name: toy
seed: 7
task: {name: segmentation, loss: {name: dice_bce}}
data: {name: lgg_mri, root: ROOT, image_size: [32, 32], split: {train: 0.6, val: 0.2, test: 0.2}}
augment:
  - {name: RandomRotate90, p: 0.5}
  - {name: RandomBrightnessContrast, p: 0.5}
model: {name: unet, filters: [4, 6, 8, 8, 8], batchnorm: true, dropout: 0.1}
train: {batch_size: 6, precision: float32, save_every_minutes: 0.02}
stages:
  - {name: first, epochs: 2, learning_rate: 1e-2}
  - {name: second, epochs: 2, learning_rate: 1e-3, trainable: head}
evaluate: {threshold: dice, dropout_injection: {layers: head, samples: 3, rate: 0.1}}
"""


def write_config(folder: Path) -> Path:
    brain.write(folder / "kaggle_3m", identities=12, images_per_identity=6, image_size=32)
    config = folder / "toy.yaml"
    config.write_text(CONFIG.replace("ROOT", str(folder / "kaggle_3m")))
    return config


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, str]:
    """A finished run, and what it said. Tests that change it work on a copy."""
    folder, said = tmp_path_factory.mktemp("masks"), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CVLAB_CACHE_DIR", str(folder / "cache"))
        return train(write_config(folder), [], request(said), sample=False, parent=folder / "runs"), said.getvalue()


@pytest.fixture
def run(finished: tuple[RunFolder, str], tmp_path: Path) -> RunFolder:
    return RunFolder(Path(shutil.copytree(finished[0].path, tmp_path / "copy")))


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.tensorflow
def test_counts_and_saved_masks_say_the_same(finished: tuple[RunFolder, str]) -> None:
    from PIL import Image

    run = finished[0]
    table = read_samples(run.samples)
    path_of = dict(zip(table.sample_id, table.mask, strict=True))
    for split in ("train", "val", "test"):
        rows = rows_of(run.predictions(split))
        assert rows
        for row in rows:
            predicted = read_mask(mask_path(run.predictions(split).with_suffix(""), row["sample_id"]))
            truth = np.asarray(Image.open(path_of[row["sample_id"]]).convert("L")) > 0
            found = [truth & predicted, ~truth & predicted, truth & ~predicted, ~truth & ~predicted]
            assert [int(row[name]) for name in ("tp", "fp", "fn", "tn")] == [int(part.sum()) for part in found]


@pytest.mark.tensorflow
def test_what_is_watched_equals_what_is_computed_from_the_predictions(finished: tuple[RunFolder, str]) -> None:
    run = finished[0]
    history = [json.loads(line) for line in run.history.read_text().splitlines()]
    best = [epoch for epoch in history if epoch["stage"] == "second" and epoch["best"]][-1]
    after = read_predictions(run.predictions("val", moment="second-after"))
    pooled = after.counts.pooled()
    assert best["val_dice"] == pytest.approx(float(pooled.dice()[0]), abs=1e-12)
    assert best["val_iou"] == pytest.approx(float(pooled.iou()[0]), abs=1e-12)
    right = int(after.counts.tp.sum() + after.counts.tn.sum())
    assert best["val_accuracy"] == pytest.approx(right / (len(after.counts) * 32 * 32), abs=1e-12)
    assert {"dice", "iou", "accuracy", "loss", "val_loss"} <= best.keys()


@pytest.mark.tensorflow
def test_the_threshold_comes_from_validation_alone(run: RunFolder) -> None:
    point = read_json(run.operating_point)
    p = read_predictions(run.predictions("val"))
    dice = {}
    for index in range(19):
        tp, fp = p.grid_tp[:, index].sum(), p.grid_fp[:, index].sum()
        fn = (p.counts.tp + p.counts.fn).sum() - tp
        dice[round(0.05 * (index + 1), 2)] = 2 * tp / (2 * tp + fp + fn)
    assert dice[round(point["threshold"], 2)] == pytest.approx(max(dice.values()), abs=1e-12)
    for split in ("test", "train"):
        for file in run.predictions(split).parent.glob(f"{split}*"):
            shutil.rmtree(file) if file.is_dir() else file.unlink()
    at_threshold(run, "dice", injected=False)
    evaluate(run, request(), split="test", folder=None)
    assert read_json(run.operating_point)["threshold"] == point["threshold"]


def at_threshold(run: RunFolder, threshold: str, *, injected: bool = True) -> None:
    """Changes the threshold in the configuration of a finished run, and leaves dropout injection out if wanted."""
    config = yaml.safe_load(run.config.read_text())
    config["evaluate"]["threshold"] = yaml.safe_load(threshold)
    if not injected:
        config["evaluate"]["dropout_injection"] = None
    run.config.write_text(yaml.safe_dump(config, sort_keys=False))


def tables_of(run: RunFolder) -> dict[str, bytes]:
    folder = run.predictions("test").parent
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.csv")}


@pytest.mark.tensorflow
def test_a_part_is_not_counted_at_another_threshold_than_the_rest(run: RunFolder, tmp_path: Path) -> None:
    before = tables_of(run), run.operating_point.read_bytes()
    at_threshold(run, "0.35")
    for part in (
        {"split": "test", "folder": None},
        {"split": "val", "folder": None},
        {"split": None, "folder": tmp_path},
    ):
        with pytest.raises(RunFolderError) as caught:
            evaluate(run, request(), **part)
        assert str(caught.value) == (
            f"{run.config}: evaluate.threshold is 0.35, but the predictions of this run are counted at that of dice. "
            f"Count all of them anew first: cvlab evaluate {run.path}"
        )
    assert (tables_of(run), run.operating_point.read_bytes()) == before


@pytest.mark.tensorflow
def test_without_predictions_of_validation_a_split_is_counted_at_what_validation_chooses(
    run: RunFolder, finished: tuple[RunFolder, str]
) -> None:
    at_threshold(run, "dice", injected=False)
    for split in ("val", "test"):
        run.predictions(split).unlink()
        shutil.rmtree(run.predictions(split).with_suffix(""))
    run.operating_point.unlink()
    evaluate(run, request(), split="test", folder=None)
    chosen = read_json(finished[0].operating_point)
    assert chosen["threshold"] != 0.5
    assert read_json(run.operating_point) == {key: chosen[key] for key in chosen if key != "dropout_injection"}
    assert tables_of(run) == tables_of(finished[0])


@pytest.mark.tensorflow
def test_a_new_threshold_counts_everything_anew_and_drops_other_data(run: RunFolder) -> None:
    """Other data can be anywhere: what was counted at the old threshold must not stand beside the rest."""
    other, said = run.predictions("data-other-0a1b2c"), io.StringIO()
    shutil.copy(run.predictions("test"), other)
    write_json(other.with_suffix(".json"), {"data": "/far/away", "notes": []})
    shutil.copytree(run.predictions("test").with_suffix(""), other.with_suffix(""))
    at_threshold(run, "0.333", injected=False)
    evaluate(run, request(said), split=None, folder=None)
    assert f"cvlab evaluate {run.path} --data /far/away" in " ".join(said.getvalue().split())
    assert [path.name for path in other.parent.iterdir() if "other" in path.name] == []
    metrics = read_json(run.metrics)
    assert {name for name in metrics if "/" not in name} == {"train", "train-augmented", "val", "test"}
    for split in ("val", "test"):
        p = read_predictions(run.predictions(split))
        assert metrics[split]["predicted_pixels"]["value"] == p.counts.predicted.sum()
        # Between the counts at the thresholds around it.
        assert (p.grid_tp[:, 6] <= p.counts.tp).all()
        assert (p.counts.tp <= p.grid_tp[:, 5]).all()
    write_report(run)


@pytest.mark.tensorflow
def test_the_run_holds_pictures_uncertainty_and_a_report(finished: tuple[RunFolder, str]) -> None:
    run, said = finished
    pictures = {path.name for path in run.pictures.iterdir()}
    assert {"augmented.png", "predictions.png", "worst.png", "uncertain_masks.png"} <= pictures
    assert "dice_nonempty" in said
    text = write_report(run).read_text()
    for part in ("Dice, mean over images with tumour", "Mask threshold", "Uncertainty by dropout injection"):
        assert part in text, part
    assert read_json(run.operating_point)["dropout_injection"]["rate"] == 0.1
    assert {path.name for path in run.uncertainty("test").parent.glob("*.csv")} == {"val.csv", "test.csv"}


@pytest.mark.tensorflow
def test_other_data_are_judged_at_the_stored_threshold(run: RunFolder, tmp_path: Path) -> None:
    brain.write(tmp_path / "other", identities=3, images_per_identity=4, image_size=32, seed=5, domain=1)
    evaluate(run, request(), split=None, folder=tmp_path / "other")
    (table,) = run.predictions("test").parent.glob("data-other-*.csv")
    assert len(rows_of(table)) == 12
    assert f"{table.stem}" in read_json(run.metrics)


@pytest.mark.tensorflow
@pytest.mark.slow
def test_killed_and_resumed_it_is_the_same_bit_for_bit(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    whole = run_through(config, tmp_path)
    killed = run_with_kills(config, tmp_path, kills=2, seed=3, number=signal.SIGKILL)
    assert differences(whole, killed) == []
    assert "This run did not end by itself: its process was killed, or crashed" in (tmp_path / "output.txt").read_text()


def test_a_task_needs_masks_and_a_threshold_that_fits() -> None:
    with pytest.raises(ConfigError, match="needs masks"):
        build(Config(), Labels(class_names=("a", "b")))
    task = build(Config(), Labels.of_masks("tumour"))
    assert task.outputs == ("segmentation", "tumour")
    assert task.misfit(Labels.of_masks("tumour")) == ""
    assert "expected masks of tumour; found lesion" in task.misfit(Labels.of_masks("lesion"))
    empty: Any = read_empty()
    with pytest.raises(ConfigError, match="expected a number or 'dice'"):
        task.check_evaluation(EvaluateConfig(threshold="youden"), empty)
    with pytest.raises(ConfigError, match="leave it out"):
        task.check_evaluation(EvaluateConfig(positive_class="tumour"), empty)
    with pytest.raises(DataError, match="no mask shows anything"):
        task.check_evaluation(EvaluateConfig(threshold="dice"), empty)


def read_empty() -> Any:
    from cvlab.data.samples import new_table, text_column

    table = new_table(["a"], [Path("/x/a.png")], ["a"], {"class": ["no tumour"]})
    return table.with_columns(split=text_column(["val"]))


def test_augmented_pictures_are_of_masks_that_show_something_whatever_it_is_called(tmp_path: Path) -> None:
    from cvlab.data.samples import new_table

    names = [f"a/{number}" for number in range(30)]
    shown = ["no flow" if number % 10 == 0 else "no no flow" for number in range(30)]
    table = new_table(names, [Path("/") / name for name in names], names, {"class": shown})
    none = np.zeros((1, 4, 4, 3), np.uint8)
    task = build(Config(), Labels.of_masks("no flow"))
    (tmp_path / "toy.yaml").write_text(CONFIG.replace("ROOT", str(tmp_path)))
    book = PictureBook(RunFolder(tmp_path), load_experiment(tmp_path / "toy.yaml"), task, False, Console(io.StringIO()))
    chosen = book._with_structure(DecodedSamples(table, none, np.zeros(30, np.int64)))
    assert {table.targets["class"][row] for row in chosen} == {"no flow"}
    assert len(chosen) == 3


def test_masks_are_written_and_read_back_under_names_that_stay_apart(tmp_path: Path) -> None:
    mask = np.random.default_rng(0).random((9, 7)) > 0.5
    names = ["a/b.png", "a_b.png", "a/b c.png", "a/b_c.png", "x" * 400, "x" * 401, "../../etc/passwd", "ä/ß\n.png"]
    names += ["面/" * 60 + "1.png", "面/" * 60 + "2.png", "面" * 149]
    paths = [mask_path(tmp_path, name) for name in names]
    assert len({*paths[2:]}) == len(paths) - 2
    for path in paths:
        assert path.parent == tmp_path
        write_mask(path, mask)
        np.testing.assert_array_equal(read_mask(path), mask)


def test_monitoring_batch_by_batch_is_monitoring_at_once() -> None:
    rng = np.random.default_rng(0)
    p, t = rng.random((10, 8, 8, 1), dtype=np.float32), (rng.random((10, 8, 8, 1)) > 0.7).astype(np.uint8)
    whole, parts = MaskMonitor({"name": "dice"}), MaskMonitor({"name": "dice"})
    whole.add(p, t)
    for start in range(0, 10, 3):
        parts.add(p[start : start + 3], t[start : start + 3])
    for key, value in whole.values().items():
        assert parts.values()[key] == pytest.approx(value, abs=1e-12)
