"""From YAML files and `key=value` words to a checked `Experiment`, with every problem found at once."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from types import GenericAlias
from typing import Any

from pydantic import ValidationError, create_model

from cvlab import registry
from cvlab.config import DataConfig, Experiment, ModelConfig, StageConfig, StageTraining, TaskConfig
from cvlab.config_checks import check_augmentations, check_together
from cvlab.config_merge import merge_keys, override, read_with_bases
from cvlab.config_messages import Problems, describe_errors, missing_name, one_of
from cvlab.problems import Key, dotted_key, shown
from cvlab.yaml_file import Document, to_yaml

COMPONENTS = {"task": registry.TASKS, "data": registry.SOURCES, "model": registry.MODELS}
_PER_STAGE = ("data", "augment")
_PER_STAGE_TRAINING = tuple(StageTraining.model_fields)


def load_experiment(path: Path, overrides: Sequence[str] = ()) -> Experiment:
    """Reads a configuration with what it extends, applies `key=value` overrides and checks everything.

    Args:
        path: The YAML file.
        overrides: Words such as `stages.0.epochs=8` or `augment=[]`; values are YAML.

    Raises:
        ConfigError: Everything that is wrong, one line a problem, each with its file and line.
    """
    document = read_with_bases(path)
    override(document, overrides)
    return check(document, origin=str(path))


def check(document: Document, *, origin: str) -> Experiment:
    """Turns a merged document into an `Experiment`.

    Raises:
        ConfigError: Everything that is wrong.
    """
    problems = Problems(document, origin)
    value = _expand_stages(document.value)
    task, data, model = (_component(part, value, problems) for part in COMPONENTS)
    experiment = _validated(value, _experiment_class(task, data, model), problems)
    check_augmentations(value, data, problems)
    check_together(value, task, data, model, problems)
    problems.raise_any()
    assert experiment is not None
    return experiment


def _validated(value: dict[str, Any], model: type[Experiment], problems: Problems) -> Experiment | None:
    try:
        return model.model_validate_json(json.dumps(value))
    except ValidationError as error:
        describe_errors(error, value, model, problems)
        return None


def _expand_stages(value: dict[str, Any]) -> dict[str, Any]:
    """Gives every stage what it inherits from the top level."""
    stages = value.get("stages")
    if not isinstance(stages, list):
        return value
    inherited = {key: value[key] for key in _PER_STAGE if key in value}
    train = value.get("train")
    if isinstance(train, dict):
        inherited |= {key: train[key] for key in _PER_STAGE_TRAINING if key in train}
    expanded = [merge_keys(inherited, stage) if isinstance(stage, dict) else stage for stage in stages]
    return {**value, "stages": expanded}


def _component(part: str, value: Mapping[str, Any], problems: Problems) -> Any:
    """Returns the settings class of the component that `value` names in `part`; None if it names none."""
    table = COMPONENTS[part]
    names = sorted(table)
    section = value.get(part)
    if part not in value:
        problems.add((part,), f"is missing; add `{part}: {{name: ...}}`, with a name such as '{names[0]}'")
    elif not isinstance(section, dict):
        name = section if isinstance(section, str) and section in table else names[0]
        problems.add((part,), f"expected a mapping such as {{name: {name}}}, received {shown(section)}")
    elif "name" not in section:
        problems.add((part, "name"), missing_name(names, section))
    elif not isinstance(section["name"], str) or section["name"] not in table:
        problems.add((part, "name"), one_of(names, section["name"]))
    else:
        return registry.load(table, section["name"]).Config
    return None


@cache
def _experiment_class(
    task: type[TaskConfig] | None, data: type[DataConfig] | None, model: type[ModelConfig] | None
) -> type[Experiment]:
    """Builds the `Experiment` whose parts are the settings of the chosen components; None takes anything."""
    parts = {"task": task, "data": data, "model": model}
    fields: dict[str, Any] = {part: (chosen, ...) if chosen else (Any, None) for part, chosen in parts.items()}
    stage = create_model("Stage", __base__=StageConfig, data=fields["data"])
    fields["stages"] = (GenericAlias(list, (stage,)), Experiment.model_fields["stages"])
    return create_model("Experiment", __base__=Experiment, **fields)


def experiment_yaml(experiment: Experiment) -> str:
    """Writes a resolved experiment as YAML that loads to the same experiment."""
    value = experiment.model_dump(mode="json")
    train = value["train"]
    inherited = {key: value[key] for key in _PER_STAGE} | {key: train[key] for key in _PER_STAGE_TRAINING}
    value["stages"] = [
        {key: item for key, item in stage.items() if key not in inherited or item != inherited[key]}
        for stage in value["stages"]
    ]
    return to_yaml(value)


def differences(old: Mapping[str, Any], new: Mapping[str, Any], *, above: Key = ()) -> list[tuple[str, Any, Any]]:
    """Returns `(dotted key, old value, new value)` for everything in which two resolved configurations differ."""
    found: list[tuple[str, Any, Any]] = []
    for key in [*old, *(key for key in new if key not in old)]:
        a, b = old.get(key), new.get(key)
        here = (*above, key)
        if isinstance(a, dict) and isinstance(b, dict):
            found += differences(a, b, above=here)
        elif isinstance(a, list) and isinstance(b, list) and [*map(type, a)] == [*map(type, b)] == [dict] * len(a):
            for i, (x, y) in enumerate(zip(a, b, strict=True)):
                found += differences(x, y, above=(*here, i))
        elif a != b:
            found.append((dotted_key(here), a, b))
    return found
