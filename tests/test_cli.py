"""The command line as a user meets it: one clear message, exit code 2, no traceback, nothing half-written."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cvlab.data.synthetic import emotion
from tests.experiment_fixture import CONFIG, write_toy


def cvlab(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cvlab", *words], cwd=cwd, capture_output=True, text=True, check=False, env=os.environ
    )


def refused(*words: str, cwd: Path) -> str:
    """Runs a command that must be refused, and returns its message."""
    done = cvlab(*words, cwd=cwd)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert not (cwd / "runs").exists()
    return done.stderr


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    """Class folders with 6 small images each."""
    rng = np.random.default_rng(0)
    for name in ("happy", "sad"):
        for number in range(6):
            path = tmp_path / "faces" / name / f"p{number}_{len(name)}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(path)
    (tmp_path / "toy.yaml").write_text(CONFIG.replace("DATA/train", str(tmp_path / "faces")))
    return tmp_path


# Every test starts the program anew.
pytestmark = pytest.mark.slow


def test_help_is_quick(tmp_path: Path) -> None:
    times = []
    for _ in range(5):
        started = time.perf_counter()
        assert cvlab("--help", cwd=tmp_path).returncode == 0
        times.append(time.perf_counter() - started)
    # 0.3 s is the promise on an idle machine; the fastest of several runs leaves out what else the machine does.
    assert min(times) < 0.6


def test_list_shows_every_component_with_a_line(tmp_path: Path) -> None:
    done = cvlab("list", cwd=tmp_path)
    assert done.returncode == 0
    for name in (
        "alexnet",
        "vggnet",
        "mobilenet",
        "image_folder",
        "classification",
        "emotion",
        "Affine",
        "HorizontalFlip",
    ):
        (line,) = [line for line in done.stdout.splitlines() if line.split()[:1] == [name]]
        assert len(line.split()) > 3, line
    assert "alexnet" in cvlab("list", "models", cwd=tmp_path).stdout
    assert "did you mean 'models'" in cvlab("list", "model", cwd=tmp_path).stderr


def test_a_typo_in_a_key(faces: Path) -> None:
    message = refused("train", "toy.yaml", "train.batchsize=3", cwd=faces)
    assert "command line: train.batchsize: unknown key; did you mean 'batch_size'?" in message


def test_a_missing_folder(faces: Path) -> None:
    assert "there is no such folder" in refused("train", "toy.yaml", "data.root=nowhere", cwd=faces)


def test_other_data_that_are_not_there_are_named_by_the_option(tmp_path: Path) -> None:
    message = refused("evaluate", "run", "--data", "nowhere", cwd=tmp_path)
    assert "--data: nowhere: there is no such folder or table" in message


def test_an_empty_class(faces: Path) -> None:
    (faces / "faces" / "angry").mkdir()
    assert "angry: expected images" in refused("train", "toy.yaml", cwd=faces)


def test_one_class_only(faces: Path) -> None:
    (faces / "one").mkdir()
    (faces / "faces" / "sad").rename(faces / "one" / "sad")
    assert "expected at least 2 class folders, found 1" in refused("train", "toy.yaml", "data.root=one", cwd=faces)


def test_a_split_too_small_for_a_class(faces: Path) -> None:
    for path in list((faces / "faces" / "sad").iterdir())[:4]:
        path.unlink()
    message = refused("train", "toy.yaml", cwd=faces)
    assert "'sad' has 2 groups" in message


@pytest.mark.parametrize("content", [b"this is text", b""])
def test_a_text_file_named_jpg(faces: Path, content: bytes) -> None:
    (faces / "faces" / "sad" / "p9_9.jpg").write_bytes(content)
    message = refused("train", "toy.yaml", cwd=faces)
    assert "p9_9.jpg" in message
    assert "data.on_unreadable=skip" in message


@pytest.mark.tensorflow
def test_a_truncated_jpeg_is_named_or_skipped_with_the_count(faces: Path) -> None:
    path = faces / "faces" / "sad" / "p9_9.jpg"
    Image.new("RGB", (64, 64), "red").save(path)
    path.write_bytes(path.read_bytes()[:-200])
    assert "p9_9.jpg" in refused("train", "toy.yaml", cwd=faces)
    done = cvlab("train", "toy.yaml", "data.on_unreadable=skip", "stages.0.epochs=1", cwd=faces)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "left out (data.on_unreadable: skip)" in done.stdout
    (report,) = (faces / "runs").glob("toy/*/report.md")
    assert "p9" in report.read_text()


def test_the_gate(faces: Path) -> None:
    for name in ("happy", "sad"):
        for split, numbers in (("train", (0, 1, 2)), ("val", (3,)), ("test", (4, 2))):
            for number in numbers:
                source = faces / "faces" / name / f"p{number}_{len(name)}.png"
                target = faces / "split" / split / name / source.name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(source.read_bytes())
    words = [f"data.root={faces / 'split'}", "data.split={group_pattern: '^(p\\d)'}"]
    message = refused("train", "toy.yaml", *words, cwd=faces)
    assert "The gate stops this run" in message
    assert "p2_5.png" in message
    assert "data.allow_leakage=true" in message


def test_what_is_no_run_folder(tmp_path: Path) -> None:
    for command in (["evaluate", "."], ["report", "."], ["train", "--resume", "."]):
        assert "is not a run folder" in refused(*command, cwd=tmp_path)
    for command in (["evaluate", "x"], ["report", "x"], ["train", "--resume", "x"]):
        assert "no such run folder" in refused(*command, cwd=tmp_path)


def test_words_that_are_no_settings(faces: Path) -> None:
    assert "expected a YAML file first" in refused("train", cwd=faces)
    assert "expected key=value" in refused("train", "toy.yaml", "epochs", cwd=faces)
    assert "--resume takes a run folder" in refused("train", "toy.yaml", "--resume", ".", cwd=faces)


def test_sample_data_are_drawn_in_full_and_never_over_something(tmp_path: Path) -> None:
    done = cvlab("data", "sample", "emotion", "drawn", "--image-size", "32", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for folder in emotion.FOLDERS:
        assert {path.name for path in (tmp_path / "drawn" / folder).iterdir() if path.is_dir()} == set(emotion.CLASSES)
    assert "drawn" in refused("data", "sample", "emotion", "drawn", cwd=tmp_path)
    assert "did you mean 'emotion'" in refused("data", "sample", "emotions", "x", cwd=tmp_path)


@pytest.mark.tensorflow
def test_a_device_that_is_not_there(tmp_path: Path) -> None:
    write_toy(tmp_path)
    assert "train.device: TensorFlow sees no GPU, received 'gpu:7'" in refused(
        "train", "toy.yaml", "train.device=gpu:7", cwd=tmp_path
    )
