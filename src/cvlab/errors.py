"""What a user may see when something is wrong: one clear message, never a traceback."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from cvlab.text import printable


class CvlabError(Exception):
    """An expected failure. Its text says what, where, what was expected and what to do next."""

    exit_code = 2


MOST_PROBLEMS = 200


class ConfigError(CvlabError):
    """Everything that is wrong with a configuration, one line a problem; the text shows the first of very many."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = list(problems)
        count = len(self.problems)
        head = "The configuration has a problem:" if count == 1 else f"The configuration has {count} problems:"
        super().__init__("\n".join([head, listing(self.problems, limit=MOST_PROBLEMS)]))

    def below(self, key: str) -> ConfigError:
        """Returns the same problems of keys that stand below `key`."""
        return ConfigError([f"{key}.{problem}" for problem in self.problems])


class DataError(CvlabError):
    """The data cannot be used as it is."""


class RunFolderError(CvlabError):
    """A run folder is missing, incomplete or damaged."""


class WriteError(RunFolderError, OSError):
    """A file cannot be written: the disk is full, read-only, or gone. Nothing half-written is left."""


class CompareError(CvlabError):
    """Runs cannot be compared: they answer different questions, or were tested on different samples."""


class TrainingError(CvlabError):
    """Training cannot go on (for example, the loss is no longer a number)."""


class Interrupted(CvlabError):
    """The user or the system asked the training to stop; its state is saved."""

    def __init__(self, message: str, *, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def did_you_mean(received: object, valid: Iterable[str]) -> str:
    """Returns `"; did you mean 'x'?"` for the valid name nearest to `received`, or an empty string."""
    near = get_close_matches(str(received), list(valid), n=1, cutoff=0.6)
    return f"; did you mean '{near[0]}'?" if near else ""


def listing(items: Sequence[str], *, limit: int = 20) -> str:
    """Returns `items` one to a line, indented, cut after `limit` with the count of the rest.

    Names of files may hold anything: a character that cannot be printed is shown as its escape.
    """
    lines = [f"  {printable(item)}" for item in items[:limit]]
    if len(items) > limit:
        lines.append(f"  ... and {len(items) - limit} more")
    return "\n".join(lines)


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """Returns a count with its noun: `counted(2, "image")` is `"2 images"`."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"
