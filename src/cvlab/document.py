"""The content of a report, whatever form it is written in, and its form as Markdown.

Texts are Markdown of one line, as `report_text.md` and `code` make it: escaped, with bold, code and links. What
`Bullets`, `Alert` and `Code` hold is plain text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from cvlab.report_text import cell, longest_ticks, md
from cvlab.text import printable


@dataclass(frozen=True)
class Paragraph:
    """A paragraph of text."""

    text: str


@dataclass(frozen=True)
class Quote:
    """A remark that is set off from the text."""

    text: str


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        head: The names of the columns; all empty where each row is a name and its value.
        rows: The cells, as many a row as `head` has.
        text_columns: So many columns from the left are text, the others numbers.
        foot: Rows that stay last however the table is sorted, such as sums.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    text_columns: int = 1
    foot: Sequence[Sequence[str]] = ()


@dataclass(frozen=True)
class Bullets:
    """A list of plain texts."""

    items: Sequence[str]


@dataclass(frozen=True)
class Code:
    """Lines of plain text that stay as they are, such as a configuration or a command."""

    text: str
    language: str = ""


@dataclass(frozen=True)
class Alert:
    """What nobody may overlook: a title and a list, both plain text."""

    title: str
    items: Sequence[str]


@dataclass(frozen=True)
class Picture:
    """A picture.

    Attributes:
        path: Of the file, relative to the document's folder.
        caption: What it shows.
        alt: What is seen on it, in plain text, for those who cannot see it; empty where the caption says it all.
    """

    path: str
    caption: str
    alt: str = ""


@dataclass(frozen=True)
class Pictures:
    """Pictures that belong together."""

    pictures: Sequence[Picture]


Block = Paragraph | Quote | Table | Bullets | Code | Alert | Pictures


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it.

    Attributes:
        heading: Its text.
        blocks: In order.
        level: 2, or 3 for a part of the last section of level 2.
        anchor: What links name it by; empty for that which Markdown viewers make of the heading.
    """

    heading: str
    blocks: Sequence[Block]
    level: int = 2
    anchor: str = ""


@dataclass(frozen=True)
class Document:
    """A whole report.

    Attributes:
        title: Its heading.
        opening: What stands before the first section.
        sections: In order.
    """

    title: str
    opening: Sequence[Block]
    sections: Sequence[Section]


def to_markdown(document: Document) -> str:
    """Returns the document as Markdown."""
    parts = [f"# {document.title}", *map(block_markdown, document.opening)]
    for section in document.sections:
        parts += [f"{'#' * section.level} {section.heading}", *map(block_markdown, section.blocks)]
    return "\n\n".join(parts) + "\n"


def block_markdown(block: Block) -> str:
    """Returns one block as Markdown."""
    match block:
        case Paragraph(text):
            return text
        case Quote(text):
            return f"> {text}"
        case Table():
            return _table(block)
        case Bullets(items):
            return "\n".join(f"- {md(item)}" for item in items)
        case Code(text, language):
            # The fence is longer than any run of back quotes in the text.
            fence = "`" * max(3, longest_ticks(text) + 1)
            return f"{fence}{language}\n{text.rstrip()}\n{fence}"
        case Alert(title, items):
            return _alert(title, items)
        case Pictures(pictures):
            return "\n\n".join(f"![{picture.caption}]({picture.path})" for picture in pictures)


def _table(table: Table) -> str:
    rule = [*["---"] * table.text_columns, *["---:"] * (len(table.head) - table.text_columns)]
    rows = (table.head, rule, *table.rows, *table.foot)
    return "\n".join(f"| {' | '.join(map(cell, row))} |" for row in rows)


def _alert(title: str, items: Sequence[str]) -> str:
    lines = "\n".join(f"<li>{escape(printable(item))}</li>" for item in items)
    return f'<p style="color:red"><b>{escape(title)}</b></p>\n<ul style="color:red">\n{lines}\n</ul>'
