"""A whole experiment on drawn faces: train, tune, evaluate, report, resume, refuse."""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import sklearn.metrics as sk

from cvlab.console import Console
from cvlab.errors import ConfigError, CvlabError, DataError, RunFolderError, counted
from cvlab.experiment import Request, evaluate, resume, train
from cvlab.run_folder import RunFolder, read_json
from tests.experiment_fixture import write_toy
from tests.faults.kill_and_resume import arrays, differences, training_state

pytestmark = pytest.mark.tensorflow


def request(output: io.StringIO | None = None) -> Request:
    return Request(Console(output or io.StringIO()), ["cvlab", "train"])


def run_toy(config: Path, *overrides: str, parent: Path) -> RunFolder:
    return train(config, overrides, request(), sample=False, parent=parent)


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunFolder]:
    """A finished run of two stages. Tests that change it work on a copy."""
    folder = tmp_path_factory.mktemp("toy")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CVLAB_CACHE_DIR", str(folder / "cache"))
        config = write_toy(folder, tune=True)
        return config, run_toy(config, parent=folder / "runs")


def copied(run: RunFolder, folder: Path) -> RunFolder:
    return RunFolder(Path(shutil.copytree(run.path, folder / "copy")))


def test_a_run_folder_is_complete(toy: tuple[Path, RunFolder]) -> None:
    run = toy[1]
    for path in (run.config, run.environment, run.samples, run.data, run.history, run.model, run.metrics, run.log):
        assert path.is_file(), path
    for path in (run.last, run.best, run.stage_best("train"), run.stage_best("tune"), run.report, run.report_page):
        assert path.is_file(), path
    for moment in ("train-before", "train-after", "tune-before", "tune-after"):
        assert run.predictions("test", moment=moment).is_file()
    pictures = {"augmented.png", "predictions.png", "confident_right.png", "confident_wrong.png", "heat_maps.json"}
    assert {path.name for path in run.pictures.iterdir()} == pictures
    assert not run.operating_point.exists()
    status = read_json(run.status)
    assert status["status"] == "done"
    assert status["synthetic"] is True
    assert "SYNTHETIC" in run.report.read_text().splitlines()[0]
    assert "SYNTHETIC" in run.log.read_text()


def test_metrics_equal_scikit_learn_on_the_predictions(toy: tuple[Path, RunFolder]) -> None:
    run = toy[1]
    with run.predictions("test").open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = read_json(run.data)["stages"][0]["class_names"]
    truth = [row["target"] for row in rows]
    predicted = [row["predicted"] for row in rows]
    scores = np.array([[float(row[f"score:{name}"]) for name in names] for row in rows])
    assert predicted == [names[i] for i in scores.argmax(axis=1)]
    found = read_json(run.metrics)["test"]
    expected = {
        "accuracy": sk.accuracy_score(truth, predicted),
        "balanced_accuracy": sk.balanced_accuracy_score(truth, predicted),
        "macro_f1": sk.f1_score(truth, predicted, average="macro", labels=names, zero_division=0),
        "weighted_precision": sk.precision_score(truth, predicted, average="weighted", zero_division=0),
        "macro_roc_auc": sk.roc_auc_score(truth, scores, multi_class="ovr", average="macro", labels=names),
        "cohen_kappa": sk.cohen_kappa_score(truth, predicted),
        "mcc": sk.matthews_corrcoef(truth, predicted),
        "top_3_accuracy": sk.top_k_accuracy_score(truth, scores, k=3, labels=names),
        "loss": float(np.mean([-np.log(row[names.index(name)]) for row, name in zip(scores, truth, strict=True)])),
    }
    assert len(set(predicted)) > 1
    for name, value in expected.items():
        assert found[name]["value"] == pytest.approx(value, abs=1e-9), name
    assert found["confusion_matrix"] == sk.confusion_matrix(truth, predicted, labels=names).tolist()


def test_intervals_are_those_of_held_out_tables(toy: tuple[Path, RunFolder]) -> None:
    run = toy[1]
    metrics = read_json(run.metrics)
    with_intervals = {name for name, found in metrics.items() if "intervals" in found}
    assert with_intervals == {"val", "test"} | {
        f"{s}-after/{split}" for s in ("train", "tune") for split in ("val", "test")
    }
    with run.predictions("test").open(newline="") as file:
        groups = {row["group"] for row in csv.DictReader(file)}
    assert metrics["test"]["intervals"]["units"] == len(groups)
    assert f"test: {counted(len(groups), 'group')}." in run.report.read_text()


def test_what_was_watched_equals_what_is_evaluated(toy: tuple[Path, RunFolder]) -> None:
    run = toy[1]
    history = [json.loads(line) for line in run.history.read_text().splitlines()]
    best = [record for record in history if record["stage"] == "tune" and record["best"]][-1]
    val = read_json(run.metrics)["val"]
    for name in ("loss", "accuracy", "balanced_accuracy"):
        assert best[f"val_{name}"] == pytest.approx(val[name]["value"], abs=1e-6)


