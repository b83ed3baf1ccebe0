"""Puts a configuration together: a file, what it extends, and `key=value` words of the command line."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cvlab.errors import did_you_mean
from cvlab.problems import Key, Place, Problem, Refused, dotted_key, shown
from cvlab.yaml_file import MAX_BYTES, Document, parse_value, read_document

COMMAND_LINE = "command line"
# Files may extend each other in a net, which has many more paths than files.
MAX_READ = 100
# Mappings whose keys are data, not settings: to take one out or to order them anew must be possible.
WHOLE = ("class_weights", "classes", "numbers", "table")


def read_with_bases(path: Path) -> Document:
    """Reads a YAML file and everything it extends; later bases and the file itself have the last word.

    Raises:
        ConfigError: A file cannot be read, or `extends` names none or goes in a circle.
    """
    return _read(path, (), asked_by=None, sizes=[])


def _read(path: Path, above: tuple[str, ...], *, asked_by: Place | None, sizes: list[int]) -> Document:
    identity = os.path.realpath(path)
    if identity in above and asked_by:
        circle = " -> ".join(Path(name).name for name in (*above[above.index(identity) :], identity))
        raise _refused(asked_by, f"expected files that do not extend each other in a circle, received {circle}")
    if asked_by and not os.path.isfile(path):  # Path.is_file raises for names that are too long.
        near = did_you_mean(
            path.name, [item.name for item in path.parent.glob("*.yaml") if str(item) != asked_by.origin]
        )
        raise _refused(asked_by, f"expected a YAML file, received '{path}', which is no file{near}")
    if asked_by:
        sizes.append(path.stat().st_size)
        if len(sizes) > MAX_READ or sum(sizes) > MAX_BYTES:
            limits = f"expected at most {MAX_READ} files to be read, of {MAX_BYTES:,} bytes in all"
            raise _refused(asked_by, f"{limits}, received more")
    document = read_document(path)
    if "extends" not in document.value:
        return document
    place = document.places[("extends",)]
    bases = _base_names(document.value.pop("extends"), place)
    merged, refused = Document({}), []
    for base in bases:
        try:
            inherited = _read(path.parent / base, (*above, identity), asked_by=place, sizes=sizes)
            merged = _merge_documents(merged, inherited)
        except Refused as error:
            refused += [problem for problem in error.found if problem not in refused]
    if refused:
        # Without its bases, everything else would seem to be missing.
        raise Refused([*refused, *document.problems])
    return _merge_documents(merged, document)


def _refused(place: Place, message: str) -> Refused:
    return Refused([Problem(place, ("extends",), message)])


def _base_names(value: Any, place: Place) -> list[str]:
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
        raise _refused(place, f"expected a file name or a list of them, received {shown(value)}")
    return names


def _merge_documents(base: Document, over: Document) -> Document:
    value = merge_keys(base.value, over.value)
    places = {key: place for key, place in base.places.items() if _has(value, key)} | over.places
    return Document(value, places, [*base.problems, *over.problems], base.unread | over.unread)


def merge(base: Any, over: Any) -> Any:
    """Lays `over` on `base`: mappings key by key, anything else whole.

    A component whose `name` changes is taken whole too: the settings of one mean nothing to another.
    """
    if not isinstance(base, dict) or not isinstance(over, dict):
        return over
    if "name" in base and over.get("name", base["name"]) != base["name"]:
        return over
    return merge_keys(base, over)


def merge_keys(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Lays `over` on `base` key by key, whatever their names."""
    merged = {key: merge(base[key], value) for key, value in over.items() if key in base and key not in WHOLE}
    return {**base, **over, **merged}


def _has(value: Any, key: Key) -> bool:
    for part in key:
        inside = (isinstance(value, dict) and part in value) or (
            isinstance(value, list) and isinstance(part, int) and part < len(value)
        )
        if not inside:
            return False
        value = value[part]
    return True


def override(document: Document, words: Sequence[str]) -> None:
    """Sets what `key=value` words say; what is wrong with a word becomes a problem of the document."""
    for word in words:
        name, equals, text = word.partition("=")
        try:
            if not equals or not name:
                raise _unusable((), f"expected key=value (for example stages.0.epochs=8), received {shown(word)}")
            parts = name.split(".")
            if not all(part.isprintable() and part for part in parts):
                raise _unusable((), f"expected a dotted key (for example stages.0.epochs), received {shown(name)}")
            if parts[0] == "extends":
                raise _unusable(("extends",), "expected in a YAML file only, received on the command line")
            _set(document, parts, text)
        except Refused as error:
            document.problems += error.found


def _unusable(key: Key, message: str) -> Refused:
    return Refused([Problem(Place(COMMAND_LINE), key, message)])


def _set(document: Document, parts: Sequence[str], text: str) -> None:
    value = parse_value(text, origin=COMMAND_LINE, key=tuple(parts))
    holder: Any = document.value
    key: Key = ()
    for depth, part in enumerate(parts):
        key = (*key, _step(holder, key, part))
        if depth == len(parts) - 1:
            holder[key[-1]] = value
        elif isinstance(holder, dict) and holder.get(part) is None:
            holder[part] = {}
            document.places[key] = Place(COMMAND_LINE)
        holder = holder[key[-1]]
    document.places = {known: place for known, place in document.places.items() if known[: len(key)] != key}
    document.places[key] = Place(COMMAND_LINE)
    if isinstance(key[-1], int):
        # A fault of the list as a whole (an image size too small) now comes from here too.
        document.places[key[:-1]] = Place(COMMAND_LINE)


def _step(holder: Any, above: Key, part: str) -> str | int:
    """Returns `part` as a key of `holder`: the index of a list, or the name in a mapping."""
    if isinstance(holder, dict):
        return part
    key = (*above, part)
    if not isinstance(holder, list):
        raise _unusable(key, f"expected a mapping at '{dotted_key(above)}', received {shown(holder)}")
    if not holder:
        raise _unusable(key, f"expected a key that is set, received an index of '{dotted_key(above)}', which is empty")
    if not part.isascii() or not part.isdigit() or int(part) >= len(holder):
        count = f"an index from 0 to {len(holder) - 1}" if len(holder) > 1 else "the index 0"
        raise _unusable(key, f"expected {count}, received '{part}'")
    return int(part)
