"""The JSON Schema says of a configuration what loading it says: nothing that loads is marked, no typo passes."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator
from jsonschema.exceptions import ValidationError

from cvlab import registry
from cvlab.config_file import COMPONENTS, experiment_yaml, load_experiment
from cvlab.config_values import Precision
from cvlab.data.augment import available
from cvlab.data.augment_rules import written_problems
from cvlab.errors import ConfigError
from cvlab.problems import Key, dotted_key
from cvlab.schema import configuration_schema
from cvlab.yaml_file import read_document, to_yaml
from tests.config_fixture import VALID, changed

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "configs").rglob("*.yaml"))
SCHEMA = configuration_schema()
CHECK = Draft7Validator(SCHEMA)


def parsed(text: str, folder: Path) -> Any:
    path = folder / "c.yaml"
    path.write_text(text, encoding="utf-8")
    return read_document(path).value


def marks(value: Any) -> list[str]:
    """What an editor marks: the dotted key of each innermost problem, and what is said of it."""
    return [f"{dotted_key((*error.absolute_path,))}: {error.message}" for error in innermost(CHECK.iter_errors(value))]


def innermost(errors: Any) -> Iterator[ValidationError]:
    for error in errors:
        yield from innermost(error.context) if error.context else (error,)


def loads(value: Any, folder: Path) -> bool:
    path = folder / "c.yaml"
    path.write_text(to_yaml(value), encoding="utf-8")
    try:
        load_experiment(path)
    except ConfigError:
        return False
    return True


def test_the_schema_is_one_and_everything_it_refers_to_is_there() -> None:
    Draft7Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == "http://json-schema.org/draft-07/schema#"
    found = {node["$ref"] for node in nodes(SCHEMA) if "$ref" in node}
    assert found == {f"#/definitions/{name}" for name in SCHEMA["definitions"]}
    # These mean something else in draft-07, or nothing.
    assert not any({"prefixItems", "$defs", "discriminator"} & node.keys() for node in nodes(SCHEMA))
    assert not any("$ref" in node and len(node) > 1 for node in nodes(SCHEMA))


def nodes(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from nodes(item)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_configuration_of_the_project_is_valid(path: Path) -> None:
    assert marks(read_document(path).value) == []


@pytest.mark.parametrize("path", [path for path in FILES if path.parent.name == "configs"], ids=lambda path: path.stem)
def test_a_resolved_configuration_is_valid(path: Path, tmp_path: Path) -> None:
    assert marks(parsed(experiment_yaml(load_experiment(path)), tmp_path)) == []


TUNE = "stages.1"
TYPOS = [
    ("name: demo", "nme: demo", "", "nme"),
    ("seed: 1", "sed: 1", "", "sed"),
    ("seed: 1", "seed: one", "seed", "integer"),
    ("seed: 1", "seed: -1", "seed", "minimum"),
    ("output: softmax", "ouput: softmax", "task", "ouput"),
    ("class_weights: balanced", "class_weights: {happy: 0}", "task.class_weights.happy", "0"),
    ("name: cross_entropy", "name: cross_entropy, label_smothing: 0.1", "task.loss", "label_smothing"),
    ("image_size:", "image_sise:", "data", "image_sise"),
    ("[64, 64]", "[64, 64, 3]", "data.image_size", "too long"),
    ("[64, 64]", "[64, 0]", "data.image_size.1", "minimum"),
    ("val: 0.1", "valid: 0.1", "data.split", "valid"),
    ("train: 0.8", "train: 8", "data.split.train", "maximum"),
    ("root: data/a", "root: 3", "data.root", "3"),
    ("root: data/a", "rot: data/a", "data", "rot"),
    ("rotate:", "rotat:", "augment.0", "rotat"),
    ("name: Affine", "name: Afine", "augment.0.name", "Afine"),
    ("name: HorizontalFlip, ", "", "augment.1", "'name' is a required property"),
    ("p: 0.5", "p: 1.5", "augment.1.p", "maximum"),
    ("rotate: [-20, 20]", "border_mode: replicat", "augment.0.border_mode", "replicat"),
    ("dropout:", "dropuot:", "model", "dropuot"),
    ("dropout: 0.5", "dropout: 1.5", "model.dropout", "1.5"),
    ("vggnet, dropout", "mobilenet, noise", "model", "noise"),
    ("name: vggnet", "name: vgnet", "model.name", "vgnet"),
    ("batch_size: 40", "batchsize: 40", "train", "batchsize"),
    ("batch_size: 40", "batch_size: 2.5", "train.batch_size", "integer"),
    ("batch_size: 40", "precision: float64", "train.precision", "float64"),
    ("batch_size: 40", "device: cuda", "train.device", "cuda"),
    ("beta_1", "beta1", "train.optimizer", "beta1"),
    ("name: adam", "name: sgd", "train.optimizer", "beta_1"),
    ("name: adam", "name: adem", "train.optimizer.name", "adem"),
    ("final:", "finl:", "train.schedule", "finl"),
    ("name: cosine", "name: step", "train.schedule", "final"),
    ("patience: 10", "patence: 10", "train.early_stopping", "patence"),
    ("factor: 0.2", "factor: 2", "train.reduce_lr.factor", "maximum"),
    ("monitor: val_loss", "monitor: val_los", "train.monitor", "val_los"),
    ("epochs: 24, ", "", "stages.0", "'epochs' is a required property"),
    ("epochs: 24", "epochs: 0", "stages.0.epochs", "minimum"),
    ("trainable: all", "trainable: al", "stages.0.trainable", "al"),
    ("trainable: all", "trainable: {first_frozn: 3}", "stages.0.trainable", "first_frozn"),
    ("trainable: all", "trainable: {fraction: 3}", "stages.0.trainable.fraction", "maximum"),
    ("trainable: all", "trainabel: all", "stages.0", "trainabel"),
    ("root: data/b", "rots: data/b", f"{TUNE}.data", "rots"),
    ("momentum", "momentom", f"{TUNE}.optimizer", "momentom"),
    ("top_k: 3", "topk: 3", "evaluate", "topk"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "place", "said"), TYPOS, ids=[new or old for old, new, *_ in TYPOS])
def test_a_mistake_is_marked_where_it_stands(old: str, new: str, place: str, said: str, tmp_path: Path) -> None:
    found = marks(parsed(changed((old, new)), tmp_path))
    assert any(mark.startswith(f"{place}: ") and said in mark for mark in found), found


def mappings(value: Any, key: Key = ()) -> Iterator[Key]:
    if isinstance(value, dict):
        yield key
    for name, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from mappings(item, (*key, name))


def at(value: Any, key: Key) -> Any:
    for part in key:
        value = value[part]
    return value


def test_an_unknown_key_at_any_level_is_refused_by_both(tmp_path: Path) -> None:
    valid = parsed(VALID, tmp_path)
    assert marks(valid) == []
    found = [*mappings(valid)]
    assert len(found) > 15
    for key in found:
        damaged = copy.deepcopy(valid)
        at(damaged, key)["unheard_of"] = 1
        assert any(mark.startswith(f"{dotted_key(key)}: ") and "unheard_of" in mark for mark in marks(damaged)), key
        assert not loads(damaged, tmp_path)


def test_what_may_be_inherited_may_be_left_out() -> None:
    assert marks({}) == []
    assert marks({"model": {"dropout": 0.1}, "train": {"optimizer": {"beta_1": 0.5, "momentum": 0.1}}}) == []
    assert marks({"extends": "a.yaml", "name": "b"}) == []
    assert marks({"extends": ["a.yaml", "b.yaml"], "data": {"split": {"val": 0.2}}}) == []
    stage = {"name": "tune", "epochs": 1, "learning_rate": 0.1}
    assert marks({"stages": [{**stage, "data": {"root": "x"}, "optimizer": {"momentum": 0.5}}]}) == []


def test_what_may_be_inherited_may_not_be_misspelt() -> None:
    assert "model: Additional" in marks({"model": {"dropuot": 0.1}})[0]
    assert "train.optimizer: Additional" in marks({"train": {"optimizer": {"beta": 1}}})[0]
    assert "train.optimizer.momentum: " in marks({"train": {"optimizer": {"momentum": 2}}})[0]
    wrong: Any
    for wrong in (3, [], [""], "", {}):
        assert marks({"extends": wrong})


def test_a_file_that_extends_nothing_is_whole(tmp_path: Path) -> None:
    valid = parsed(VALID, tmp_path)
    for key in (("task",), ("data",), ("model",), ("stages",), ("task", "name"), ("data", "name"), ("data", "root")):
        damaged = copy.deepcopy(valid)
        del at(damaged, key[:-1])[key[-1]]
        assert any(f"'{key[-1]}' is a required property" in mark for mark in marks(damaged)), key
        assert not loads(damaged, tmp_path)
        assert marks({"extends": "base.yaml", **damaged}) == []


def test_the_keys_of_a_component_are_those_of_its_settings() -> None:
    for part, table in COMPONENTS.items():
        for name in table:
            component = registry.load(table, name).Config
            for key in component.model_fields:
                known = marks({part: {"name": name, key: {"unheard_of": []}}})
                assert not any("Additional" in mark and f"'{key}'" in mark for mark in known), (name, key)
            assert "Additional" in marks({part: {"name": name, "unheard_of": 1}})[0]


def test_names_defaults_and_descriptions_are_there() -> None:
    definitions = SCHEMA["definitions"]
    stage, train = (definitions[name]["properties"] for name in ("StageConfig", "TrainConfig"))
    assert definitions["ModelConfig"]["properties"]["name"]["enum"] == sorted(registry.MODELS)
    vggnet = definitions["cvlab__models__vggnet__Config"]
    assert vggnet["description"].startswith("VGGNet variant of Hewitt & Gunes 2018")
    assert vggnet["properties"]["dropout"] == {
        "default": 0.5, "description": "Rate of dropout in the head.", "minimum": 0, "exclusiveMaximum": 1,
        "type": "number",
    }  # fmt: skip
    assert train["precision"]["enum"] == list(Precision.__args__)  # type: ignore[attr-defined]
    assert train["batch_size"]["default"] == 32
    assert {"val_loss", "val_accuracy", "val_balanced_accuracy"} <= {*train["monitor"]["enum"]}
    # A stage takes from the top what it does not set.
    assert "default" not in stage["batch_size"]
    assert stage["batchnorm_mode"]["default"] == "train"
    assert definitions["Transform"]["properties"]["name"]["enum"] == list(available())
    affine = definitions["Transform.Affine"]["properties"]
    assert affine["rotate"]["description"].startswith("Rotation in degrees")
    assert affine["border_mode"]["enum"] == ["constant", "replicate", "reflect", "wrap", "reflect_101"]
    assert affine["border_mode"]["default"] == "constant"


def test_the_defaults_of_every_transform_are_valid() -> None:
    for name in available():
        properties = SCHEMA["definitions"][f"Transform.{name}"]["properties"]
        entry = {"name": name, **{key: schema["default"] for key, schema in properties.items() if "default" in schema}}
        required = {"size": [32, 32], "min_max_height": [16, 32], "num_grid_xy": [4, 4], "magnitude": 10}
        entry |= {key: required[key] for key in properties.keys() - entry.keys()}
        assert marks({"augment": [entry]}) == []


_VALUES = st.sampled_from(
    [None, True, False, 0, 1, -1, 2, 3, 7, 0.5, 1.5, -0.5, 1e-3, 300, "x", "linear", "replicate", "random", "all",
     "head", "sgd", "adamw", "cosine", "mobilenet", "balanced", "val_accuracy", "gpu:1", "mixed_bfloat16", "error",
     [], [1], [1, 2], [3, 7], [-0.1, 0.1], [0.5, 1.5], [5, 3], ["a", "b"], ["a", "a"], [1, 2, 3],
     {}, {"x": [0, 1], "y": 1}, {"first_frozen": 2}, {"fraction": 0.5}, {"a": 1.5}, {"name": "sgd"},
     {"name": "step", "every": 2}, {"patience": 3}, {"downscale": "area", "upscale": "linear"}]
).map(copy.deepcopy)  # fmt: skip


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_the_parameters_of_a_transform_that_are_accepted_are_valid(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from([*available()]))
    # albumentations' own checks of the last two fail on odd values.
    left_out = ("name",)
    keys = [key for key in SCHEMA["definitions"][f"Transform.{name}"]["properties"] if key not in left_out]
    entry = {"name": name, **data.draw(st.dictionaries(st.sampled_from(keys), _VALUES, max_size=2))}
    if written_problems(entry) == []:
        assert marks({"augment": [entry]}) == []


def _change(value: Any, draw: Any) -> None:
    holder = at(value, draw(st.sampled_from([*mappings(value)])))
    if not holder:
        return
    key = draw(st.sampled_from([*holder]))
    kind = draw(st.sampled_from(["drop", "rename", "retype", "borrow"]))
    held = holder.pop(key) if kind in ("drop", "rename") else holder[key]
    if kind == "rename":
        holder[draw(st.sampled_from(["name", "data", "noise", "weight_decay", "monitor", "x"]))] = held
    elif kind == "retype":
        holder[key] = draw(_VALUES)
    elif kind == "borrow":
        # A key of one place in another, as `monitor` in a stage.
        other = at(value, draw(st.sampled_from([*mappings(value)])))
        if not isinstance(held, dict):
            other[key] = copy.deepcopy(held)


@pytest.mark.slow
@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_what_loads_is_valid(tmp_path: Path, data: st.DataObject) -> None:
    value = parsed(changed(("{name: Affine, p: 1.0, rotate: [-20, 20]}", "{name: NoOp}")), tmp_path)
    for _ in range(data.draw(st.integers(1, 3))):
        _change(value, data.draw)
    if loads(value, tmp_path):
        assert marks(value) == []


@pytest.mark.slow
def test_the_command_prints_it_without_tensorflow() -> None:
    program = (
        "import sys\nfrom cvlab.__main__ import main\ntry:\n    main()\nfinally:\n"
        "    print(sorted({'tensorflow', 'keras', 'jax'} & set(sys.modules)), file=sys.stderr)"
    )
    result = subprocess.run([sys.executable, "-c", program, "schema"], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout) == SCHEMA
    assert result.stderr == "[]\n"
