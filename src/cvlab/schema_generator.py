"""Settings classes as JSON Schema: draft-07, with the texts of docstrings, and components chosen by name."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonRef
from pydantic_core import core_schema

from cvlab import registry
from cvlab.config import ComponentConfig, DataConfig
from cvlab.config_training import StageTraining

Schema = dict[str, Any]

REFERENCE = "#/definitions/"


class SchemaGenerator(GenerateJsonSchema):
    """Writes the schemas of settings classes: draft-07, with the texts of docstrings, and a choice by name."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        """Leaves out titles, which repeat the keys."""
        return False

    def model_schema(self, schema: core_schema.ModelSchema) -> Schema:
        """Adds descriptions, and the names that a key may hold."""
        settings: type[BaseModel] = schema["cls"]
        result = super().model_schema(schema)
        del result["title"]
        result["description"] = _description(settings)
        texts = _attributes(settings)
        for key, value in result["properties"].items():
            if key in texts:
                value["description"] = texts[key]
            if value.get("default") == {}:
                del value["default"]
            _only(value, _names(key, settings))
            if "$ref" in value and len(value) > 1:
                # Draft-07 leaves out what stands beside a reference.
                result["properties"][key] = {"type": "object", "allOf": [{"$ref": value.pop("$ref")}], **value}
        return result

    def function_before_schema(self, schema: core_schema.BeforeValidatorFunctionSchema) -> Schema:
        """Takes anything where a validator comes before the type, unless it says what it takes."""
        return super().function_before_schema(schema) if "json_schema_input_schema" in schema else {}

    def tuple_schema(self, schema: core_schema.TupleSchema) -> Schema:
        """Writes a list of fixed length in the form of draft-07."""
        result = super().tuple_schema(schema)
        items = result.pop("prefixItems", None)
        if items is not None:
            result["items"] = items[0] if all(item == items[0] for item in items) else items
        return result

    def tagged_union_schema(self, schema: core_schema.TaggedUnionSchema) -> Schema:
        """Writes the keys of what `name` names; without it, since it may be inherited, the keys of all."""
        references = {str(name): self.generate_inner(choice) for name, choice in schema["choices"].items()}
        members = {name: self.get_schema_from_definitions(JsonRef(it["$ref"])) for name, it in references.items()}
        found = {name: member for name, member in members.items() if member is not None}
        chosen = chosen_by_name(references, {name: member["description"] for name, member in found.items()})
        return chosen | {"if": {"required": ["name"]}, "else": _merged(found)}

    def encode_default(self, dft: Any) -> Any:
        """Writes a default group of settings without the defaults in it."""
        if not isinstance(dft, BaseModel):
            return super().encode_default(dft)
        name = getattr(dft, "name", None)
        return ({} if name is None else {"name": name}) | dft.model_dump(mode="json", exclude_unset=True)


def chosen_by_name(references: Mapping[str, Schema], descriptions: Mapping[str, str]) -> Schema:
    """Returns the schema of a mapping whose `name` decides what else it holds.

    Args:
        references: What each name stands for.
        descriptions: What editors show beside each name, in the same order.
    """
    return {
        "type": "object",
        "properties": {"name": {"enum": [*references], "enumDescriptions": [*descriptions.values()]}},
        "then": {"allOf": [if_named(name, reference) for name, reference in references.items()]},
    }


def if_named(name: str, then: Schema) -> Schema:
    """Returns a schema that asks `then` of a mapping with this name, and nothing of others."""
    return {"if": {"type": "object", "properties": {"name": {"const": name}}, "required": ["name"]}, "then": then}


def _merged(members: Mapping[str, Schema]) -> Schema:
    """A mapping with the keys of all members; a default stands where all agree on it."""
    versions: dict[str, list[Schema]] = {}
    for member in members.values():
        for key, schema in member["properties"].items():
            if key != "name" and schema not in versions.setdefault(key, []):
                versions[key].append(schema)
    properties = {key: found[0] if len(found) == 1 else _any_of(found) for key, found in versions.items()}
    return {"properties": properties, "additionalProperties": False}


def _any_of(found: Iterable[Schema]) -> Schema:
    distinct: list[Schema] = []
    for schema in found:
        plain = {key: value for key, value in schema.items() if key != "default"}
        if plain not in distinct:
            distinct.append(plain)
    return distinct[0] if len(distinct) == 1 else {"anyOf": distinct}


def _only(schema: Schema, names: Collection[str]) -> None:
    """Lets a text be one of `names`, if there are any."""
    for item in schema.get("anyOf", [schema]):
        if names and item.get("type") == "string":
            item["enum"] = [*names]


def _names(key: str, settings: type[BaseModel]) -> Collection[str]:
    """The names that the registry knows for a key that is declared as text."""
    if key == "sample" and issubclass(settings, DataConfig):
        return sorted(registry.SYNTHETIC.get(settings.model_fields["name"].default, {}))
    if key == "monitor" and issubclass(settings, StageTraining):
        tasks = [registry.load(registry.TASKS, name).Config for name in sorted(registry.TASKS)]
        return dict.fromkeys(f"val_{name}" for task in tasks for name in task.monitors)
    return ()


def _description(settings: type[BaseModel]) -> str:
    """What a settings class is; of a component, what its module says it is."""
    component = issubclass(settings, ComponentConfig)
    text = inspect.cleandoc((sys.modules[settings.__module__] if component else settings).__doc__ or "")
    paragraph = text.partition("\n\nAttributes:")[0]
    return re.sub(r"(?<!\n)\n(?!\n)", " ", paragraph.partition("\n\n")[0] if component else paragraph)


def _attributes(settings: type[BaseModel]) -> dict[str, str]:
    """What the docstrings of a class and of those above it say of their attributes."""
    owners = [documented(owner.__doc__, "Attributes") for owner in reversed(settings.__mro__)]
    return {key: text for found in owners for key, text in found.items()}


def documented(text: str | None, section: str) -> dict[str, str]:
    """Reads the entries of a section of a docstring (`Attributes` or `Args`), each on one line."""
    found = re.search(rf"^{section}:\n((?:[ ]+.*\n?|\n)*)", inspect.cleandoc(text or ""), re.MULTILINE)
    entry = re.compile(r"^ {4}(\w+)(?: \(.*?\))?:\s*(.*?)\s*(?=^ {4}\w|\Z)", re.MULTILINE | re.DOTALL)
    return {name: " ".join(words.split()) for name, words in entry.findall(found[1] if found else "")}
