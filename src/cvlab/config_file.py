"""From YAML files and `key=value` words to a checked `Experiment`, with every problem found at once."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError, create_model

from cvlab import registry
from cvlab.config import ComponentConfig, DataConfig, Experiment, ModelConfig, StageConfig, StageTraining, TaskConfig
from cvlab.config_messages import Problems, describe_errors
from cvlab.errors import ConfigError, did_you_mean
from cvlab.yaml_file import Document, Key, dotted_key, parse_value, read_document, to_yaml

COMMAND_LINE = "command line"
COMPONENTS: dict[str, tuple[dict[str, str], type[ComponentConfig]]] = {
    "task": (registry.TASKS, TaskConfig),
    "data": (registry.SOURCES, DataConfig),
    "model": (registry.MODELS, ModelConfig),
}
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
    document = _read_with_bases(path, ())
    for word in overrides:
        _override(document, word)
    return check(document, origin=str(path))


def _read_with_bases(path: Path, above: tuple[Path, ...]) -> Document:
    if path.resolve() in above:
        circle = " -> ".join(str(p) for p in (*above, path.resolve()))
        raise ConfigError([f"{path}: `extends` goes in a circle: {circle}."])
    document = read_document(path)
    if "extends" not in document.value:
        return document
    bases = document.value.pop("extends")
    if isinstance(bases, str):
        bases = [bases]
    if not isinstance(bases, list) or not bases or not all(isinstance(base, str) and base for base in bases):
        place = document.places[("extends",)]
        raise ConfigError([f"{place}: extends: expected a file name or a list of them, received {bases!r}."])
    merged = Document({})
    for base in bases:
        inherited = _read_with_bases(path.parent / base, (*above, path.resolve()))
        merged = _merge_documents(merged, inherited)
    return _merge_documents(merged, document)


def _merge_documents(base: Document, over: Document) -> Document:
    value = _merge_keys(base.value, over.value)
    places = {key: place for key, place in base.places.items() if _has(value, key)} | over.places
    return Document(value, places, [*base.problems, *over.problems])


def merge(base: Any, over: Any) -> Any:
    """Lays `over` on `base`: mappings key by key, anything else whole.

    A component whose `name` changes is taken whole too: the settings of one mean nothing to another.
    """
    if not isinstance(base, dict) or not isinstance(over, dict):
        return over
    if "name" in base and over.get("name", base["name"]) != base["name"]:
        return over
    return _merge_keys(base, over)


def _merge_keys(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    return {**base, **{key: merge(base[key], value) if key in base else value for key, value in over.items()}}


def _has(value: Any, key: Key) -> bool:
    for part in key:
        inside = (isinstance(value, dict) and part in value) or (
            isinstance(value, list) and isinstance(part, int) and part < len(value)
        )
        if not inside:
            return False
        value = value[part]
    return True


def _override(document: Document, word: str) -> None:
    name, equals, text = word.partition("=")
    if not equals or not name:
        raise ConfigError([f"{COMMAND_LINE}: expected key=value (for example `stages.0.epochs=8`), received '{word}'."])
    value = parse_value(text, origin=COMMAND_LINE)
    parts = name.split(".")
    target: Any = document.value
    for depth, part in enumerate(parts):
        last = depth == len(parts) - 1
        key: str | int = part
        where = ".".join(parts[: depth + 1])
        if isinstance(target, list):
            if not part.isdigit() or int(part) >= len(target):
                raise ConfigError(
                    [f"{COMMAND_LINE}: {where}: expected an index from 0 to {len(target) - 1}, received '{part}'."]
                )
            key = int(part)
        elif not isinstance(target, dict):
            holder = ".".join(parts[:depth])
            raise ConfigError([f"{COMMAND_LINE}: {where}: '{holder}' holds a single value; it has no keys of its own."])
        if last:
            target[key] = value
        elif isinstance(target, dict) and target.get(part) is None:
            target[key] = {}
        document.places[_as_key(parts[: depth + 1])] = COMMAND_LINE
        target = target[key]


def _as_key(parts: Sequence[str]) -> Key:
    return tuple(int(part) if part.isdigit() else part for part in parts)


def check(document: Document, *, origin: str) -> Experiment:
    """Turns a merged document into an `Experiment`.

    Raises:
        ConfigError: Everything that is wrong.
    """
    problems = Problems(document, origin)
    expanded = {**document.value, "stages": _expand_stages(document.value)}
    model = _experiment_class(expanded, problems)
    experiment: Experiment | None = None
    try:
        experiment = model.model_validate_json(json.dumps(expanded))
    except ValidationError as error:
        describe_errors(error, expanded, model, problems)
    _check_augmentations(expanded, problems)
    if experiment is not None:
        _check_together(experiment, problems)
    problems.raise_any()
    assert experiment is not None
    return experiment


def _expand_stages(value: Mapping[str, Any]) -> Any:
    """Gives every stage what it inherits from the top level."""
    stages = value.get("stages")
    if not isinstance(stages, list):
        return stages
    inherited = {key: value[key] for key in _PER_STAGE if key in value}
    train = value.get("train")
    if isinstance(train, dict):
        inherited |= {key: train[key] for key in _PER_STAGE_TRAINING if key in train}
    return [_merge_keys(inherited, stage) if isinstance(stage, dict) else stage for stage in stages]


def _experiment_class(value: Mapping[str, Any], problems: Problems) -> type[Experiment]:
    """Builds the `Experiment` whose parts are the settings of the components that `value` names."""
    chosen: dict[str, Any] = {}
    for part, (table, _) in COMPONENTS.items():
        section = value.get(part)
        chosen[part] = Any
        if not isinstance(section, dict):
            chosen[part] = COMPONENTS[part][1]
        elif section.get("name") in table:
            chosen[part] = registry.load(table, section["name"]).Config
        else:
            _unknown_component(part, section, table, problems)
    stage = create_model("Stage", __base__=StageConfig, data=(chosen["data"], ...))
    return create_model(
        "Experiment",
        __base__=Experiment,
        stages=(list[stage], Experiment.model_fields["stages"]),  # type: ignore[valid-type]
        **{part: (config, ...) for part, config in chosen.items()},
    )


def _unknown_component(part: str, section: dict[str, Any], table: dict[str, str], problems: Problems) -> None:
    names = ", ".join(f"'{name}'" for name in sorted(table))
    if "name" not in section:
        problems.add((part, "name"), f"is missing; expected one of {names}")
        return
    received = section["name"]
    problems.add((part, "name"), f"expected one of {names}, received '{received}'{did_you_mean(received, table)}")


def _check_augmentations(value: Mapping[str, Any], problems: Problems) -> None:
    """Checks transforms and their parameters; the same inherited list is reported once."""
    places: list[tuple[Key, Any]] = [(("augment",), value.get("augment"))]
    stages = value.get("stages")
    for i, stage in enumerate(stages if isinstance(stages, list) else []):
        if isinstance(stage, dict) and stage.get("augment") != value.get("augment"):
            places.append((("stages", i, "augment"), stage.get("augment")))
    for key, transforms in places:
        if not isinstance(transforms, list) or not transforms:
            continue
        for found in registry.load(registry.TOOLS, "augment").check_transforms(transforms):
            inner: Key = (found.index,) if found.key is None else (found.index, found.key)
            problems.add((*key, *inner), found.message)


def _check_together(experiment: Experiment, problems: Problems) -> None:
    """Checks what only shows when two parts are seen together."""
    names = [stage.name for stage in experiment.stages]
    for i, name in enumerate(names):
        if name in names[:i]:
            problems.add(("stages", i, "name"), f"expected a name of its own, received '{name}' for a second stage")
    smallest = experiment.model.smallest_image
    for i, stage in enumerate(experiment.stages):
        if min(stage.data.image_size) < smallest:
            key: Key = ("data", "image_size")
            key = ("stages", i, *key) if stage.data.image_size != experiment.data.image_size else key
            size = list(stage.data.image_size)
            problems.add(key, f"expected at least {smallest} for model '{experiment.model.name}', received {size}")
        if stage.data.image_size != experiment.stages[0].data.image_size:
            problems.add(("stages", i, "data", "image_size"), "expected the image size of the first stage")
    monitors = [f"val_{name}" for name in experiment.task.monitors]
    if experiment.train.monitor not in monitors:
        received = experiment.train.monitor
        valid = ", ".join(f"'{name}'" for name in monitors)
        problems.add(
            ("train", "monitor"), f"expected one of {valid}, received '{received}'{did_you_mean(received, monitors)}"
        )


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