def test_a_later_stage_starts_from_the_best_weights_of_the_one_before(toy: tuple[Path, RunFolder]) -> None:
    run = toy[1]
    after, before = (run.predictions("test", moment=m) for m in ("train-after", "tune-before"))
    assert after.read_text() != before.read_text()
    from cvlab import checkpoint

    model = checkpoint.load_model(run.stage_best("train"))
    tuned = checkpoint.load_model(run.stage_best("tune"))
    assert [w.shape for w in model.weights] == [w.shape for w in tuned.weights]
    assert not np.array_equal(np.asarray(model.weights[0]), np.asarray(tuned.weights[0]))


def test_evaluating_twice_gives_identical_files(toy: tuple[Path, RunFolder], tmp_path: Path) -> None:
    run = copied(toy[1], tmp_path)
    names = [
        path.relative_to(run.path) for folder in ("predictions", "samples") for path in (run.path / folder).rglob("*.*")
    ]
    names += [Path("metrics.json")]
    evaluate(run, request(), split=None, folder=None)
    for name in names:
        assert (run.path / name).read_bytes() == (toy[1].path / name).read_bytes(), name


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not(
    toy: tuple[Path, RunFolder], tmp_path: Path
) -> None:
    config, run = toy
    assert differences(run.path, run_toy(config, parent=tmp_path).path) == []
    other = run_toy(config, "seed=8", parent=tmp_path)
    first, second = (next(iter(arrays(folder.last).values())) for folder in (run, other))
    assert not np.array_equal(first, second)


def test_the_resolved_configuration_repeats_the_run(toy: tuple[Path, RunFolder], tmp_path: Path) -> None:
    again = run_toy(toy[1].config, parent=tmp_path)
    assert again.config.read_text() == toy[1].config.read_text()
    assert differences(toy[1].path, again.path) == []


def test_a_finished_run_has_nothing_to_do(toy: tuple[Path, RunFolder]) -> None:
    before = {path: path.stat().st_mtime_ns for path in toy[1].path.rglob("*") if path != toy[1].lock}
    output = io.StringIO()
    data = toy[0].parent / "data"
    away = data.rename(data.with_name("away"))
    try:
        resume(toy[1], [], request(output))
    finally:
        away.rename(data)
    assert "Nothing to do" in output.getvalue()
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_more_epochs_of_the_last_stage_equal_a_longer_run(toy: tuple[Path, RunFolder], tmp_path: Path) -> None:
    config, run = toy
    longer = run_toy(config, "stages.1.epochs=3", parent=tmp_path)
    resumed = resume(copied(run, tmp_path), ["stages.1.epochs=3"], request())
    assert differences(longer.path, resumed.path) == []


@pytest.mark.parametrize(
    "override", ["stages.1.learning_rate=1e-3", "seed=3", "stages.1.epochs=0", "stages.0.epochs=9", "augment=[]"]
)
def test_resuming_with_another_configuration_is_refused(
    toy: tuple[Path, RunFolder], tmp_path: Path, override: str
) -> None:
    run = copied(toy[1], tmp_path)
    before = run.config.read_bytes()
    with pytest.raises((RunFolderError, ConfigError), match=override.split("=")[0].replace(".", r"\.")):
        resume(run, [override], request())
    assert run.config.read_bytes() == before


def test_resuming_with_other_data_is_refused_with_the_differences(tmp_path: Path) -> None:
    config = write_toy(tmp_path)
    run = run_toy(config, "stages.0.epochs=1", parent=tmp_path / "runs")
    image = next((tmp_path / "data" / "train" / "happy").glob("*.jpg"))
    image.rename(image.with_name("p0099_000.jpg"))
    with pytest.raises(RunFolderError, match=rf"{image.name}: is gone") as caught:
        resume(run, ["stages.0.epochs=2"], request())
    assert "p0099_000.jpg: is new" in str(caught.value)
    with pytest.raises(CvlabError, match=image.name):
        evaluate(run, request(), split=None, folder=None)


def test_a_checkpoint_that_is_cut_short_is_named(toy: tuple[Path, RunFolder], tmp_path: Path) -> None:
    run = copied(toy[1], tmp_path)
    for path in (run.last, run.best):
        path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(RunFolderError, match=r"last\.keras: is damaged"):
        resume(run, [], request())
    with pytest.raises(RunFolderError, match=r"best\.keras: is damaged"):
        evaluate(run, request(), split=None, folder=None)


