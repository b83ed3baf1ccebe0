"""Text that comes from data, made fit to be shown."""

from __future__ import annotations

import unicodedata

# Controls (line breaks, escapes, NUL), line and paragraph separators, halves of characters.
_CONTROLS = frozenset({"Cc", "Zl", "Zp", "Cs"})


def printable(text: str) -> str:
    r"""Returns `text` on one line: a character that cannot be printed becomes its escape, such as `\n`."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def printable_lines(text: str) -> str:
    r"""Returns `text` with its lines kept: what else cannot be printed becomes its escape.

    Control characters and marks that turn the direction of text would let a name change what a terminal shows.
    """
    return "\n".join(map(printable, text.split("\n")))


def has_control(text: str) -> bool:
    """Whether `text` holds a character that is none of a word: a line break, an escape, half a character."""
    return any(unicodedata.category(character) in _CONTROLS for character in text)


def duration(seconds: float) -> str:
    """Returns `45 s`, `3 min 05 s` or `2 h 10 min`."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
