"""Strict YAML: the line of every key is known, duplicate keys are errors, `1e-3` is a number.

Scalars follow YAML 1.2's core schema, which is what people mean: `on`, `yes` and `12:30` are text,
`true` and `false` are booleans, `1e-3` is a float.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import yaml

from cvlab.errors import ConfigError

Key = tuple[str | int, ...]

MAX_BYTES = 1_000_000
MAX_NODES = 100_000
MAX_DEPTH = 50

_TAG = "tag:yaml.org,2002:"
_PATTERNS = {
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "bool": (r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    "int": (r"[-+]?[0-9]+", list("-+0123456789")),
    "float": (
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
}
_CONSTRUCT: dict[str, Callable[[str], Any]] = {
    "str": str,
    "null": lambda text: None,
    "bool": lambda text: {"true": True, "false": False}[text.lower()],
    "int": int,
    "float": lambda text: float(re.sub(r"\.(?=inf|nan)", "", text.lower())),
}


class _CoreSchemaLoader(yaml.SafeLoader):
    """A safe loader with the scalars of YAML 1.2's core schema."""

    yaml_implicit_resolvers: ClassVar[dict[str, list[tuple[str, re.Pattern[str]]]]] = {}


for _tag, (_pattern, _first) in _PATTERNS.items():
    _CoreSchemaLoader.add_implicit_resolver(_TAG + _tag, re.compile(rf"^(?:{_pattern})$"), _first)


