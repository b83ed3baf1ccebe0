"""The wording of configuration errors: `file:line: dotted.key: expected ..., received ...; did you mean ...?`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from cvlab.errors import ConfigError, counted, did_you_mean
from cvlab.problems import Key, Place, Problem, dotted_key
from cvlab.problems import shown as shown
from cvlab.yaml_file import Document

_EXPECTED_TYPES = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing_size": "a smaller number",
    "float_type": "a number",
    "string_type": "text",
    "bool_type": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "path_type": "a path",
    "finite_number": "a finite number",
}
_BOUNDS = {
    "greater_than": "above",
    "greater_than_equal": "at least",
    "less_than": "below",
    "less_than_equal": "at most",
}
MOST_DESCRIBED = 200
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")


class Problems:
    """Collects problems, each with the place of its key."""

    def __init__(self, document: Document, origin: str) -> None:
        self.document = document
        self.origin = origin
        self.found = list(document.problems)

    def add(self, key: Key, message: str) -> None:
        """Adds a problem once; `message` starts with what was expected. Of what could not be read, that is enough."""
        if any(key[:length] in self.document.unread for length in range(len(key) + 1)):
            return
        problem = Problem(self.place(key), key, message)
        if problem not in self.found:
            self.found.append(problem)

    def given(self, key: Key) -> bool:
        """Whether `key` was written down (and not inherited)."""
        return key in self.document.places

    def place(self, key: Key) -> Place:
        """The file and line of `key`, or of the nearest key above it."""
        for length in range(len(key), -1, -1):
            if key[:length] in self.document.places:
                return self.document.places[key[:length]]
        return Place(self.origin)

    def raise_any(self) -> None:
        """Raises what was found: each file from top to bottom, then the command line."""
        if self.found:
            origins = list(dict.fromkeys(problem.place.origin for problem in self.found))
            ordered = sorted(
                self.found, key=lambda it: (not it.place.line, origins.index(it.place.origin), it.place.line)
            )
            raise ConfigError([str(problem) for problem in ordered])


def describe_errors(
    error: ValidationError, value: Mapping[str, Any], model: type[BaseModel], problems: Problems
) -> None:
    """Adds every error that pydantic found in `value` to `problems`, in the words of this program.

    What a stage inherits from the top of the configuration is reported there only.
    """
    found: dict[tuple[Key, str], str] = {}
    items = error.errors(include_url=False)
    if len(items) > MOST_DESCRIBED:
        problems.add((), f"{len(items) - MOST_DESCRIBED:,} more problems than are listed here")
    for item in items[:MOST_DESCRIBED]:
        spot = _locate(item["loc"], model)
        if item["type"] in ("union_tag_invalid", "union_tag_not_found"):
            spot.key += ("name",)
        elif item["type"] == "missing" and isinstance(item["loc"][-1], int):
            spot = _locate(item["loc"][:-1], model)
        found[spot.key, item["type"]] = _message(dict(item), spot, model)
    for (key, kind), message in found.items():
        top = _inherited_from(key)
        if top is not None:
            above_is_wrong = any(other[:2] == top[:2] for other, _ in found)
            same = found.get((top, kind)) == message and isinstance(_value_at(value, key), dict)
            if same or (above_is_wrong and not problems.given(key)):
                continue
        problems.add(key, message)


def _inherited_from(key: Key) -> Key | None:
    """Returns the key at the top of the configuration whose value a key of a stage takes over."""
    if key[:1] != ("stages",) or len(key) < 3:
        return None
    return key[2:] if key[2] in ("task", "data", "augment") else ("train", *key[2:])


@dataclass
class _Spot:
    """A key in the settings classes.

    Attributes:
        key: The key as the user writes it.
        annotation: The type declared for it; None where nothing is.
        owner: The settings class that the last part of the key belongs to.
    """

    key: Key
    annotation: Any
    owner: type[BaseModel] | None = None


def _locate(loc: tuple[int | str, ...], model: type[BaseModel]) -> _Spot:
    """Follows a location of pydantic's, which also holds the names of union members, through the settings."""
    spot = _Spot((), model)
    for part in loc:
        models = _models_in(spot.annotation)
        chosen = [item for item in models if part in _names(item)]
        if isinstance(part, int):
            spot = _Spot((*spot.key, part), next(_arguments_of_list(spot.annotation), None))
        elif len(models) > 1 and chosen:
            spot = _Spot(spot.key, chosen[0])
        elif models:
            field = models[0].model_fields.get(part)
            spot = _Spot((*spot.key, part), field.annotation if field else None, models[0])
        elif dict in (spot.annotation, get_origin(spot.annotation)):
            spot = _Spot((*spot.key, part), None)
    return spot


