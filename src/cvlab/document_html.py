"""A document as one HTML file that needs nothing else: styles, script and pictures are in it, and nothing is loaded.

Every text is escaped by Jinja2; the inline Markdown of texts is rendered by markdown-it without raw HTML. A
Content-Security-Policy allows the one style and the one script of the page by their hashes, and pictures by their data.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Sequence
from functools import cache
from hashlib import sha256
from importlib import resources
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from cvlab.document import Alert, Bullets, Code, Document, Paragraph, Pictures, Quote, Section, Table
from cvlab.document_inline import html_of, isolated, plain_of
from cvlab.document_pictures import page_image
from cvlab.document_tables import page_table
from cvlab.text import printable

POLICY = (
    "default-src 'none'; img-src data:; style-src '{style}'; script-src '{script}'; base-uri 'none'; form-action 'none'"
)
KINDS: dict[type, str] = {
    Paragraph: "paragraph",
    Quote: "quote",
    Table: "table",
    Bullets: "bullets",
    Code: "code",
    Alert: "alert",
    Pictures: "pictures",
}
LONG_CODE = 30


def to_html(document: Document, folder: Path) -> str:
    """Returns the document as one HTML page; the same document and pictures give the same text.

    Args:
        document: The document.
        folder: Where the paths of its pictures begin.

    Raises:
        RunFolderError: A picture is missing or damaged.
    """
    style, script = _asset("document.css"), _asset("document.js")
    page: str = (
        _environment()
        .get_template("document.html")
        .render(
            title=plain_of(document.title),
            heading=html_of(document.title),
            policy=POLICY.format(style=_hash(style), script=_hash(script)),
            style=Markup(style),
            script=Markup(script),
            opening=document.opening,
            sections=[*zip(document.sections, anchors(document.sections), strict=True)],
            image=lambda picture: page_image(folder / picture.path),
        )
    )
    return page


def anchors(sections: Sequence[Section]) -> list[str]:
    """Returns the anchor of each section: its own, or that which Markdown viewers make of its heading; all different.

    A second heading of the same text gets `-1`, a third `-2`, as on GitHub.
    """
    taken: set[str] = set()
    found = []
    for section in sections:
        anchor = wanted = section.anchor or slug(plain_of(section.heading))
        number = 0
        while anchor in taken:
            number += 1
            anchor = f"{wanted}-{number}"
        taken.add(anchor)
        found.append(anchor)
    return found


def slug(heading: str) -> str:
    """Returns the anchor of a heading: lower case, hyphens for spaces, nothing but letters, digits, `_` and `-`."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") or "section"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("cvlab"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "inline": html_of,
        "plain": plain_of,
        "table": page_table,
        "isolated": isolated,
        "printable": printable,
    }
    environment.tests |= {"long": lambda text: text.count("\n") >= LONG_CODE}
    environment.globals |= {"kind": lambda block: KINDS[type(block)]}
    return environment


@cache
def _asset(name: str) -> str:
    return resources.files("cvlab").joinpath("templates", name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """The name by which a Content-Security-Policy allows an inline style or script."""
    return f"sha256-{b64encode(sha256(text.encode('utf-8')).digest()).decode('ascii')}"
