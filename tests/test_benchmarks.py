"""Every benchmark runs, at toy size, and its arithmetic is right."""

from __future__ import annotations

import csv
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from benchmarks import cache_building, end_to_end, images, intervals, measure, memory, training_step
from PIL import Image

from cvlab.data.lgg_mri import Config, load

ROOT = Path(__file__).parent.parent


def output_of(*words: str) -> str:
    command = [sys.executable, "-m", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def rows_of(output: str) -> list[list[str]]:
    """The cells of all tables, without heads and rules."""
    lines = [line.strip("| ").split(" | ") for line in output.splitlines() if line.startswith("|")]
    rules = {number for number, line in enumerate(lines) if set("".join(line)) <= set("-: |")}
    return [line for number, line in enumerate(lines) if number not in rules and number + 1 not in rules]


@pytest.mark.slow
@pytest.mark.tensorflow
@pytest.mark.parametrize(
    ("words", "rows"),
    [
        (("benchmarks.input_pipeline", "--repeats", "1"), 2),
        (("benchmarks.cache_building", "--repeats", "1"), 3 + 5 + 4),
        (("benchmarks.memory",), 2 + 2 + 1),
        (("benchmarks.training_step", "--repeats", "1", "--batch-size", "8", "--tables", "loop", "step"), 1 + 1),
        (("benchmarks.end_to_end", "--epochs", "1"), 4),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else None,
)
def test_a_benchmark_runs_and_fills_its_tables(words: tuple[str, ...], rows: int) -> None:
    found = rows_of(output_of(*words, "--smoke"))
    assert len(found) == rows
    for row in found:
        numbers = [float(cell.replace(",", "")) for cell in re.findall(r"[\d.,]*\d", " ".join(row[1:]))]
        assert numbers, row
        assert all(np.isfinite(numbers)), row


@pytest.mark.slow
def test_the_benchmark_of_intervals_runs() -> None:
    found = rows_of(output_of("benchmarks.intervals", "--smoke", "--resamples", "200"))
    assert [row[0] for row in found] == [*intervals.CASES]
    assert all(int(row[1]) > 5 for row in found)


@pytest.mark.slow
def test_the_benchmark_of_calibration_runs() -> None:
    found = rows_of(output_of("benchmarks.calibration", "--smoke"))
    assert [row[:3] for row in found] == [["100", "2", "1"], ["100", "2", "1.3"]]
    assert float(found[1][3]) == pytest.approx(0.04, abs=0.002)


@pytest.mark.slow
def test_the_benchmark_of_coverage_runs() -> None:
    (accuracy, auc, dice) = rows_of(output_of("benchmarks.coverage", "--smoke", "--groups", "20"))
    assert [row[1:3] for row in (accuracy, auc, dice)] == [
        ["accuracy", "BCa bootstrap"],
        ["ROC AUC", "BCa bootstrap"],
        ["mean Dice", "BCa bootstrap"],
    ]


@pytest.mark.tensorflow
@pytest.mark.slow
def test_the_gpu_benchmark_ends_well_without_a_gpu() -> None:
    output = output_of("benchmarks.gpu", "--smoke")
    assert "no GPU here" in output or "| vggnet" in output


@pytest.mark.tensorflow
@pytest.mark.slow
def test_all_configurations_are_run_and_a_failure_is_told(tmp_path: Path) -> None:
    small = "model: {width: 0.25}\ndata: {image_size: [32, 32]}\n"
    (tmp_path / "good.yaml").write_text(f"extends: {ROOT}/configs/vgg_emotion.yaml\nname: good\n{small}")
    (tmp_path / "bad.yaml").write_text("name: bad\n")
    output = output_of("benchmarks.all_configs", "--smoke", "--configs", str(tmp_path / "good.yaml"))
    assert re.search(r"\| good \| \d+ \| .*accuracy 0\.\d+", output)
    command = [sys.executable, "-m", "benchmarks.all_configs", "--configs", str(tmp_path / "bad.yaml")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert "**failed** (2)" in done.stdout


def test_slices_are_multiplied_with_their_masks(tmp_path: Path) -> None:
    drawn = memory.draw(tmp_path / "drawn", 2, 32)
    grown = memory.grow(drawn, tmp_path / "kaggle_3m", 50)
    source = load(Config(root=grown))
    assert len(source.table) == 50
    assert sorted(np.unique(source.table.group, return_counts=True)[1]) == [10, 20, 20]
    contents = [Path(path).read_bytes() for column in (source.table.path, source.table.mask) for path in column]
    assert len({*contents[:50]}) == 50
    for content, path in zip(contents, source.table.path, strict=False):
        number = int(Path(path).parent.name[1:])
        assert content[-8:] == number.to_bytes(8, "big")


def test_ratios_are_those_of_the_same_turn() -> None:
    comparison = measure.Comparison([100, 200, 100], [300, 400, 500])
    assert comparison.ratios == [3, 2, 5]
    assert comparison.cells() == ["100", "400", "**3.00**", "2.00 .. 5.00"]
    assert comparison.turned().cells() == ["400", "100", "**0.33**", "0.20 .. 0.50"]
    both = measure.Comparison([100], [300], measure.Comparison([50], [100]))
    assert both.cells() == ["100", "300", "**3.00**", "3.00 .. 3.00", "2.00"]
    assert both.turned().cells()[-1] == "0.50"


def test_tables_are_markdown() -> None:
    assert measure.table(("a", "b"), [["x", "1"]]) == "| a | b |\n| --- | ---: |\n| x | 1 |"


def test_a_failing_side_shows_its_error() -> None:
    with pytest.raises(SystemExit, match="no_such_module"):
        measure.once("benchmarks.no_such_module", {})


def test_end_to_end_compares_training_and_the_whole_command() -> None:
    cvlab = end_to_end.Trained(training=10, whole=15, accuracies=[0.2, 0.6, 0.5])
    notebook = end_to_end.Trained(training=30, whole=30, accuracies=[0.1, 0.3, 0.4])
    rows = rows_of(end_to_end.report([(cvlab, notebook)]))
    assert rows[0] == ["until the network is trained", "30 s", "10 s", "**3.00**", "3.00 .. 3.00"]
    assert rows[1][1:4] == ["30 s", "15 s", "**2.00**"]
    assert [row[1:3] for row in rows[2:]] == [["0.400", "0.500"], ["0.400", "0.600"]]


def test_the_notebook_reads_the_split_of_the_run(tmp_path: Path) -> None:
    columns = ["sample_id", "split", "path", "target:class"]
    samples = [("r/a/1.png", "train", "a"), ("r/a/2.png", "val", "a"), ("r/b/3.png", "train", "b")]
    run = tmp_path / "run"
    run.mkdir()
    with (run / "samples.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [columns, *([name, split, tmp_path / name, target] for name, split, target in samples)]
        )
    links = end_to_end.link_split(run, tmp_path / "split")
    found = {str(link.relative_to(links).parent): link.readlink().name for link in links.glob("*/*/*")}
    assert found == {"train/a": "1.png", "val/a": "2.png", "train/b": "3.png"}


def test_copies_for_the_memory_test_differ_and_show_the_same(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    Image.new("RGB", (20, 20), "teal").save(tmp_path / "one" / "a.jpg")
    files = images.files_of(cache_building.grow(tmp_path, tmp_path / "many", 5))
    assert len({path.read_bytes() for path in files}) == 5
    assert len({Image.open(path).tobytes() for path in files}) == 1


def test_memory_is_that_of_this_process() -> None:
    found: dict[str, float] = {}
    with cache_building.peak_memory(found):
        block = np.ones(50_000_000, np.uint8)
    assert 45 < found["anonymous"] < 70
    del block


@pytest.mark.tensorflow
def test_the_notebook_trains_the_same_network() -> None:
    from benchmarks.notebook import vggnet

    assert vggnet(8, 128).count_params() == 3_753_016


def step_settings(**changes: Any) -> dict[str, Any]:
    arguments = SimpleNamespace(networks=["vggnet"], precision="float32", batch_size=2, smoke=True)
    return training_step.base_settings(arguments) | changes


@pytest.mark.tensorflow
def test_variants_of_the_step_are_what_they_say() -> None:
    def replaced(settings: dict[str, Any]) -> set[str]:
        backbone = training_step.network(settings).get_layer("backbone")
        return {type(layer).__name__ for layer in backbone.layers if "call" in vars(layer)}

    assert replaced(step_settings()) == {"BatchNormalization", "GaussianDropout"}
    assert replaced(step_settings(keras=["BatchNormalization"])) == {"GaussianDropout"}
    assert replaced(step_settings(keras=["GaussianDropout"])) == {"BatchNormalization"}
    assert replaced(step_settings(model_settings={"batchnorm": False, "width": 0.25})) == {"GaussianDropout"}


@pytest.mark.tensorflow
def test_pooling_before_relu_gives_the_same_numbers() -> None:
    x = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    usual, swapped = (training_step.network(step_settings(relu_after_pooling=swap)) for swap in (False, True))
    swapped.set_weights(usual.get_weights())
    np.testing.assert_allclose(usual.predict(x, verbose=0), swapped.predict(x, verbose=0), rtol=1e-5)


@pytest.mark.tensorflow
@pytest.mark.parametrize("kind", ["quantile table", "inverse error function", "single precision"])
def test_noise_that_was_tried_is_normal(kind: str) -> None:
    import keras
    import tensorflow as tf
    from benchmarks.tried import NOISE
    from scipy import stats

    keras.utils.set_random_seed(1)
    layer = keras.layers.GaussianDropout(0.2)
    noise = np.asarray(NOISE[kind](layer, tf.ones((20, 16, 16, 8)), training=True)).ravel()
    assert stats.kstest(noise, "norm", args=(1, 0.5)).pvalue > 1e-3
