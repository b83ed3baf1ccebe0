"""`extends`, overrides on the command line, and what stages take from the top of the configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cvlab.config import Experiment
from cvlab.config_file import load_experiment
from cvlab.config_merge import read_with_bases
from cvlab.errors import ConfigError
from tests.config_fixture import VALID, changed, problems_of


def write(folder: Path, **texts: str) -> Path:
    for name, text in texts.items():
        (folder / f"{name}.yaml").write_text(text)
    return folder / "main.yaml"


def problems(main: Path, *words: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_experiment(main, words)
    return [line.replace(f"{main.parent}/", "") for line in caught.value.problems]


def loaded(tmp_path: Path, *words: str) -> Experiment:
    path = tmp_path / "c.yaml"
    path.write_text(VALID)
    return load_experiment(path, words)


def test_a_file_changes_single_settings_of_its_base(tmp_path: Path) -> None:
    main = write(
        tmp_path,
        base=VALID,
        main="extends: base.yaml\nname: other\ntrain: {early_stopping: null, optimizer: {beta_1: 0.8}}\n",
    )
    experiment = load_experiment(main)
    assert (experiment.name, experiment.seed, experiment.train.batch_size) == ("other", 1, 40)
    assert experiment.train.early_stopping is None
    assert experiment.stages[0].optimizer.model_dump()["beta_1"] == 0.8
    assert experiment.stages[0].early_stopping is None


def test_lists_are_replaced_whole(tmp_path: Path) -> None:
    stages = "stages: [{name: one, epochs: 3, learning_rate: 1}]\naugment: [{name: HorizontalFlip}]\n"
    experiment = load_experiment(write(tmp_path, base=VALID, main=f"extends: base.yaml\n{stages}"))
    assert [stage.name for stage in experiment.stages] == ["one"]
    assert experiment.augment == [{"name": "HorizontalFlip"}]


def test_another_component_takes_nothing_from_the_one_before(tmp_path: Path) -> None:
    main = write(tmp_path, base=VALID, main="extends: base.yaml\nmodel: {name: mobilenet}\n")
    assert load_experiment(main).model.model_dump()["dropout"] == 0.3


def test_later_bases_win_and_a_common_base_is_no_circle(tmp_path: Path) -> None:
    main = write(
        tmp_path,
        base=VALID,
        a="extends: base.yaml\nseed: 3\ntrain: {batch_size: 8}\n",
        b="seed: 4\n",
        main="extends: [a.yaml, b.yaml]\n",
    )
    experiment = load_experiment(main)
    assert (experiment.seed, experiment.train.batch_size) == (4, 8)


def test_bases_are_found_beside_the_file_that_names_them(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    write(tmp_path / "base", common=VALID, emotion="extends: common.yaml\nseed: 9\n")
    assert load_experiment(write(tmp_path, main="extends: base/emotion.yaml\n")).seed == 9


def test_problems_name_the_file_they_stand_in(tmp_path: Path) -> None:
    main = write(
        tmp_path,
        base=changed(("beta_1", "beta1"), ("epochs: 24", "epochs: true"), ("rotate:", "rotat:")) + "seed: 2\n",
        main="extends: base.yaml\n\ntrain: {batch_size: 0}\n",
    )
    found = [": ".join(line.split(": ")[:2]) for line in problems(main)]
    assert sorted(found) == [
        "base.yaml:10: augment.0.rotat",
        "base.yaml:15: train.optimizer.beta1",
        "base.yaml:21: stages.0.epochs",
        "base.yaml:29: seed",
        "main.yaml:3: train.batch_size",
    ]


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ({"main": "extends: bse.yaml"},
         ["main.yaml:1: extends: expected a YAML file, received 'bse.yaml', which is no file; "
          "did you mean 'base.yaml'?"]),
        ({"main": "seed: 1\nextends: [x1, base.yaml, x2]\nseed: 2"},
         ["main.yaml:2: extends: expected a YAML file, received 'x1', which is no file.",
          "main.yaml:2: extends: expected a YAML file, received 'x2', which is no file.",
          "main.yaml:3: seed: duplicate key, already given in line 1; keep one of the two."]),
        ({"main": "extends: main.yaml"}, ["main.yaml:1: extends: expected files that do not extend each other in a "
         "circle, received main.yaml -> main.yaml."]),
        ({"main": "extends: a.yaml", "a": "\nextends: b.yaml", "b": "extends: a.yaml"},
         ["b.yaml:1: extends: expected files that do not extend each other in a circle, received "
          "a.yaml -> b.yaml -> a.yaml."]),
        ({"main": "extends: 5"}, ["main.yaml:1: extends: expected a file name or a list of them, received 5."]),
        ({"main": "extends:"}, ["main.yaml:1: extends: expected a file name or a list of them, received null."]),
        ({"main": "extends: []"}, ["main.yaml:1: extends: expected a file name or a list of them, received []."]),
        ({"main": "extends: [a, 5]"},
         ["main.yaml:1: extends: expected a file name or a list of them, received ['a', 5]."]),
        ({"main": "extends: {a: b}"},
         ["main.yaml:1: extends: expected a file name or a list of them, received {a: 'b'}."]),
        ({"main": "extends: a.yaml", "a": "b: [\n"}, ["a.yaml:2: expected a value, received the end of the text."]),
        ({"main": "extends: a.yaml", "a": ""},
         ["a.yaml: the file is empty; expected keys such as `name:`, `data:` and `model:`."]),
        ({"main": "extends: base.yaml\ntrain: null"},
         ["main.yaml:2: train: expected a mapping (`key: value` lines), received null."]),
    ],
)  # fmt: skip
def test_extends_is_refused(tmp_path: Path, texts: dict[str, str], expected: list[str]) -> None:
    assert problems(write(tmp_path, base=VALID, **texts)) == expected


@pytest.mark.parametrize(
    ("word", "path", "value"),
    [
        ("seed=7", "seed", 7),
        ("stages.0.epochs=8", "stages.0.epochs", 8),
        ("stages.1.learning_rate=1e-5", "stages.1.learning_rate", 1e-5),
        ("augment=[]", "stages.0.augment", []),
        ("augment.0.rotate=[-5, 5]", "stages.0.augment.0.rotate", [-5, 5]),
        ("train.early_stopping=null", "stages.1.early_stopping", None),
        ("train.early_stopping=", "stages.1.early_stopping", None),
        ("train.optimizer={name: sgd, momentum: 0.5}", "stages.0.optimizer.momentum", 0.5),
        ("train.optimizer.beta_2=0.99", "stages.0.optimizer.beta_2", 0.99),
        ("stages.1.optimizer.nesterov=true", "stages.1.optimizer.nesterov", True),
        ("stages.0.early_stopping.patience=3", "stages.0.early_stopping.patience", 3),
        ("stages.0.data.root=other", "stages.0.data.root", [f"{Path.cwd()}/other"]),
        ("data.image_size.0=96", "data.image_size.0", 96),
        ("model={name: alexnet}", "model.name", "alexnet"),
        ("model.name=alexnet", "model.dropout", 0.5),
        ("task.class_weights={a: 1, '2': 0.5}", "task.class_weights", {"a": 1, "2": 0.5}),
        ("data.split.group_pattern='(.+)_[0-9]=x'", "data.split.group_pattern", "(.+)_[0-9]=x"),
    ],
)
def test_overrides(tmp_path: Path, word: str, path: str, value: object) -> None:
    found: Any = loaded(tmp_path, word).model_dump(mode="json")
    for part in path.split("."):
        found = found[int(part) if isinstance(found, list) else part]
    assert found == value
    assert type(found) is type(value)


def test_the_last_override_wins_and_can_build_on_the_one_before(tmp_path: Path) -> None:
    words = ["stages=[{name: a, epochs: 1, learning_rate: 1}]", "stages.0.epochs=2", "stages.0.epochs=3"]
    (stage,) = loaded(tmp_path, *words).stages
    assert (stage.name, stage.epochs) == ("a", 3)


@pytest.mark.parametrize(
    ("word", "problem"),
    [
        ("epochs", "expected key=value (for example stages.0.epochs=8), received 'epochs'."),
        ("", "expected key=value (for example stages.0.epochs=8), received ''."),
        ("=3", "expected key=value (for example stages.0.epochs=8), received '=3'."),
        ("data..root=x", "expected a dotted key (for example stages.0.epochs), received 'data..root'."),
        ("se\ned=x", "expected a dotted key (for example stages.0.epochs), received 'se\\ned'."),
        ("se\udcffd=1", "expected a dotted key (for example stages.0.epochs), received 'se\\udcffd'."),
        ("trian.batch_size=3", "trian: unknown key; did you mean 'train'?"),
        ("stages.0.epoch=3", "stages.0.epoch: unknown key; did you mean 'epochs'?"),
        ("stages.0.epochs=true", "stages.0.epochs: expected a whole number, received true."),
        ("stages.2.epochs=3", "stages.2: expected an index from 0 to 1, received '2'."),
        ("stages.-1.epochs=3", "stages.-1: expected an index from 0 to 1, received '-1'."),
        ("stages.first.epochs=3", "stages.first: expected an index from 0 to 1, received 'first'."),
        ("stages.².epochs=3", "stages.²: expected an index from 0 to 1, received '²'."),
        ("data.image_size.2=3", "data.image_size.2: expected an index from 0 to 1, received '2'."),
        ("stages.1.augment.0={name: HorizontalFlip}",
         "stages.1.augment.0: expected a key that is set, received an index of 'stages.1.augment', which is empty."),
        ("name.x=3", "name.x: expected a mapping at 'name', received 'demo'."),
        ("name=", "name: expected text, received null."),
        ("stages=[]", "stages: expected at least 1 value, received []."),
        ("data.image_size.0=16",
         "data.image_size: expected at least 32 pixels a side for this model, received [16, 64]."),
        ("data.root=a: b: c", "data.root: expected one `key: value` a line, received a second ':'; check the "
         "indentation, or put text that holds ':' in quotes."),
        ("data.root=[a", "data.root: expected ',' or ']', received the end of the text."),
        ("train={batch_size: 3, batch_size: 4}",
         "train.batch_size: duplicate key, already given before; keep one of the two."),
        ("extends=a.yaml", "extends: expected in a YAML file only, received on the command line."),
        ("train.device=\udcff", "train.device: expected printable text, received the character '\\udcff'."),
    ],
)  # fmt: skip
def test_overrides_are_refused(tmp_path: Path, word: str, problem: str) -> None:
    assert problems_of(tmp_path / "c.yaml", VALID, word) == [f"command line: {problem}"]


def test_a_replaced_value_is_placed_on_the_command_line_and_nothing_else(tmp_path: Path) -> None:
    text = changed(("    epochs: 12\n", ""))
    words = ["stages.0={name: a, epochs: x}", "stages.1.trainable=head"]
    assert problems_of(tmp_path / "c.yaml", text, *words) == [
        "c.yaml:22: stages.1.epochs: is missing; add `epochs: ...`.",
        "command line: stages.0.epochs: expected a whole number, received 'x'.",
        "command line: stages.0.learning_rate: is missing; add `learning_rate: ...`.",
    ]


def test_a_stage_may_set_its_own_data_augmentation_optimizer_and_freezing(tmp_path: Path) -> None:
    own = (
        "{train: 0.5, val: 0.5, test: 0.0}}\n    batch_size: 7\n    schedule: {name: constant}\n"
        "    reduce_lr: null\n    trainable: {last_layers: 3}\n    batchnorm_mode: inference"
    )
    path = tmp_path / "c.yaml"
    path.write_text(changed(("{root: data/b}", f"{{root: data/b, split: {own}")))
    first, second = load_experiment(path).stages
    assert (second.batch_size, second.schedule.name, second.reduce_lr) == (7, "constant", None)
    assert (second.trainable, second.batchnorm_mode) == ({"last_layers": 3}, "inference")
    assert (second.data.split.train, first.data.split.train) == (0.5, 0.8)
    assert (first.batch_size, first.trainable, first.batchnorm_mode) == (40, "all", "train")


def test_mappings_whose_keys_are_data_are_replaced_whole(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(
        "data: {classes: {0: a, 1: b}, table: {train: x, test: y}, split: {val: 0.1}}\n"
    )
    (tmp_path / "c.yaml").write_text("extends: base.yaml\ndata: {classes: {1: b, 2: c}, table: {train: z}, root: r}\n")
    data = read_with_bases(tmp_path / "c.yaml").value["data"]
    assert data == {"classes": {"1": "b", "2": "c"}, "table": {"train": "z"}, "split": {"val": 0.1}, "root": "r"}
