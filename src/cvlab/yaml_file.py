"""Strict YAML: the line of every key is known, duplicate keys are errors, `1e-3` is a number.

Scalars follow YAML 1.2's core schema in decimal, which is what people mean: `on`, `yes` and `12:30` are text,
`true` and `false` are booleans, `1e-3` is a float.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from yaml.reader import ReaderError

from cvlab.bounded_file import read_bounded
from cvlab.problems import Key, Place, Problem, Refused
from cvlab.problems import shown as shown_value

MAX_BYTES = 250_000
MAX_NODES = 20_000
MAX_DEPTH = 50
_LIMITS = f"expected at most {MAX_NODES:,} values, {MAX_DEPTH} levels deep"

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
# What PyYAML says about common mistakes, and what helps the reader.
_SYNTAX = {
    "mapping values are not allowed": "expected one `key: value` a line, received a second ':'; "
    "check the indentation, or put text that holds ':' in quotes",
    "could not find expected ':'": "expected `key: value`, received no ':' after the key",
    "expected <block end>": "expected the indentation of the lines above, received another",
    "expected a single document": "expected one document, received several ('---'); keep one",
    "while scanning a quoted scalar": "expected the closing quote, received the end of the text",
    r"character '\t'": "expected spaces, received a tab",
    "cannot start any token": "expected a value, received a character with a meaning in YAML; put the text in quotes",
}


class _TooMuch(yaml.MarkedYAMLError):
    """More values than a configuration has."""


class _CoreSchemaLoader(yaml.SafeLoader):
    """A safe loader with the scalars of YAML 1.2's core schema, and no more values than a configuration has."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.composed = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self.composed += 1
        if self.composed > MAX_NODES:
            raise _TooMuch(problem=f"{_LIMITS}, received more", problem_mark=parent.start_mark if parent else None)
        return super().compose_node(parent, index)


_CoreSchemaLoader.yaml_implicit_resolvers = {}
for _tag, (_pattern, _first) in _PATTERNS.items():
    _CoreSchemaLoader.add_implicit_resolver(_TAG + _tag, re.compile(rf"^(?:{_pattern})\Z"), _first)


@dataclass
class Document:
    """A mapping read from YAML, with the place of each key and what is wrong with the text.

    The values of the keys in `unread` are not known, and stand as null.
    """

    value: dict[str, Any]
    places: dict[Key, Place] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    unread: set[Key] = field(default_factory=set)


