"""Classes, then numbers: a stage of another task keeps the backbone and gets a head of its own."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cvlab.config_file import differences as differences_of
from cvlab.config_file import experiment_yaml, load_experiment
from cvlab.errors import ConfigError, DataError, RunFolderError
from cvlab.experiment import evaluate, resume, train
from cvlab.report import write_report
from cvlab.run_folder import RunFolder, read_json
from tests.faults.kill_and_resume import differences
from tests.test_experiment import request

pytestmark = pytest.mark.tensorflow

CONFIG = """
name: switch
seed: 7
task: {name: classification}
data:
  name: csv_table
  table: FOLDER/shapes.csv
  image_size: [32, 32]
  columns: {image: file, label: kind, numbers: [x, y], box: [left, top, width, height]}
  split: {train: 0.6, val: 0.2, test: 0.2}
augment: [{name: HorizontalFlip, p: 0.5}]
model: {name: vggnet, width: 0.25, dense_units: [16], dropout: 0.1, batchnorm_momentum: 0.5}
train: {batch_size: 8, precision: float32}
stages:
  - {name: classes, epochs: 2, learning_rate: 5e-3}
  - {name: numbers, epochs: 2, learning_rate: 1e-3, task: {name: regression, loss: {name: huber}}}
"""


def write_shapes(folder: Path, *, images: int = 60) -> Path:
    """Draws bright squares, wide or high, somewhere in a picture; their place and kind stand in a table."""
    rng = np.random.default_rng(1)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "shapes.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file", "kind", "x", "y", "left", "top", "width", "height"])
        for number in range(images):
            pixels = rng.integers(0, 60, (48, 56, 3), dtype=np.uint8)
            x, y = rng.uniform(-1, 1, 2)
            height, width = ((6, 12), (12, 6))[number % 2]
            top, left = int(20 + 12 * y), int(24 + 12 * x)
            pixels[top : top + height, left : left + width] = 230
            Image.fromarray(pixels).save(folder / f"{number:03d}.png")
            table.writerow([f"{number:03d}.png", ("wide", "high")[number % 2], x, y, 2, 1, 52, 46])
    path = folder / "switch.yaml"
    path.write_text(CONFIG.replace("FOLDER", str(folder)))
    return path


@pytest.fixture(scope="module")
def switched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunFolder]:
    folder = tmp_path_factory.mktemp("switch")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CVLAB_CACHE_DIR", str(folder / "cache"))
        config = write_shapes(folder / "data")
        return config, train(config, [], request(), sample=False, parent=folder / "runs")


def layers(path: Path) -> dict[str, list[np.ndarray]]:
    import keras

    model = keras.saving.load_model(path)
    return {layer.name: layer.get_weights() for layer in model.layers}


def test_the_backbone_goes_on_and_the_head_is_new(switched: tuple[Path, RunFolder], tmp_path: Path) -> None:
    config, run = switched
    classes = layers(run.stage_best("classes"))
    # One step so small that it moves no weight: what the second stage then holds is what it began with.
    frozen = train(
        config, ["stages.1.epochs=1", "stages.1.learning_rate=1e-30"], request(), sample=False, parent=tmp_path
    )
    begun = layers(frozen.stage_best("numbers"))
    moving = [1.0 if "moving" in name else 0.0 for name in weight_names(frozen.stage_best("numbers"))]
    assert 0 < sum(moving) < len(moving)
    for a, b, is_statistic in zip(classes["backbone"], begun["backbone"], moving, strict=True):
        if not is_statistic:
            np.testing.assert_array_equal(a, b)
    assert [w.shape for w in classes["output"]] == [(16, 2), (2,)]
    assert [w.shape for w in begun["output"]] == [(16, 2), (2,)]
    assert not np.array_equal(classes["output"][0], begun["output"][0])
    dense = [name for name in classes if name.startswith("dense")]
    assert dense
    assert not set(dense) & set(begun)


def weight_names(path: Path) -> list[str]:
    import keras

    return [weight.path for weight in keras.saving.load_model(path).get_layer("backbone").weights]


def test_each_stage_is_judged_by_its_own_task(switched: tuple[Path, RunFolder]) -> None:
    run = switched[1]
    folder = run.predictions("test").parent
    found = {path.relative_to(folder).as_posix(): path.read_text().splitlines()[0] for path in folder.rglob("*.csv")}
    numbers = "sample_id,group,target:x,target:y,predicted:x,predicted:y"
    classes = "sample_id,group,target,predicted,score:high,score:wide"
    assert found.pop("classes-before/val.csv") == found.pop("classes-before/test.csv") == classes
    assert found.pop("classes-after/val.csv") == found.pop("classes-after/test.csv") == classes
    assert set(found) == {f"{split}.csv" for split in ("train", "train-augmented", "val", "test")} | {
        "numbers-after/val.csv",
        "numbers-after/test.csv",
    }
    assert set(found.values()) == {numbers}
    metrics = read_json(run.metrics)
    assert "accuracy" in metrics["classes-after/test"]
    assert set(metrics["test"]["per_target"]) == {"x", "y"}


def test_history_and_report_speak_of_both(switched: tuple[Path, RunFolder]) -> None:
    run = switched[1]
    history = [*map(json.loads, run.history.read_text().splitlines())]
    assert [("val_accuracy" in epoch, "val_ccc" in epoch) for epoch in history] == [(True, False)] * 2 + [
        (False, True)
    ] * 2
    report = run.report.read_text()
    assert "## Stage classes: classification" in report
    assert "task of stage numbers | regression (x, y)" in report
    assert (run.plots / "classes_curve_accuracy.png").is_file()
    stages = read_json(run.data)["stages"]
    assert [stage["outputs"] for stage in stages] == [
        ["classification", "softmax", "high", "wide"],
        ["regression", "x", "y"],
    ]


@pytest.mark.parametrize(("stage", "epochs"), [("classes", 1), ("numbers", 1)])
def test_resuming_before_and_after_the_switch_is_exact(
    switched: tuple[Path, RunFolder], tmp_path: Path, stage: str, epochs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, whole = switched
    monkeypatch.setattr("cvlab.training.StageTrainer.save", _dies_after(stage, epochs))
    with pytest.raises(KeyboardInterrupt):
        train(config, [], request(), sample=False, parent=tmp_path)
    monkeypatch.undo()
    (path,) = (tmp_path / "switch").iterdir()
    resumed = resume(RunFolder(path), [], request())
    assert differences(whole.path, resumed.path) == []


def _dies_after(stage: str, epoch: int):  # type: ignore[no-untyped-def]
    from cvlab.training import StageTrainer

    save = StageTrainer.save

    def saving(self: StageTrainer, **settings: float) -> None:
        save(self, **settings)
        if self.stage.name == stage and self.state.epoch == epoch:
            raise KeyboardInterrupt

    return saving


def test_init_from_takes_the_backbone_of_a_run_of_another_task(
    switched: tuple[Path, RunFolder], tmp_path: Path
) -> None:
    config, _ = switched
    first = train(
        config, ["stages=[{name: classes, epochs: 1, learning_rate: 1e-3}]"], request(), sample=False, parent=tmp_path
    )
    words = [
        "task={name: regression}",
        "stages=[{name: numbers, epochs: 1, learning_rate: 1e-3}]",
        f"model.init_from={first.path}",
    ]
    second = train(config, words, request(), sample=False, parent=tmp_path)
    np.testing.assert_equal(layers(second.initial)["backbone"], layers(first.best)["backbone"])
    assert "the head is new" in second.log.read_text()


def test_a_csv_table_is_evaluated_on_another(switched: tuple[Path, RunFolder], tmp_path: Path) -> None:
    run = RunFolder(Path(shutil.copytree(switched[1].path, tmp_path / "copy")))
    write_shapes(tmp_path / "other", images=8)
    with pytest.raises(DataError, match="identical file"):
        evaluate(run, request(), split=None, folder=tmp_path / "other/shapes.csv")
    other = np.random.default_rng(5)
    for path in (tmp_path / "other").glob("*.png"):
        Image.fromarray(other.integers(0, 255, (48, 56, 3), dtype=np.uint8)).save(path)
    evaluate(run, request(), split=None, folder=tmp_path / "other/shapes.csv")
    (name,) = (name for name in read_json(run.metrics) if name.startswith("data-shapes"))
    assert read_json(run.metrics)[name]["samples"] == 8


def test_the_resolved_configuration_loads_to_the_same(switched: tuple[Path, RunFolder], tmp_path: Path) -> None:
    experiment = load_experiment(switched[0])
    (tmp_path / "again.yaml").write_text(experiment_yaml(experiment))
    assert load_experiment(tmp_path / "again.yaml") == experiment


def test_what_a_task_does_not_compute_is_no_monitor(switched: tuple[Path, RunFolder]) -> None:
    with pytest.raises(ConfigError) as caught:
        load_experiment(switched[0], ["train.monitor=val_accuracy"])
    (problem,) = caught.value.problems
    assert "stages.1.monitor: expected 'val_loss', 'val_rmse' or 'val_ccc', received 'val_accuracy'" in problem
    load_experiment(switched[0], ["stages.0.monitor=val_accuracy", "stages.1.monitor=val_ccc"])


def test_a_stage_may_read_another_source(switched: tuple[Path, RunFolder], tmp_path: Path) -> None:
    words = [f"stages.0.data={{name: image_folder, root: {tmp_path}/faces, image_size: [32, 32]}}"]
    experiment = load_experiment(switched[0], words)
    assert [stage.data.name for stage in experiment.stages] == ["image_folder", "csv_table"]
    (tmp_path / "again.yaml").write_text(experiment_yaml(experiment))
    again = load_experiment(tmp_path / "again.yaml")
    assert differences_of(experiment.model_dump(mode="json"), again.model_dump(mode="json")) == []
    with pytest.raises(ConfigError, match=r"stages\.0\.data\.rot: unknown key; did you mean 'root'"):
        load_experiment(switched[0], [words[0].replace("root", "rot")])


def test_the_order_of_a_stage_s_own_classes_is_kept(switched: tuple[Path, RunFolder], tmp_path: Path) -> None:
    words = ["data.classes=[high, wide]", "stages.0.data={classes: [wide, high]}"]
    experiment = load_experiment(switched[0], words)
    (tmp_path / "again.yaml").write_text(experiment_yaml(experiment))
    again = load_experiment(tmp_path / "again.yaml")
    assert [*again.stages[0].data.model_dump()["classes"]] == ["wide", "high"]
    assert differences_of(experiment.model_dump(mode="json"), again.model_dump(mode="json")) == []


def test_weights_of_another_task_are_never_evaluated(switched: tuple[Path, RunFolder], tmp_path: Path) -> None:
    run = RunFolder(Path(shutil.copytree(switched[1].path, tmp_path / "copy")))
    run.best.unlink()
    run.stage_best("numbers").unlink()
    (run.path / "status.json").write_text('{"status": "running", "reason": ""}')
    with pytest.raises(RunFolderError, match="no epoch of stage 'numbers' is over"):
        evaluate(run, request(), split=None, folder=None)


def test_what_other_data_leave_out_is_said(switched: tuple[Path, RunFolder], tmp_path: Path) -> None:
    run = RunFolder(Path(shutil.copytree(switched[1].path, tmp_path / "copy")))
    config = run.config.read_text().replace("missing: []", "missing: [-2.0]").replace("error", "skip")
    run.config.write_text(config)
    write_shapes(tmp_path / "other", images=6)
    other = np.random.default_rng(6)
    for path in (tmp_path / "other").glob("*.png"):
        Image.fromarray(other.integers(0, 255, (48, 56, 3), dtype=np.uint8)).save(path)
    table = tmp_path / "other/shapes.csv"
    lines = table.read_text().splitlines()
    lines[1:4] = ["000.png,wide,-2,0.5,2,1,52,46", "001.png,high,x,0.5,2,1,52,46", "002.png,wide,0,0.5,2,1,99,46"]
    table.write_text("\n".join(lines) + "\n")
    output = io.StringIO()
    evaluate(run, request(output), split=None, folder=table)
    said = " ".join(output.getvalue().split())
    for part in ("1 row left out, since they have no number", "1 bad row left out", "reaches outside", "(3 images)"):
        assert part in said
    report = write_report(run).read_text()
    assert "data-shapes" in report
    assert "since they have no number" in report


def test_wrong_targets_are_answered_before_an_image_is_opened(switched: tuple[Path, RunFolder], tmp_path: Path) -> None:
    words = ["stages.1.task.targets=[z]", f"data.cache_dir={tmp_path}/new"]
    with pytest.raises(ConfigError, match=r"stages\.1\.task\.targets: expected numbers out of x, y, received 'z'"):
        train(switched[0], words, request(), sample=False, parent=tmp_path)
    assert not any(tmp_path.iterdir())


def test_stages_of_one_task_must_predict_the_same(switched: tuple[Path, RunFolder], tmp_path: Path) -> None:
    words = ["task={name: classification}", "stages.1={name: more, epochs: 1, learning_rate: 1e-3}"]
    words += ["stages.1.data={classes: {high: high, wide: flat}}"]
    with pytest.raises(DataError, match="stage 'more' would predict softmax, high, flat, but stage 'classes' softmax"):
        train(switched[0], words, request(), sample=False, parent=tmp_path)


def test_a_misfit_of_init_from_leaves_no_run_folder(switched: tuple[Path, RunFolder], tmp_path: Path) -> None:
    words = [f"model.init_from={switched[1].path}", "model.width=0.5"]
    with pytest.raises(ConfigError, match="does not fit this model"):
        train(switched[0], words, request(), sample=False, parent=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_a_table_without_training_rows_is_refused(switched: tuple[Path, RunFolder], tmp_path: Path) -> None:
    config = write_shapes(tmp_path / "data", images=6)
    table = tmp_path / "data/shapes.csv"
    header, *rows = table.read_text().splitlines()
    table.write_text("\n".join([f"{header},part", *(f"{row},test" for row in rows)]) + "\n")
    words = ["data.columns.split=part", "data.split={val: 0.1}"]
    with pytest.raises(DataError, match="expected training samples"):
        train(config, words, request(), sample=False, parent=tmp_path)
