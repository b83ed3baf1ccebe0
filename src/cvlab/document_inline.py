"""Texts of a document as HTML: inline Markdown, and plain text, with names in scripts that run from the right."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markupsafe import Markup, escape

# Words in letters that run from right to left: Hebrew, Arabic, Persian, Syriac, Thaana, N'Ko and others.
_LETTERS = r"[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\U00010800-\U00010fff]"
FROM_THE_RIGHT = re.compile(rf"{_LETTERS}+(?:[ _\-\u200c]+{_LETTERS}+)*")


class _Renderer(RendererHTML):
    """Renders texts and code so that each name keeps to itself."""

    def text(self, tokens: Sequence[Token], index: int, options: Any, env: Mapping[str, Any]) -> str:
        return isolated(tokens[index].content)

    def code_inline(self, tokens: Sequence[Token], index: int, options: Any, env: Mapping[str, Any]) -> str:
        return f"<code>{isolated(tokens[index].content)}</code>"


@cache
def _markdown() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": False}, renderer_cls=_Renderer).disable(["image", "html_inline"])


def html_of(text: str) -> Markup:
    """Returns inline Markdown as HTML; HTML in it stays text."""
    return Markup(_markdown().renderInline(text))


def plain_of(text: str) -> str:
    """Returns inline Markdown as plain text."""
    tokens = [token for block in _markdown().parseInline(text) for token in block.children or []]
    return "".join(token.content for token in tokens)


def isolated(text: str) -> Markup:
    """Returns plain text as HTML.

    Words that run from right to left stand in an element of their own: a number or a bracket behind such a name would
    take its place otherwise.
    """
    return Markup(FROM_THE_RIGHT.sub(r"<bdi>\g<0></bdi>", str(escape(text))))
