"""The JSON Schema of a configuration, from which editors complete keys and mark mistakes.

Everything comes from the registry and the settings classes. The draft is 07, which editors know best.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import reduce
from operator import or_
from typing import Annotated, Any

from pydantic import Field, TypeAdapter
from pydantic_core import to_jsonable_python

from cvlab import registry
from cvlab.config import ComponentConfig, Experiment
from cvlab.config_file import COMPONENTS
from cvlab.config_training import TrainConfig
from cvlab.data.augment import available
from cvlab.data.augment_rules import NAMED_NUMBERS, classes
from cvlab.schema_generator import REFERENCE, Schema, SchemaGenerator, chosen_by_name, documented, if_named

DRAFT = "http://json-schema.org/draft-07/schema#"
_TRANSFORM = "Transform"


def configuration_schema() -> Schema:
    """Returns the JSON Schema (draft-07) of a YAML file that `cvlab train` takes, or that another one extends.

    A mapping may be a part of what it is merged with, so that no key of it is required. Items of lists are whole.
    """
    components = {part: _settings_classes(part) for part in COMPONENTS}
    adapters = {part: TypeAdapter(_one_of(found.values())) for part, found in components.items()}
    schemas, rest = TypeAdapter.json_schemas(
        [(part, "validation", adapter) for part, adapter in {"": TypeAdapter(Experiment), **adapters}.items()],
        ref_template=f"{REFERENCE}{{model}}",
        schema_generator=SchemaGenerator,
    )
    definitions = rest["$defs"]
    top = definitions.pop("Experiment")
    bases = {part: _referenced(top["properties"][part]) for part in COMPONENTS}
    definitions |= {base: schemas[part, "validation"] for part, base in bases.items()}
    stage = definitions[_referenced(top["properties"]["stages"]["items"])]
    for owner in (top, stage):
        owner["properties"]["augment"]["items"] = {"$ref": f"{REFERENCE}{_TRANSFORM}"}
    for key in {*Experiment.model_fields, *TrainConfig.model_fields} & {*stage["properties"]}:
        # What a stage does not say is inherited; its default would mislead.
        stage["properties"][key].pop("default", None)
    _drop_required(definitions, top, {*bases.values()})
    definitions |= _transforms()
    return {
        "$schema": DRAFT,
        **_file(top, components),
        "definitions": dict(sorted(definitions.items())),
    }


def _referenced(schema: Schema) -> str:
    """The name of what a schema refers to; empty if it does not refer to anything."""
    (schema,) = schema.get("allOf", [schema])
    return str(schema.get("$ref", "")).removeprefix(REFERENCE)


def _settings_classes(part: str) -> dict[str, type[ComponentConfig]]:
    table = COMPONENTS[part]
    return {name: registry.load(table, name).Config for name in sorted(table)}


def _one_of(found: Iterable[type[ComponentConfig]]) -> Any:
    several = (*found,)
    return several[0] if len(several) == 1 else Annotated[reduce(or_, several), Field(discriminator="name")]


def _file(top: Schema, components: Mapping[str, Mapping[str, type[ComponentConfig]]]) -> Schema:
    """The top level of a file: whole where it has a name and extends nothing."""
    extends = {
        "description": "A file to inherit from, or several; the later ones and this file have the last word.",
        "anyOf": [
            {"type": "string", "minLength": 1},
            {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1},
        ],
    }
    whole = {
        "required": top.pop("required"),
        "properties": {part: _whole_component(found) for part, found in components.items()},
    }
    return {
        **top,
        "properties": {"extends": extends, **top["properties"]},
        "if": {"required": ["name"], "not": {"required": ["extends"]}},
        "then": whole,
    }


def _whole_component(found: Mapping[str, type[ComponentConfig]]) -> Schema:
    required = {
        name: [key for key, field in component.model_fields.items() if field.is_required()]
        for name, component in found.items()
    }
    rules = [if_named(name, {"required": keys}) for name, keys in required.items() if keys]
    return {"required": ["name"], **({"allOf": rules} if rules else {})}


def _drop_required(definitions: dict[str, Schema], top: Schema, inherited: set[str]) -> None:
    """Requires nothing of a mapping, which may be merged with another one; an item of a list is whole.

    Args:
        definitions: What the schema defines.
        top: The top level, which uses the definitions.
        inherited: The components that a stage takes from the top.
    """
    items = {*_items_of_lists([top, *definitions.values()])}
    for name, definition in definitions.items():
        required = definition.pop("required", [])
        if name in items:
            properties = definition["properties"]
            definition["required"] = [key for key in required if _referenced(properties[key]) not in inherited]


def _items_of_lists(node: Any) -> Iterator[str]:
    """Yields the names of the definitions that items of lists refer to."""
    if isinstance(node, dict) and isinstance(node.get("items"), dict):
        yield _referenced(node["items"])
    for inner in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from _items_of_lists(inner)


class _ParameterGenerator(SchemaGenerator):
    """Writes the schemas of transforms, some of whose parameters are no JSON."""

    def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> Schema:
        """Takes anything."""
        return {}


def _transforms() -> dict[str, Schema]:
    """The entries of `augment`: each transform by its name, with its parameters."""
    names = available()
    definitions = {f"{_TRANSFORM}.{name}": _transform(name, text) for name, text in names.items()}
    entry = chosen_by_name({name: {"$ref": f"{REFERENCE}{_TRANSFORM}.{name}"} for name in names}, names)
    return {_TRANSFORM: {**entry, **entry.pop("then"), "required": ["name"]}, **definitions}


def _transform(name: str, text: str) -> Schema:
    cls: Any = classes()[name]
    texts = documented(cls.__doc__, "Args")
    typed = cls.InitSchema.model_json_schema(schema_generator=_ParameterGenerator)["properties"]
    properties: Schema = {"name": {"const": name}}
    required = ["name"]
    for key, parameter in inspect.signature(cls).parameters.items():
        if key == "strict":
            continue
        schema = {word: value for word, value in typed.get(key, {}).items() if word != "default"}
        if key in texts:
            # The first sentence; the rest speaks of Python.
            schema["description"] = re.split(r"(?<=\.)\s+(?=[A-Z*(-])", texts[key])[0]
        if parameter.default is parameter.empty:
            required.append(key)
        else:
            schema["default"] = to_jsonable_python(parameter.default)
        properties[key] = _in_words(schema, NAMED_NUMBERS[key]) if key in NAMED_NUMBERS else schema
    return {
        "type": "object",
        "description": text,
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def _in_words(node: Any, table: Mapping[str, int]) -> Any:
    """Puts names in the place of the numbers that OpenCV gives them."""
    if isinstance(node, dict):
        return {key: _in_words(value, table) for key, value in node.items() if (key, value) != ("type", "integer")}
    if isinstance(node, list):
        words = [_in_words(item, table) for item in node]
        return [word for word in words if not isinstance(word, int)]
    return next((name for name, number in table.items() if number == node), node)
