"""YAML from anybody: plain values within limits, or one line that says no. Nothing in it is ever run."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cvlab.yaml_file import MAX_BYTES
from tests.cli_fixture import cvlab, refusal
from tests.config_fixture import VALID

# Left out of `scripts/test fast`.
pytestmark = pytest.mark.slow

LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGED = "a: &a {x: 1}\n" + "".join(
    f"{name}: &{name} {{<<: [{', '.join([f'*{before}'] * 9)}], {name}: 1}}\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
REFUSED = {
    "billion laughs": (LAUGHS, "expected at most 20,000 values, 50 levels deep, received more."),
    "an alias that holds itself": ("a: &a [*a]\n", "received an alias that contains itself."),
    "too large": ("#" * (MAX_BYTES + 1), "expected a configuration of at most 250,000 bytes, received more."),
    "too deep": ("a: " + "[" * 300 + "]" * 300, "levels"),
    "too many values": ("a: [" + "1," * 30_000 + "]", "expected at most 20,000 values, 50 levels deep, received more."),
    "an object of Python": ("!!python/object:os.system {}\n", "received the tag '!!python/object:os.system'."),
    "a list": ("- !!python/name:os.system\n", "expected a mapping (`key: value` lines), received a list."),
    "two documents": ("a: 1\n---\nb: 2\n", "expected"),
    "bytes": ("\x00\x01", "expected printable text"),
}
RUN_ME = ("object/apply:os.system", "object/new:os.system", "object:os.system", "name:os.system", "module:os")


def write(folder: Path, text: str) -> Path:
    path = folder / "c.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("kind", REFUSED)
def test_refused_in_one_line_and_at_once(kind: str, tmp_path: Path) -> None:
    text, reason = REFUSED[kind]
    start = time.process_time()
    line = refusal("train", write(tmp_path, text))
    assert reason in line
    assert line.startswith(f"{tmp_path}/c.yaml")
    assert time.process_time() - start < 5


@pytest.mark.parametrize("tag", RUN_ME)
def test_tags_of_python_are_never_followed(tag: str, tmp_path: Path) -> None:
    done = tmp_path / "done"
    value = f'!!python/{tag} ["touch {done}"]' if tag.startswith("object") else f"!!python/{tag} x"
    line = refusal("train", write(tmp_path, VALID.replace("seed: 1", f"seed: {value}")))
    assert line.endswith(f"c.yaml:2: seed: expected a plain value, received the tag '!!python/{tag}'.")
    assert not done.exists()


def test_merge_keys_are_no_way_around(tmp_path: Path) -> None:
    outcome = cvlab("train", write(tmp_path, MERGED))
    assert outcome.code == 2
    assert "c.yaml:2: b: unknown key" in outcome.err or "expected at most 20,000 values" in outcome.err


def test_overrides_are_read_by_the_same_rules(tmp_path: Path) -> None:
    path = write(tmp_path, VALID)
    assert "received the tag '!!python/name:os.system'" in refusal("train", path, "seed=!!python/name:os.system x")
    assert "more" in refusal("train", path, f"seed={'[' * 200}{']' * 200}")


@pytest.mark.parametrize("words", [["train"], ["data", "audit"]])
def test_what_is_no_ordinary_file_is_refused_without_waiting(words: list[str], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    for path in (tmp_path / "pipe.yaml", tmp_path, Path("/dev/zero")):
        assert str(path) in refusal(*words, path)
    extending = write(tmp_path, "extends: pipe.yaml\n")
    assert "which is no file" in refusal(*words, extending)


def test_files_that_extend_each_other_in_a_net_are_read_a_hundred_times_at_most(tmp_path: Path) -> None:
    for number in range(12):
        extends = f"extends: [n{number + 1}.yaml, m{number + 1}.yaml]" if number < 11 else "seed: 1"
        for letter in "nm":
            (tmp_path / f"{letter}{number}.yaml").write_text(f"{extends}\n")
    outcome = cvlab("train", tmp_path / "n0.yaml")
    assert outcome.code == 2
    assert "expected at most 100 files to be read" in outcome.err
    assert len(outcome.err.splitlines()) < 24


def test_the_real_command_shows_no_traceback(tmp_path: Path) -> None:
    path = write(tmp_path, "seed: !!python/object/apply:os.system ['true']\n")
    done = subprocess.run(
        [sys.executable, "-m", "cvlab", "train", str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "received the tag '!!python/object/apply:os.system'" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
