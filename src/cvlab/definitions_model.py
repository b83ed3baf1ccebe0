"""What a definition of a reported number consists of."""

from __future__ import annotations

import re
from dataclasses import dataclass

TOP_K = "top_<k>_accuracy"
SHARE = "0 to 1, higher is better"
CORRELATION = "-1 to 1, 0 by chance, higher is better"


@dataclass(frozen=True)
class Definition:
    """A number that is reported; all texts are plain.

    Attributes:
        key: Its key in `metrics.json` or in another file of the run.
        label: What the report calls it; `{structure}` and `{group}` stand for what the data call them.
        formula: How it is computed.
        range: The values that it can have.
        source: Where the definition comes from; empty where there is nothing to cite.
        misleads: When it says something else than one may think.
    """

    key: str
    label: str
    formula: str
    range: str
    source: str
    misleads: str

    def named(self, *, structure: str = "the structure", group: str = "group") -> str:
        """Returns the label with what masks show, and what a group is called, in their places."""
        return self.label.replace("{structure}", structure).replace("{group}", group)


@dataclass(frozen=True)
class Group:
    """Numbers that stand together, so that a key means one thing.

    Attributes:
        name: Begins the anchors of its definitions.
        title: Its heading.
        about: Where the numbers stand, and what the letters in their formulas mean.
        definitions: In the order of the documents.
    """

    name: str
    title: str
    about: str
    definitions: tuple[Definition, ...]

    def find(self, key: str) -> Definition | None:
        """Returns the definition of a key; `top_3_accuracy` is that of every k."""
        wanted = TOP_K if re.fullmatch(r"top_\d+_accuracy", key) else key
        return next((definition for definition in self.definitions if definition.key == wanted), None)

    def anchor(self, definition: Definition) -> str:
        """Returns where a document that defines it can be linked to."""
        return f"{self.name}-{re.sub('[<>]', '', definition.key)}".replace("_", "-")