class _Reader:
    """Turns text into values, places and problems; `top` is the key under which the text stands."""

    def __init__(self, origin: str, *, top: Key = (), numbered: bool = True) -> None:
        self.origin = origin
        self.top = top
        self.numbered = numbered
        self.places: dict[Key, Place] = {}
        self.problems: list[Problem] = []
        self.unread: set[Key] = set()
        self.nodes = 0

    def place(self, line: int) -> Place:
        return Place(self.origin, line + 1 if self.numbered else 0)

    def refuse(self, message: str, line: int | None = None, key: Key | None = None) -> Refused:
        place = Place(self.origin) if line is None else self.place(line)
        return Refused([Problem(place, self.top if key is None else key, message)])

    def report(self, node: yaml.Node, key: Key, message: str) -> None:
        self.problems.append(Problem(self.place(node.start_mark.line), key, message))

    def compose(self, text: str) -> yaml.Node | None:
        try:
            return yaml.compose(text, Loader=_CoreSchemaLoader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            raise self.refuse(self.syntax(error), mark.line if mark else 0) from error
        except ReaderError as error:
            character = repr(chr(error.character) if isinstance(error.character, int) else error.character)
            message = f"expected printable text, received the character {character}"
            raise self.refuse(message, text.count("\n", 0, error.position)) from error
        except RecursionError as error:
            raise self.refuse(f"expected at most {MAX_DEPTH} levels, received more") from error

    def syntax(self, error: yaml.MarkedYAMLError) -> str:
        said = f"{error.context} {error.problem}"
        for part, message in _SYNTAX.items():
            if part in said:
                return message
        what = re.sub(", but (found|got)", ", received", error.problem or "expected YAML, received other text")
        if "unknown escape" in what:
            what += "; put regular expressions in single quotes"
        what = what.replace("the node content", "a value").replace("'<stream end>'", "the end of the text")
        start, end = error.context_mark, error.problem_mark
        if self.numbered and start and end and start.line < end.line:
            return f"{what}, in what starts in line {start.line + 1}"
        return what

    def read(self, node: yaml.Node, key: Key, above: tuple[int, ...] = ()) -> Any:
        line = node.start_mark.line
        if id(node) in above:
            raise self.refuse("expected plain values, received an alias that contains itself", line, key)
        self.count(node, key, depth=len(above))
        self.places.setdefault(key, self.place(line))
        if isinstance(node, yaml.MappingNode) and node.tag == f"{_TAG}map":
            return self.mapping(node, key, (*above, id(node)))
        if isinstance(node, yaml.SequenceNode) and node.tag == f"{_TAG}seq":
            return [self.read(item, (*key, i), (*above, id(node))) for i, item in enumerate(node.value)]
        return self.scalar(node, key)

    def count(self, node: yaml.Node, key: Key, *, depth: int = 0) -> None:
        self.nodes += 1
        if self.nodes > MAX_NODES or depth > MAX_DEPTH:
            raise self.refuse(f"{_LIMITS}, received more", node.start_mark.line, key[: len(self.top) + 3])

    def mapping(self, node: yaml.MappingNode, key: Key, above: tuple[int, ...]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for name_node, value_node in node.value:
            self.count(name_node, key)
            if not isinstance(name_node, yaml.ScalarNode):
                self.report(name_node, key, "expected a plain key, received a list or mapping")
                continue
            name = str(name_node.value)
            inner = (*key, name)
            if not _is_text(name):
                self.report(name_node, inner, "expected a key of Unicode characters, received others")
            elif name in result:
                first = f"in line {self.places[inner].line}" if self.numbered else "before"
                self.report(name_node, inner, f"duplicate key, already given {first}; keep one of the two")
            else:
                self.places[inner] = self.place(name_node.start_mark.line)
                result[name] = self.read(value_node, inner, above)
        return result

    def scalar(self, node: yaml.Node, key: Key) -> Any:
        tag = node.tag.removeprefix(_TAG)
        construct = _CONSTRUCT.get(tag)
        written = shown_value(node.tag if tag == node.tag else f"!!{tag}")
        value, wrong = None, ""
        try:
            if construct is None:
                wrong = f"expected a plain value, received the tag {written}"
            else:
                value = construct(node.value)
        except (ValueError, KeyError):
            wrong = f"expected a value that {written} fits, received {shown_value(node.value)}"
        if isinstance(value, str) and not _is_text(value):
            wrong = f"expected Unicode text, received {shown_value(value)}"
        if not wrong:
            return value
        self.report(node, key, wrong)
        self.unread.add(key)
        return None


def _is_text(text: str) -> bool:
    """Whether `text` can be written to a file and used in a path: no NUL, no half of a character."""
    return not re.search("[\0\ud800-\udfff]", text)


def parse_value(text: str, *, origin: str, key: Key = ()) -> Any:
    """Reads one YAML value (scalar, list or mapping), as in `key=value` on the command line.

    Args:
        text: The value.
        origin: How messages name the place of the text.
        key: The key that the value is for.

    Raises:
        ConfigError: `text` is no YAML.
    """
    reader = _Reader(origin, top=key, numbered=False)
    node = reader.compose(text)
    value = None if node is None else reader.read(node, key)
    if reader.problems:
        raise Refused(reader.problems)
    return value


def read_document(path: Path, *, shown: str | None = None) -> Document:
    """Reads a YAML file whose top level is a mapping; duplicate keys and odd tags are its `problems`.

    Args:
        path: The file.
        shown: How messages name the file; its path if not given.

    Raises:
        ConfigError: The file is missing, empty, too large, no YAML or no mapping.
    """
    reader = _Reader(shown or str(path))
    node = reader.compose(_read_text(path, reader))
    if node is None:
        raise reader.refuse("the file is empty; expected keys such as `name:`, `data:` and `model:`")
    if not isinstance(node, yaml.MappingNode):
        kind = "a list" if isinstance(node, yaml.SequenceNode) else "a single value"
        if not node.tag.startswith(_TAG) or node.tag.removeprefix(_TAG) not in (*_CONSTRUCT, "seq"):
            kind = f"the tag {shown_value(node.tag.replace(_TAG, '!!'))}"
        raise reader.refuse(f"expected a mapping (`key: value` lines), received {kind}", node.start_mark.line)
    value = reader.read(node, ())
    return Document(value if isinstance(value, dict) else {}, reader.places, reader.problems, reader.unread)


def _read_text(path: Path, reader: _Reader) -> str:
    try:
        content = read_bounded(path, MAX_BYTES)
    except IsADirectoryError as error:
        raise reader.refuse("expected a YAML file, received a folder") from error
    except FileNotFoundError as error:
        raise reader.refuse("there is no such file; check the path") from error
    except OSError as error:
        if error.errno == errno.EFBIG:
            raise reader.refuse(f"expected a configuration of at most {MAX_BYTES:,} bytes, received more") from error
        raise reader.refuse(f"expected a readable YAML file, received an error ({error.strerror})") from error
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise reader.refuse(
            "expected text in UTF-8, received other bytes", content.count(b"\n", 0, error.start)
        ) from error


def to_yaml(value: Mapping[str, Any]) -> str:
    """Writes a mapping as YAML that `read_document` reads back to the same values.

    Text that the core schema would read as something else is quoted, numbers keep every digit.
    """
    return yaml.dump(value, Dumper=_CoreSchemaDumper, sort_keys=False, allow_unicode=True, width=110)


class _CoreSchemaDumper(yaml.SafeDumper):
    """Short lists on one line, text quoted when either schema would misread it, no anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_sequence(dumper: yaml.SafeDumper, value: list[Any]) -> yaml.Node:
    plain = all(not isinstance(item, (list, dict)) for item in value)
    return dumper.represent_sequence(f"{_TAG}seq", value, flow_style=plain)


def _represent_text(dumper: yaml.SafeDumper, value: str) -> yaml.Node:
    if not value.isprintable():
        # Only double quotes keep every line break and control character as it is.
        return dumper.represent_scalar(f"{_TAG}str", value, style='"')
    number_like = any(re.fullmatch(pattern, value) for pattern, _ in _PATTERNS.values())
    return dumper.represent_scalar(f"{_TAG}str", value, style="'" if number_like else None)


_CoreSchemaDumper.add_representer(list, _represent_sequence)
_CoreSchemaDumper.add_representer(str, _represent_text)
