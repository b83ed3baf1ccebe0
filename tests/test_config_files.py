"""The configurations that come with the project, what a resolved one writes, and the command line around them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from cvlab import registry
from cvlab.cli import app
from cvlab.config import Experiment
from cvlab.config_file import differences, experiment_yaml, load_experiment
from tests.config_fixture import VALID, changed
from tests.test_config import MODELS

CONFIGS = Path(__file__).parents[1] / "configs"
FILES = sorted(CONFIGS.glob("*.yaml"))
BASES = sorted(CONFIGS.glob("base/*.yaml"))


def reloaded(experiment: Experiment, folder: Path) -> Experiment:
    path = folder / "config.yaml"
    path.write_text(experiment_yaml(experiment), encoding="utf-8")
    return load_experiment(path)


def test_there_are_configurations() -> None:
    assert FILES
    assert BASES


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_configuration_is_valid_and_writes_what_loads_back_equal(path: Path, tmp_path: Path) -> None:
    experiment = load_experiment(path)
    assert experiment.name == path.stem
    again = reloaded(experiment, tmp_path)
    assert again == experiment
    assert experiment_yaml(again) == experiment_yaml(experiment)
    assert differences(experiment.model_dump(mode="json"), again.model_dump(mode="json")) == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_configuration_opens_with_its_own_command(path: Path) -> None:
    first, second = path.read_text(encoding="utf-8").splitlines()[:2]
    assert re.match(rf"# cvlab train configs/{path.name}(\s|$)", first)
    assert second.startswith("# ")


def test_every_base_is_used() -> None:
    used = {
        (path.parent / name).resolve()
        for path in FILES
        for names in [yaml.safe_load(path.read_text(encoding="utf-8")).get("extends", [])]
        for name in ([names] if isinstance(names, str) else names)
    }
    assert {path.resolve() for path in BASES} <= used


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["train.early_stopping=null", "stages.0.early_stopping={patience: 3}", "stages.1.reduce_lr=null"],
        ["stages.0.trainable={fraction: 0.25}", "stages.1.trainable={from_layer: '12'}", "seed=0"],
        ["train.optimizer={name: adamw, weight_decay: 1e-5}", "stages.0.optimizer.beta_1=0.1"],
        ["train.schedule={name: step, every: 3}", "stages.1.schedule={name: constant}", "stages.0.learning_rate=1e-17"],
        ["task.class_weights={'1e-3': 1, 'on': 0.1, 'null': 2e+30, 'é: ö': 3}", "data.classes=['1e-3', 'no', '12:30']"],
        ["data.split={group_pattern: '^(.+)_\\d+#[''\"]$'}", "stages.1.data.split.val=0.3"],
        ["data.root=[a, 'b: c', '~', '#d', 'é']", "stages.1.data.root='1'", "data.cache_dir='~/x'"],
        ["augment=[]", "stages.1.augment=[{name: Affine, rotate: [-5, 5], border_mode: replicate}]"],
        ["stages.0.batch_size=1", "stages.1.batch_size=40", "stages.1.optimizer={name: adam, beta_1: 0.9}"],
    ],
)
def test_resolved_settings_load_back_equal(words: list[str], tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(VALID, encoding="utf-8")
    experiment = load_experiment(path, words)
    assert reloaded(experiment, tmp_path) == experiment
    assert yaml.safe_load(experiment_yaml(experiment))["name"] == "demo"


def test_a_resolved_configuration_does_not_depend_on_the_folder_it_is_read_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(VALID, encoding="utf-8")
    experiment = load_experiment(path)
    monkeypatch.chdir(tmp_path)
    assert reloaded(experiment, tmp_path) == experiment


def test_stages_write_only_what_differs(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(VALID, encoding="utf-8")
    first, second = yaml.safe_load(experiment_yaml(load_experiment(path)))["stages"]
    assert set(first) == {"name", "epochs", "learning_rate", "trainable", "batchnorm_mode"}
    assert set(second) - set(first) == {"data", "augment", "optimizer"}


def test_differences_name_the_dotted_key(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(VALID, encoding="utf-8")
    old = load_experiment(path).model_dump(mode="json")
    new = load_experiment(path, ["stages.1.epochs=20", "model.dropout=0.1", "train.early_stopping=null"])
    found = differences(old, new.model_dump(mode="json"))
    assert ("stages.1.epochs", 12, 20) in found
    assert ("model.dropout", 0.5, 0.1) in found
    stopping = {"patience": 10, "min_delta": 0.0, "start_after_steps": None}
    assert ("train.early_stopping", stopping, None) in found
    assert len(found) == 5  # both stages inherit the last one


@pytest.mark.slow
def test_a_wrong_configuration_ends_in_one_message_before_tensorflow_starts(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(changed(("vggnet", "vgnet")), encoding="utf-8")
    program = (
        "import sys\nfrom cvlab.__main__ import main\ntry:\n    main()\nfinally:\n"
        "    print(sorted({'tensorflow', 'keras'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", program, "train", str(path), "stages.0.epochs=true"]
    environment = os.environ | {"PYTHONPATH": str(CONFIGS.parent / "src")}
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert result.returncode == 2
    assert result.stdout == "[]\n"
    assert result.stderr.splitlines() == [
        "cvlab: The configuration has 2 problems:",
        f"  {path}:12: model.name: expected {MODELS}, received 'vgnet'; did you mean 'vggnet'?",
        "  command line: stages.0.epochs: expected a whole number, received true.",
    ]


def test_list_shows_every_component_with_a_line_each() -> None:
    result = CliRunner().invoke(app, ["list"])
    assert result.exit_code == 0
    lines = [line.split(maxsplit=1) for line in result.stdout.splitlines() if line.startswith("  ")]
    assert all(len(line) == 2 for line in lines)
    shown = {name for name, _ in lines}
    named = {*registry.MODELS, *registry.SOURCES, *registry.TASKS, *registry.sample_sets()}
    augmentations = registry.load(registry.TOOLS, "augment").available()
    assert shown == named | set(augmentations)


@pytest.mark.parametrize(
    "words",
    [
        ["list", "modls"],
        ["train"],
        ["train", "seed=1"],
        ["data", "sample", "emotoin", "x"],
        ["evaluate", "x", "--split", "a"],
    ],
)
def test_wrong_arguments_exit_with_2(words: list[str]) -> None:
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2
    assert "expected" in result.output


def test_the_order_of_classes_is_a_difference() -> None:
    old, new = ({"data": {"classes": dict.fromkeys(order, "x")}} for order in (("0", "1"), ("1", "0")))
    assert [key for key, _, _ in differences(old, new)] == ["data.classes"]
    assert differences(old, old) == []
