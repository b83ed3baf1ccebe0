"""The wording of configuration errors: `file:line: dotted.key: expected ..., received ...; did you mean ...?`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from cvlab.errors import ConfigError, did_you_mean
from cvlab.yaml_file import Document, Key, dotted_key

_EXPECTED_TYPES = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "string_type": "text",
    "bool_type": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "path_type": "a path",
    "finite_number": "a finite number",
}
_BOUNDS = {"greater_than": "above {gt}", "greater_than_equal": "at least {ge}", "less_than": "below {lt}",
           "less_than_equal": "at most {le}"}  # fmt: skip


class Problems:
    """Collects problems, each with the place of its key."""

    def __init__(self, document: Document, origin: str) -> None:
        self.document = document
        self.origin = origin
        self.found = list(document.problems)

    def add(self, key: Key, message: str) -> None:
        """Adds a problem once; `message` starts with what was expected."""
        line = f"{self.place(key)}: {dotted_key(key)}: {message}."
        if line not in self.found:
            self.found.append(line)

    def given(self, key: Key) -> bool:
        """Whether `key` was written down (and not inherited)."""
        return key in self.document.places

    def place(self, key: Key) -> str:
        """The file and line of `key`, or of the nearest key above it."""
        for length in range(len(key), -1, -1):
            if key[:length] in self.document.places:
                return self.document.places[key[:length]]
        return self.origin

    def raise_any(self) -> None:
        """Raises what was found."""
        if self.found:
            raise ConfigError(self.found)


def describe_errors(
    error: ValidationError, value: Mapping[str, Any], model: type[BaseModel], problems: Problems
) -> None:
    """Adds every error that pydantic found in `value` to `problems`, in the words of this program."""
    messages = {}
    for item in error.errors(include_url=False):
        key = _real_key(item["loc"], value)
        messages[key, item["type"]] = _message(dict(item), valid=_valid_keys(model, key[:-1], value), key=key)
    for (key, kind), message in messages.items():
        if key[:1] == ("stages",) and len(key) > 2:
            top: Key = key[2:] if key[2] in ("data", "augment") else ("train", *key[2:])
            if (top, kind) in messages and not problems.given(key):
                continue
        problems.add(key, message)


def _real_key(loc: tuple[int | str, ...], value: Any) -> Key:
    """Drops the names of union members that pydantic puts into a location."""
    key: list[str | int] = []
    for i, part in enumerate(loc):
        if isinstance(value, dict) and part not in value and value.get("name") == part and i < len(loc) - 1:
            continue
        key.append(part)
        if isinstance(value, dict):
            value = value.get(str(part))
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            value = value[part]
        else:
            value = None
    return tuple(key)


def _valid_keys(annotation: Any, key: Key, value: Any) -> list[str]:
    """Returns the keys that may stand in the mapping at `key`, read off the settings classes."""
    models = [model for model in _models_in(annotation) if _fits(model, value)]
    if not key:
        return [name for model in models for name in model.model_fields]
    inner = value[key[0]] if isinstance(value, dict | list) else None
    if isinstance(key[0], int):
        return _valid_keys(annotation, key[1:], inner)
    fields = [model.model_fields[key[0]] for model in models if key[0] in model.model_fields]
    return [name for found in fields for name in _valid_keys(found.annotation, key[1:], inner)]


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _models_in(argument)]


def _fits(model: type[BaseModel], value: Any) -> bool:
    """Whether a mapping with this `name` could be meant for `model`."""
    name = value.get("name") if isinstance(value, dict) else None
    field = model.model_fields.get("name")
    return name is None or field is None or name in get_args(field.annotation) or not get_args(field.annotation)


def _message(item: dict[str, Any], *, valid: list[str], key: Key) -> str:
    kind, context = item["type"], item.get("ctx", {})
    received = f", received {shown(item.get('input'))}"
    if kind == "extra_forbidden":
        near = did_you_mean(key[-1], valid)
        return "unknown key" + (near or f"; the keys here are {', '.join(valid)}" if valid else "")
    if kind == "missing":
        return f"is missing; add `{key[-1]}: ...`"
    if kind in _EXPECTED_TYPES:
        return f"expected {_EXPECTED_TYPES[kind]}{received}"
    if kind in _BOUNDS:
        return f"expected a value {_BOUNDS[kind].format(**context)}{received}"
    if kind in ("literal_error", "union_tag_invalid"):
        expected = str(context.get("expected") or context.get("expected_tags"))
        got = item["input"].get("name") if kind == "union_tag_invalid" else item["input"]
        names = [name.strip(" '") for name in expected.replace(" or ", ",").split(",")]
        suffix = ".name: " if kind == "union_tag_invalid" else ""
        return f"{suffix}expected one of {expected}, received {shown(got)}{did_you_mean(got, names)}"
    if kind == "union_tag_not_found":
        return "expected a mapping with a `name`" + received
    if kind == "value_error":
        text = str(context["error"])
        return text if "received" in text else text + received
    if kind in ("too_short", "too_long"):
        length = context.get("min_length", context.get("max_length"))
        return f"expected {'at least' if kind == 'too_short' else 'at most'} {length} items{received}"
    if kind == "string_pattern_mismatch":
        return f"expected text like {context['pattern']}{received}"
    return item["msg"] + received


def shown(value: Any) -> str:
    """Returns a received value as it would stand in YAML, shortened."""
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "null"
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