def _parts(annotation: Any) -> Iterator[Any]:
    """Takes unions and `Annotated` apart."""
    if get_origin(annotation) in (None, list, tuple, dict) or not get_args(annotation):
        yield annotation
        return
    for argument in get_args(annotation):
        yield from _parts(argument)


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    return [item for item in _parts(annotation) if isinstance(item, type) and _is_model(item)]


def _is_model(item: type) -> bool:
    # `list[int]` is an instance of `type` for `isinstance`, but no class.
    return get_origin(item) is None and issubclass(item, BaseModel)


def _arguments_of_list(annotation: Any) -> Iterator[Any]:
    return (get_args(item)[0] for item in _parts(annotation) if get_origin(item) in (list, tuple))


def _names(model: type[BaseModel]) -> tuple[str, ...]:
    """Returns the names a component class goes by: those its `name` may hold."""
    field = model.model_fields.get("name")
    return get_args(field.annotation) if field else ()


def _value_at(value: Any, key: Key) -> Any:
    for part in key:
        inside = part in value if isinstance(value, dict) else isinstance(value, list) and isinstance(part, int)
        value = value[part] if inside else None
    return value


def _message(item: dict[str, Any], spot: _Spot, model: type[BaseModel]) -> str:
    kind, context, value = item["type"], item.get("ctx", {}), item["input"]
    received = f", received {shown(value)}"
    if kind == "extra_forbidden":
        return _unknown_key(spot, model)
    if kind == "missing" and isinstance(value, dict):
        return f"is missing; add `{spot.key[-1]}: ...`"
    if kind == "literal_error":
        return one_of(re.findall(r"'([^']*)'", context["expected"]), value)
    if kind == "union_tag_invalid":
        return one_of(_member_names(spot), value["name"])
    if kind == "union_tag_not_found":
        return missing_name(_member_names(spot), value)
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        return f"expected {_mapping(spot, value)}{_or_null(spot)}{received}"
    if kind in _EXPECTED_TYPES:
        return f"expected {_EXPECTED_TYPES[kind]}{_or_null(spot)}{received}{_about_quotes(kind, value)}"
    if kind in _BOUNDS:
        return f"expected {_BOUNDS[kind]} {_bound(next(iter(context.values())))}{received}"
    if kind == "value_error":
        return _refusal(str(context["error"]), value)
    if kind in ("too_short", "too_long", "missing"):
        return f"expected {_length(kind, context, spot)}{received}"
    return f"{item['msg']}{received}"


def _refusal(text: str, value: Any) -> str:
    """Completes the text of a validator; a mapping too long to be shown is left out."""
    if "received" in text or (isinstance(value, dict) and shown(value).endswith("...")):
        return text
    (received,) = value if isinstance(value, dict) and len(value) == 1 else (value,)
    valid = [name for pair in re.findall(r"'(\w+)'|\{(\w+):", text) for name in pair if name]
    hint = did_you_mean(received, valid) if isinstance(received, str) and received not in valid else ""
    return f"{text}, received {shown(value)}{hint}"


