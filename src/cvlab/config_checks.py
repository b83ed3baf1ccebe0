"""Checks of a configuration that types cannot express: augmentations, and settings that must fit together.

They look at the values as written, so that they are made even where other values are wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard

from cvlab import registry
from cvlab.config import ComponentConfig, DataConfig, EvaluateConfig, ModelConfig
from cvlab.config_expected import metric_problem, prediction_tables
from cvlab.config_messages import Problems, one_of
from cvlab.config_values import MAX_IMAGE_SIDE
from cvlab.problems import Key, shown

Size = tuple[int, int]
TOP_K = EvaluateConfig().top_k


def check_augmentations(value: Mapping[str, Any], problems: Problems) -> None:
    """Checks transforms and their parameters on images of each stage's size; an inherited list is reported once."""
    wanted: dict[tuple[Key, Size | None], Any] = {}
    for i, stage in _stages(value):
        key: Key = ("stages", i, "augment")
        key = key if problems.given(key) else ("augment",)
        wanted[key, _image_size(stage)] = stage.get("augment")
    if not any(key == ("augment",) for key, _ in wanted):
        wanted[("augment",), _image_size(value)] = value.get("augment")
    for (key, size), transforms in wanted.items():
        if isinstance(transforms, list) and transforms:
            _check_transforms(key, transforms, size, problems)


def _check_transforms(key: Key, transforms: list[Any], size: Size | None, problems: Problems) -> None:
    augment = registry.load(registry.TOOLS, "augment")
    for found in augment.check_transforms(transforms, **({} if size is None else {"image_size": size})):
        readable = isinstance(transforms[found.index], dict)
        # Without a size, what failed on a made-up image says nothing; what is no mapping is reported by its type.
        if readable and (size or found.key is not None):
            inner: Key = (found.index,) if found.key is None else (found.index, found.key)
            problems.add((*key, *inner), found.message)


def check_together(value: Mapping[str, Any], model: type[ComponentConfig] | None, problems: Problems) -> None:
    """Checks what only shows when two parts are seen together."""
    _check_stage_names(value, problems)
    _check_image_sizes(value, model, problems)
    _check_tasks(value, model, problems)
    _check_warmups(value, problems)
    _check_monitors(value, problems)
    _check_expected(value, problems)


def _check_stage_names(value: Mapping[str, Any], problems: Problems) -> None:
    seen: dict[str, int] = {}
    for i, stage in _stages(value):
        name = stage.get("name")
        if not isinstance(name, str):
            continue
        if name in seen:
            problems.add(
                ("stages", i, "name"), f"expected a name of its own, received {shown(name)}, as in stage {seen[name]}"
            )
        seen.setdefault(name, i)


def _check_image_sizes(value: Mapping[str, Any], model: type[ComponentConfig] | None, problems: Problems) -> None:
    first: Size | None = None
    for i, stage in _stages(value):
        size = _image_size(stage)
        if size is None:
            continue
        own: Key = ("stages", i, "data", "image_size")
        first = first or size
        if misfit := _misfit_of_size(size, value.get("model"), model):
            problems.add(own if problems.given(own) else ("data", "image_size"), f"{misfit}, received {shown(size)}")
        elif size != first:
            problems.add(own, f"expected {shown(first)} as in the first stage, received {shown(size)}")


