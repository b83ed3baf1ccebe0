"""The inline Markdown of a document's texts as HTML and as plain text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markupsafe import Markup, escape


class _Renderer(RendererHTML):
    """Names stand in bold or as code: each has the direction of its own script, whatever the sentence around it has."""

    def strong_open(self, tokens: Sequence[Token], index: int, options: Any, env: Mapping[str, Any]) -> str:
        return '<strong dir="auto">'

    def code_inline(self, tokens: Sequence[Token], index: int, options: Any, env: Mapping[str, Any]) -> str:
        return f'<code dir="auto">{escape(_code(tokens[index]))}</code>'


def _code(token: Token) -> str:
    # In the cells of Markdown's tables, code needs its pipes escaped.
    return token.content.replace(r"\|", "|")


@cache
def _markdown() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": False}, renderer_cls=_Renderer).disable(["image", "html_inline"])


def html_of(text: str) -> Markup:
    """Returns inline Markdown as HTML; HTML in it stays text."""
    return Markup(_markdown().renderInline(text))


def plain_of(text: str) -> str:
    """Returns inline Markdown as plain text."""
    tokens = [token for block in _markdown().parseInline(text) for token in block.children or []]
    return "".join(_code(token) if token.type == "code_inline" else token.content for token in tokens)
