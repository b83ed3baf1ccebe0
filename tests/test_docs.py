"""What the documents say is true: commands parse, keys exist, files are there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml

from cvlab.cli import app
from cvlab.config import Experiment, StageConfig
from cvlab.config_file import load_experiment
from cvlab.config_training import TrainConfig

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "data" / "README.md"]
TEXTS = {path: path.read_text(encoding="utf-8") for path in DOCUMENTS}


def commands() -> list[str]:
    found = []
    for text in TEXTS.values():
        found += re.findall(r"`(cvlab [^`]+)`", text)
        lines = [line.strip() for line in text.splitlines() if re.match(r"( {4}|\$ )cvlab ", line)]
        found += [re.split(r"  #| > ", line)[0] for line in lines]
    return sorted(set(found))


@pytest.mark.parametrize("line", commands())
def test_every_command_in_the_documents_parses(line: str) -> None:
    import typer.main

    words = shlex.split(line.replace("\\\n", " "))[1:]
    command = typer.main.get_command(app)
    context = command.make_context("cvlab", [], resilient_parsing=True)
    while hasattr(command, "resolve_command") and words:
        _, command, words = command.resolve_command(context, words)
    command.make_context("cvlab", words)


def test_commands_were_found() -> None:
    assert len(commands()) > 8


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_between_documents_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\[[^\]`]+\]\(([\w./-]+)\)", TEXTS[path]):
        assert (path.parent / target).exists(), target


def test_every_key_of_the_configuration_is_documented() -> None:
    text = TEXTS[ROOT / "docs" / "configuration.md"]
    for model in (Experiment, StageConfig, TrainConfig):
        for name in model.model_fields:
            assert f"`{name}`" in text, name


def test_every_module_stands_in_the_architecture() -> None:
    text = TEXTS[ROOT / "docs" / "architecture.md"]
    for path in (ROOT / "src" / "cvlab").glob("*.py"):
        family = path.stem.split("_")[0] + "*"
        assert path.stem == "__init__" or f"`{path.stem}`" in text or f"`{family}`" in text, path.stem


def test_the_readme_example_is_a_valid_experiment(tmp_path: Path) -> None:
    text = TEXTS[ROOT / "README.md"]
    lines = text[text.index("    # my_experiment.yaml") :].split("\n\n")[0].splitlines()
    example = "\n".join(line[4:] for line in lines).replace("configs/", f"{ROOT}/configs/")
    path = tmp_path / "my_experiment.yaml"
    path.write_text(example)
    assert load_experiment(path).name == "my_experiment"


def test_the_two_scripts_and_ci_are_executable() -> None:
    for name in ("scripts/demo", "scripts/test", "scripts/setup", ".ci/run"):
        assert (ROOT / name).stat().st_mode & 0o111, name


def test_nothing_that_must_not_be_committed_is_tracked() -> None:
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert {"/runs/", "/data/*", "*.keras", "*.weights.h5"} <= set(ignored)
    assert yaml.safe_load((ROOT / "configs" / "base" / "emotion.yaml").read_text())["data"]["sample"] == "emotion"
