"""Text that comes from data, made fit to be shown."""

from __future__ import annotations


def printable(text: str) -> str:
    r"""Returns `text` on one line: a character that cannot be printed becomes its escape, such as `\n`."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def duration(seconds: float) -> str:
    """Returns `45 s`, `3 min 05 s` or `2 h 10 min`."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
