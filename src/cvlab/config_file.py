"""From YAML files and `key=value` words to a checked `Experiment`, with every problem found at once."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache, reduce
from operator import or_
from pathlib import Path
from types import GenericAlias
from typing import Annotated, Any

from pydantic import Field, ValidationError, create_model

from cvlab import registry
from cvlab.config import ComponentConfig, Experiment, StageConfig
from cvlab.config_checks import check_augmentations, check_together
from cvlab.config_merge import merge_keys, override, read_with_bases
from cvlab.config_messages import Problems, describe_errors, missing_name, one_of
from cvlab.config_training import StageTraining
from cvlab.problems import Key, dotted_key, shown
from cvlab.yaml_file import Document, to_yaml

COMPONENTS = {"task": registry.TASKS, "data": registry.SOURCES, "model": registry.MODELS}
PER_STAGE_COMPONENTS = ("task", "data")
_PER_STAGE = ("task", "data", "augment")
_PER_STAGE_TRAINING = tuple(StageTraining.model_fields)

Classes = tuple[type[ComponentConfig] | None, ...]


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
    top = {part: _component((), part, value, problems) for part in COMPONENTS}
    stages = {f"stage_{part}": _of_stages(part, top[part], value, problems) for part in PER_STAGE_COMPONENTS}
    experiment = _validated(value, _experiment_class(**top, **stages), problems)
    check_augmentations(value, problems)
    check_together(value, top["model"], problems)
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


def _component(above: Key, part: str, value: Mapping[str, Any], problems: Problems) -> type[ComponentConfig] | None:
    """Returns the settings class of the component that `value` names in `part`; None if it names none."""
    table, key = COMPONENTS[part], (*above, part)
    names, example = sorted(table), next(iter(table))
    section = value.get(part)
    if part not in value:
        problems.add(key, f"is missing; add `{part}: {{name: ...}}`, with a name such as '{example}'")
    elif not isinstance(section, dict):
        name = section if isinstance(section, str) and section in table else example
        problems.add(key, f"expected a mapping such as {{name: {name}}}, received {shown(section)}")
    elif "name" not in section:
        problems.add((*key, "name"), missing_name(names, section))
    elif not isinstance(section["name"], str) or section["name"] not in table:
        problems.add((*key, "name"), one_of(names, section["name"]))
    else:
        chosen: type[ComponentConfig] = registry.load(table, section["name"]).Config
        return chosen
    return None


def _of_stages(part: str, top: type[ComponentConfig] | None, value: Mapping[str, Any], problems: Problems) -> Classes:
    """Returns the settings classes of `part` in the stages; `top` for those that name no component of their own."""
    stages, above = value.get("stages"), value.get(part)
    inherited = above.get("name") if isinstance(above, dict) else None
    found: dict[type[ComponentConfig] | None, None] = {}
    for i, stage in enumerate(stages if isinstance(stages, list) else []):
        section = stage.get(part) if isinstance(stage, dict) else None
        if isinstance(section, dict):
            own = section.get("name", inherited) != inherited
        else:
            own = problems.given(("stages", i, part))
        found[_component(("stages", i), part, stage, problems) if own else top] = None
    return tuple(found) or (top,)


@cache
def _experiment_class(
    *,
    task: type[ComponentConfig] | None,
    data: type[ComponentConfig] | None,
    model: type[ComponentConfig] | None,
    stage_task: Classes,
    stage_data: Classes,
) -> type[Experiment]:
    """Builds the `Experiment` whose parts are the settings of the chosen components; None takes anything."""
    stage = create_model("Stage", __base__=StageConfig, task=_one_of((*stage_task,)), data=_one_of((*stage_data,)))
    fields: dict[str, Any] = {"task": _one_of((task,)), "data": _one_of((data,)), "model": _one_of((model,))}
    fields["stages"] = (GenericAlias(list, (stage,)), Experiment.model_fields["stages"])
    return create_model("Experiment", __base__=Experiment, **fields)


def _one_of(classes: Classes) -> Any:
    """Returns the field of a component that is one of `classes`, told apart by its name."""
    if None in classes:
        return Any, None
    if len(classes) == 1:
        return classes[0], ...
    return Annotated[reduce(or_, classes), Field(discriminator="name")], ...


def experiment_yaml(experiment: Experiment) -> str:
    """Writes a resolved experiment as YAML that loads to the same experiment."""
    value = experiment.model_dump(mode="json")
    train = value["train"]
    inherited = {key: value[key] for key in _PER_STAGE} | {key: train[key] for key in _PER_STAGE_TRAINING}
    value["stages"] = [
        {key: item for key, item in stage.items() if key not in inherited or not same(item, inherited[key])}
        for stage in value["stages"]
    ]
    return to_yaml(value)


def same(a: Any, b: Any) -> bool:
    """Whether two settings are equal, the order of mappings included: that of classes is the order of outputs."""
    return json.dumps(a) == json.dumps(b)


def differences(old: Mapping[str, Any], new: Mapping[str, Any], *, above: Key = ()) -> list[tuple[str, Any, Any]]:
    """Returns `(dotted key, old value, new value)` for everything in which two resolved configurations differ."""
    found: list[tuple[str, Any, Any]] = []
    if [*old] != [*new] and old.keys() == new.keys():
        # The order of a mapping of classes is the order of the outputs.
        return [(dotted_key(above), old, new)]
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