def _unknown_key(spot: _Spot, model: type[BaseModel]) -> str:
    name = str(spot.key[-1])
    if spot.owner is None:
        return "unknown key"
    valid = sorted(spot.owner.model_fields, key=lambda field: field != "name")
    if hint := _nearest(name, valid):
        return f"unknown key{hint}"
    here = (dotted_key(spot.key), dotted_key(("train", *spot.key[2:])))
    elsewhere = next((key for key in _all_keys(model) if key.endswith(f".{name}")), None)
    if elsewhere is not None and elsewhere not in here:
        return f"unknown key here; did you mean '{elsewhere}'?"
    component = _names(spot.owner)
    whose = f"the keys of '{component[0]}'" if component else "the keys here"
    return f"unknown key; {whose} are {', '.join(valid)}"


def _all_keys(annotation: Any, above: str = "") -> Iterator[str]:
    """Yields all dotted keys of the settings; a list stands for its first item."""
    for model in _models_in(annotation):
        for name, field in model.model_fields.items():
            yield f"{above}{name}"
            yield from _all_keys(field.annotation, f"{above}{name}.")
    for item in _arguments_of_list(annotation):
        yield from _all_keys(item, f"{above}0.")


def one_of(names: Sequence[str], *received: Any) -> str:
    """Returns `expected 'a', 'b' or 'c', received 'd'; did you mean ...?`; nothing received leaves that out."""
    quoted = [f"'{name}'" for name in names]
    listed = " or ".join([", ".join(quoted[:-1]), quoted[-1]]) if len(quoted) > 1 else quoted[0]
    hints = [_nearest(item, names) if isinstance(item, str) else "" for item in received]
    return f"expected {listed}" + "".join(
        f", received {shown(item)}{hint}" for item, hint in zip(received, hints, strict=True)
    )


def missing_name(names: Sequence[str], section: Mapping[str, Any]) -> str:
    """Says that a component's `name` is missing, and which key may have been meant for it."""
    near = next((key for key in section if _nearest(key, ["name"])), None)
    return f"is missing; {one_of(names)}" + (f"; did you write {shown(near)} for it?" if near is not None else "")


def _nearest(received: str, valid: Sequence[str]) -> str:
    return did_you_mean(received, valid) or did_you_mean(received.lower(), valid)


def _member_names(spot: _Spot) -> list[str]:
    return [name for model in _models_in(spot.annotation) for name in _names(model)]


def _mapping(spot: _Spot, value: Any) -> str:
    models, names = _models_in(spot.annotation), _member_names(spot)
    if names:
        return f"a mapping such as {{name: {value if isinstance(value, str) and value in names else names[0]}}}"
    if not models and isinstance(value, str):
        return f"a mapping such as {{name: {shown(value)}}}"
    keys = list(models[0].model_fields) if models else []
    return f"a mapping with the keys {', '.join(keys)}" if 0 < len(keys) <= 6 else "a mapping (`key: value` lines)"


def _or_null(spot: _Spot) -> str:
    return " or null" if NoneType in _parts(spot.annotation) else ""


def _about_quotes(kind: str, value: Any) -> str:
    if kind in ("int_type", "float_type") and isinstance(value, str) and _NUMBER.fullmatch(value):
        return "; leave out the quotes"
    number = isinstance(value, int | float)
    return "; put it in quotes" if kind == "string_type" and number else ""


def _bound(value: float) -> str:
    return str(int(value)) if value == int(value) else str(value)


def _length(kind: str, context: Mapping[str, Any], spot: _Spot) -> str:
    sizes = [len(get_args(item)) for item in _parts(spot.annotation) if get_origin(item) is tuple]
    if sizes and Ellipsis not in get_args(spot.annotation):
        return f"{sizes[0]} values"
    few = kind == "too_short"
    return f"at {'least' if few else 'most'} {counted(context['min_length' if few else 'max_length'], 'value')}"
