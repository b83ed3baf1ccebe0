"""One thing that is wrong with a configuration: where it stands, under which key, and what it is."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from cvlab.errors import ConfigError
from cvlab.text import printable

Key = tuple[str | int, ...]

MAX_SHOWN = 80


class Place(NamedTuple):
    """Where something was written: a file and its line; line 0 means the command line or a file as a whole."""

    origin: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.origin}:{self.line}" if self.line else self.origin


class Problem(NamedTuple):
    """What is wrong: `file:line: dotted.key: expected ..., received ...; did you mean ...?`."""

    place: Place
    key: Key
    message: str

    def __str__(self) -> str:
        where = f"{self.place}: {dotted_key(self.key)}" if self.key else str(self.place)
        return printable(f"{where}: {self.message}{'' if self.message.endswith('?') else '.'}")


class Refused(ConfigError):
    """What makes it useless to look further; `found` are its problems with their places."""

    def __init__(self, found: Sequence[Problem]) -> None:
        super().__init__([str(problem) for problem in found])
        self.found = list(found)


def dotted_key(key: Key) -> str:
    """Returns `stages.0.epochs` for `("stages", 0, "epochs")`; a part that could be misread is quoted."""
    return ".".join(_plain(str(part)) for part in key)


def shown(value: Any) -> str:
    """Returns a received value on one line as it would stand in YAML, shortened."""
    text = _flow(value)
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "..."


def _flow(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_plain(str(key))}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if isinstance(value, float) and not math.isfinite(value):
        return ".nan" if math.isnan(value) else f"{'-' if value < 0 else ''}.inf"
    return repr(value)


def _plain(text: str) -> str:
    text = text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 3]}..."
    return text if text.isprintable() and re.fullmatch(r"[^\s.:,'\"{}\[\]]+", text) else repr(text)