def test_init_from_takes_the_backbone_and_the_gate_looks_back(toy: tuple[Path, RunFolder], tmp_path: Path) -> None:
    config, run = toy
    start = [
        "stages=[{name: s, epochs: 1, learning_rate: 1e-9, optimizer: {name: sgd}}]",
        f"model.init_from={run.path}",
    ]
    again = run_toy(config, *start, parent=tmp_path)
    theirs, ours = arrays(run.best), arrays(again.best)
    kernels = [key for key in ours if key.startswith("layers/functional") and key.endswith("vars/0")]
    assert kernels
    for key in kernels:
        if ours[key].ndim == 4:
            np.testing.assert_allclose(ours[key], theirs[key], atol=1e-6)
    two = ["data.classes=[happy, sad]", "data.split={train: 0.5, val: 0.3, test: 0.2}"]
    with pytest.raises(DataError, match="gate"):
        run_toy(config, *start, *two, parent=tmp_path)
    rebuilt = run_toy(config, *start, *two, "data.allow_leakage=true", parent=tmp_path)
    assert "the head is new" in rebuilt.log.read_text()
    assert "LEAKAGE" in rebuilt.report.read_text()
    assert 'style="color:red"' in rebuilt.report.read_text()


def test_another_folder_is_evaluated_and_gated(toy: tuple[Path, RunFolder], tmp_path: Path) -> None:
    run = copied(toy[1], tmp_path)
    from cvlab.data.synthetic import emotion

    emotion.write(tmp_path / "other", identities=8, images_per_identity=8, image_size=32, seed=5, domain=2)
    evaluate(run, request(), split=None, folder=tmp_path / "other")
    (name,) = [name for name in read_json(run.metrics) if name.startswith("data-other-")]
    assert read_json(run.metrics)[name]["samples"] == 64
    with pytest.raises(DataError, match=r"trained on.*\n  sample stands in train of stage 'train' and in test"):
        evaluate(run, request(), split=None, folder=toy[0].parent / "data" / "train")


def test_a_loss_that_is_no_number_stops_the_run_and_says_what_to_do(tmp_path: Path) -> None:
    config = write_toy(tmp_path)
    wild = ["model.batchnorm=false", "train.optimizer={name: sgd}", "stages.0.learning_rate=1e12"]
    with pytest.raises(
        CvlabError, match=r"no longer a number in stage 'train', epoch 1, step \d+, at learning rate 1e\+12"
    ):
        run_toy(config, *wild, parent=tmp_path / "runs")
    (status,) = (tmp_path / "runs").glob("toy/*/status.json")
    assert read_json(status)["status"] == "failed"
    assert "no longer a number" in read_json(status)["reason"]


def test_settings_reach_the_training(tmp_path: Path) -> None:
    config = write_toy(tmp_path)
    run = run_toy(
        config,
        "train.early_stopping={patience: 1, start_after_steps: 0}",
        "train.reduce_lr={patience: 1, factor: 0.5, start_after_steps: 0}",
        "train.optimizer={name: adamw, weight_decay: 0.01, clipnorm: 1.0}",
        "task.loss.label_smoothing=0.1",
        "train.monitor=val_accuracy",
        "stages.0.epochs=6",
        "stages.0.learning_rate=1e-9",
        "stages.0.trainable=head",
        "train.schedule={name: step, every: 1, factor: 0.5}",
        parent=tmp_path / "runs",
    )
    history = [json.loads(line) for line in run.history.read_text().splitlines()]
    assert len(history) < 6
    assert history[-1]["learning_rate"] < history[0]["learning_rate"]
    assert training_state(run.path)["ended"].startswith("val_accuracy has not improved")
    assert read_json(run.model)["stages"][0]["frozen"] > 0


def test_a_binary_experiment_with_a_sigmoid(tmp_path: Path) -> None:
    config = write_toy(tmp_path, identities=10)
    run = run_toy(
        config, "task.output=sigmoid", "data.classes=[happy, anger]", "stages.0.epochs=1", parent=tmp_path / "runs"
    )
    header = run.predictions("test").read_text().splitlines()[0]
    assert header.endswith("score:happy,score:anger")
    assert read_json(run.metrics)["test"]["macro_roc_auc"]["value"] is not None


def test_report_compare_list_and_help_import_no_tensorflow(toy: tuple[Path, RunFolder]) -> None:
    code = (
        "import sys; from cvlab.cli import app\n"
        "try: app({!r})\n"
        "except SystemExit: pass\n"
        "assert not any(name.split('.')[0] in ('tensorflow', 'keras') for name in sys.modules)"
    )
    for words in (["--help"], ["report", str(toy[1].path)], ["list"], ["train", "--help"]):
        done = subprocess.run([sys.executable, "-c", code.format(words)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_a_run_goes_on_with_its_own_backend_only(toy: tuple[Path, RunFolder], tmp_path: Path) -> None:
    run = copied(toy[1], tmp_path)
    environment = read_json(run.environment)
    run.environment.write_text(json.dumps({**environment, "backend": "jax"}))
    with pytest.raises(RunFolderError, match="was started with the jax backend"):
        resume(run, ["stages.1.epochs=2"], request())