@dataclass
class Document:
    """A mapping read from YAML, with the place of each key and what is wrong with the text."""

    value: dict[str, Any]
    places: dict[Key, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


class _Reader:
    def __init__(self, origin: str) -> None:
        self.origin = origin
        self.places: dict[Key, str] = {}
        self.problems: list[str] = []
        self.nodes = 0

    def place(self, node: yaml.Node) -> str:
        return f"{self.origin}:{node.start_mark.line + 1}"

    def read(self, node: yaml.Node, key: Key, above: tuple[int, ...]) -> Any:
        self.nodes += 1
        if id(node) in above:
            raise ConfigError([f"{self.place(node)}: expected plain values, received an alias that contains itself."])
        if self.nodes > MAX_NODES or len(above) > MAX_DEPTH:
            raise ConfigError(
                [f"{self.place(node)}: expected at most {MAX_NODES:,} values, {MAX_DEPTH} levels deep; received more."]
            )
        self.places.setdefault(key, self.place(node))
        if isinstance(node, yaml.MappingNode) and node.tag == f"{_TAG}map":
            return self.mapping(node, key, (*above, id(node)))
        if isinstance(node, yaml.SequenceNode) and node.tag == f"{_TAG}seq":
            return [self.read(item, (*key, i), (*above, id(node))) for i, item in enumerate(node.value)]
        return self.scalar(node)

    def mapping(self, node: yaml.MappingNode, key: Key, above: tuple[int, ...]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        lines: dict[str, int] = {}
        for name_node, value_node in node.value:
            if not isinstance(name_node, yaml.ScalarNode):
                self.problems.append(f"{self.place(name_node)}: expected a plain key, received a list or mapping.")
                continue
            name = str(name_node.value)
            if name in result:
                dotted = dotted_key((*key, name))
                self.problems.append(
                    f"{self.place(name_node)}: {dotted}: duplicate key, already given in line {lines[name]}; "
                    "keep one of the two."
                )
                continue
            lines[name] = name_node.start_mark.line + 1
            self.places[(*key, name)] = self.place(name_node)
            result[name] = self.read(value_node, (*key, name), above)
        return result

    def scalar(self, node: yaml.Node) -> Any:
        construct = _CONSTRUCT.get(node.tag.removeprefix(_TAG))
        if construct is None:
            self.problems.append(f"{self.place(node)}: expected a plain value, received the tag '{node.tag}'.")
            return None
        try:
            return construct(node.value)
        except (ValueError, KeyError):
            self.problems.append(f"{self.place(node)}: '{node.value}' cannot be read as {node.tag.split(':')[-1]}.")
            return None


def _compose(text: str, origin: str) -> yaml.Node | None:
    try:
        return yaml.compose(text, Loader=_CoreSchemaLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        what = error.problem or "is no YAML"
        if "'\\t'" in what:
            what = "a tab indents this line; YAML wants spaces"
        elif "expected a single document" in str(error):
            what = "expected one document, received several ('---'); keep one"
        raise ConfigError([f"{origin}:{line}: {what}."]) from error
    except yaml.YAMLError as error:
        raise ConfigError([f"{origin}: is no YAML ({error})."]) from error
    except RecursionError as error:
        raise ConfigError([f"{origin}: expected at most {MAX_DEPTH} levels, received more."]) from error


def parse_value(text: str, *, origin: str) -> Any:
    """Reads one YAML value (scalar, list or mapping), as in `key=value` on the command line.

    Raises:
        ConfigError: `text` is no YAML.
    """
    node = _compose(text, origin)
    if node is None:
        return None
    reader = _Reader(origin)
    value = reader.read(node, (), ())
    if reader.problems:
        raise ConfigError(reader.problems)
    return value


def read_document(path: Path, *, shown: str | None = None) -> Document:
    """Reads a YAML file whose top level is a mapping; duplicate keys and odd tags are its `problems`.

    Args:
        path: The file.
        shown: How messages name the file; its path if not given.

    Raises:
        ConfigError: The file is missing, empty, too large, no YAML or no mapping.
    """
    origin = shown or str(path)
    text = _read_text(path, origin)
    node = _compose(text, origin)
    if node is None:
        raise ConfigError([f"{origin}: is empty; expected keys such as `name:`, `data:` and `model:`."])
    if not isinstance(node, yaml.MappingNode):
        raise ConfigError(
            [f"{origin}:{node.start_mark.line + 1}: expected a mapping (`key: value` lines), received {_kind(node)}."]
        )
    reader = _Reader(origin)
    return Document(reader.read(node, (), ()), reader.places, reader.problems)


def _read_text(path: Path, origin: str) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError([f"{origin}: expected a configuration of at most {MAX_BYTES:,} bytes."])
        return path.read_text(encoding="utf-8")
    except IsADirectoryError as error:
        raise ConfigError([f"{origin}: expected a YAML file, received a folder."]) from error
    except OSError as error:
        raise ConfigError([f"{origin}: cannot be read ({error.strerror}). Check the path."]) from error
    except UnicodeDecodeError as error:
        raise ConfigError([f"{origin}: expected text in UTF-8, received other bytes."]) from error


def _kind(node: yaml.Node) -> str:
    return "a list" if isinstance(node, yaml.SequenceNode) else "a single value"


def dotted_key(key: Key) -> str:
    """Returns `stages.0.epochs` for `("stages", 0, "epochs")`."""
    return ".".join(str(part) for part in key)


def to_yaml(value: Mapping[str, Any]) -> str:
    """Writes a mapping as YAML that `read_document` reads back to the same values.

    Text that the core schema would read as something else is quoted, numbers keep every digit.
    """
    return yaml.dump(value, Dumper=_CoreSchemaDumper, sort_keys=False, allow_unicode=True, width=110)


class _CoreSchemaDumper(yaml.SafeDumper):
    """Short lists on one line, text quoted when either schema would misread it."""


def _represent_sequence(dumper: yaml.SafeDumper, value: list[Any]) -> yaml.Node:
    plain = all(not isinstance(item, (list, dict)) for item in value)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", value, flow_style=plain)


def _represent_text(dumper: yaml.SafeDumper, value: str) -> yaml.Node:
    number_like = any(re.fullmatch(pattern, value) for pattern, _ in _PATTERNS.values())
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="'" if number_like else None)


_CoreSchemaDumper.add_representer(list, _represent_sequence)
_CoreSchemaDumper.add_representer(str, _represent_text)