def _misfit_of_size(size: Size, settings: Any, model: type[ComponentConfig] | None) -> str:
    """Returns what the model expects of an image's size; nothing if this one fits."""
    if model is None or not issubclass(model, ModelConfig) or not isinstance(settings, dict):
        return ""
    smallest, network = model.smallest_side(settings)
    if min(size) < smallest:
        return f"expected at least {smallest} pixels a side for {network}"
    step = model.size_multiple
    if all(side % step == 0 for side in size):
        return ""
    down, up = (tuple((side + more) // step * step for side in size) for more in (0, step - 1))
    return f"expected sides divisible by {step} for {network} (the nearest: {shown(down)} and {shown(up)})"


def _check_tasks(value: Mapping[str, Any], model: type[ComponentConfig] | None, problems: Problems) -> None:
    """The model must be one for the task of each stage."""
    if model is None or not issubclass(model, ModelConfig):
        return
    for _, stage in _stages(value):
        task = stage.get("task")
        name = task.get("name") if isinstance(task, dict) else None
        if isinstance(name, str) and name in registry.TASKS and name not in model.tasks:
            fitting = [other for other in sorted(registry.MODELS) if name in _tasks_of(other)]
            expected = f"expected a model for {name} ({', '.join(fitting)})"
            problems.add(("model", "name"), f"{expected}, received {shown(value['model']['name'])}")


def _tasks_of(model: str) -> tuple[str, ...]:
    tasks: tuple[str, ...] = registry.load(registry.MODELS, model).Config.tasks
    return tasks


def _check_warmups(value: Mapping[str, Any], problems: Problems) -> None:
    for i, stage in _stages(value):
        schedule, epochs = stage.get("schedule"), stage.get("epochs")
        warmup = schedule.get("warmup_epochs") if isinstance(schedule, dict) else None
        if _is_number(warmup) and _is_number(epochs) and 0 < epochs < warmup:
            own: Key = ("stages", i, "schedule", "warmup_epochs")
            key = own if problems.given(own) else ("train", *own[2:])
            problems.add(key, f"expected at most the {epochs} epochs of stage {i}, received {shown(warmup)}")


def _check_monitors(value: Mapping[str, Any], problems: Problems) -> None:
    """Each stage's `monitor` must be something that its task computes."""
    tasks = {i: _settings_class(stage.get("task"), registry.TASKS) for i, stage in _stages(value)}
    for i, stage in _stages(value):
        received, task = stage.get("monitor"), tasks[i]
        monitors = [f"val_{name}" for name in task.monitors] if task else []
        if task and isinstance(received, str) and received not in monitors:
            own: Key = ("stages", i, "monitor")
            of_stage = problems.given(own) or len({*tasks.values()}) > 1
            problems.add(own if of_stage else ("train", "monitor"), one_of(monitors, received))


def _check_expected(value: Mapping[str, Any], problems: Problems) -> None:
    """Each published figure must be one that the run reports, too."""
    stages = [(stage.get("name"), stage.get("task")) for _, stage in _stages(value)]
    named = [
        (name, task["name"])
        for name, task in stages
        if isinstance(name, str) and isinstance(task, dict) and _settings_class(task, registry.TASKS)
    ]
    figures, evaluate = value.get("expected"), value.get("evaluate")
    if not named or len(named) < len(stages) or not isinstance(figures, list):
        return
    evaluate = evaluate if isinstance(evaluate, dict) else {}
    settings = {"top_k": evaluate.get("top_k", TOP_K), "temperature": evaluate.get("temperature") is True}
    for i, figure in enumerate(figures):
        metric = figure.get("metric") if isinstance(figure, dict) else None
        if isinstance(metric, str) and (problem := metric_problem(metric, prediction_tables(named), **settings)):
            problems.add(("expected", i, "metric"), problem)


def _settings_class(section: Any, table: dict[str, str]) -> Any:
    """Returns the settings class of the component that `section` names; None if it names none."""
    name = section.get("name") if isinstance(section, dict) else None
    return registry.load(table, name).Config if isinstance(name, str) and name in table else None


def _stages(value: Mapping[str, Any]) -> Iterator[tuple[int, dict[str, Any]]]:
    stages = value.get("stages")
    for i, stage in enumerate(stages if isinstance(stages, list) else []):
        if isinstance(stage, dict):
            yield i, stage


def _image_size(section: Mapping[str, Any]) -> Size | None:
    """Returns the image size of a stage, or of the top of the configuration; None if it is not valid."""
    settings = section.get("data")
    data: type[DataConfig] | None = _settings_class(settings, registry.SOURCES)
    if data is None or not isinstance(settings, dict):
        return None
    size = settings.get("image_size", data.model_fields["image_size"].default)
    if not isinstance(size, list | tuple) or len(size) != 2:
        return None
    whole = all(isinstance(side, int) and not isinstance(side, bool) for side in size)
    return (size[0], size[1]) if whole and all(1 <= side <= MAX_IMAGE_SIDE for side in size) else None


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
