"""Statements as HTML: Markdown, or HTML of the source reduced to a list of elements without attributes.

A statement comes from anybody. What is returned has elements of ALLOWED only, no attribute but our own
classes, no link, no image and nothing that runs; every text in it is escaped. The statement as it is stored
stays on the page beside it.
"""

from __future__ import annotations

import re
from functools import cache
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

from pipeline.text import visible

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

RENDERED_CHARACTERS = 30_000  # longer statements are shown as they are stored
MAX_DEPTH = 40
# A statement is HTML if it begins with an element and closes a block; a mere "<b>" may be what it is about.
BEGINS_WITH_ELEMENT = re.compile(
    r"\s*(<!doctype html>\s*)?<(html|body|p|div|section|h[1-6]|ul|ol|pre|span)\b", re.I
)
CLOSES_BLOCK = re.compile(r"</(p|div|section|h[1-6]|ul|ol|pre)\s*>", re.I)
# fmt: off
ALLOWED = {
    "p", "div", "section", "ul", "ol", "li", "dl", "dt", "dd", "pre", "code", "samp", "kbd", "var", "b",
    "strong", "i", "em", "u", "s", "sub", "sup", "blockquote", "table", "thead", "tbody", "tr", "th", "td",
    "br", "hr", "h1", "h2", "h3", "h4", "h5", "h6",
}
EMPTY = {"br", "hr"}
ENDS_ITSELF = {"p", "li", "dt", "dd", "tr", "td", "th"}
DROPPED = {"script", "style", "head", "title", "template", "iframe", "object", "svg", "math", "textarea",
    "select"}
SYMBOLS = {
    "le": "≤", "leq": "≤", "leqslant": "≤", "ge": "≥", "geq": "≥", "geqslant": "≥", "ne": "≠", "neq": "≠",
    "lt": "<", "gt": ">", "times": "×", "cdot": "·", "div": "÷", "pm": "±", "dots": "…", "ldots": "…",
    "cdots": "⋯", "in": "∈", "notin": "∉", "subset": "⊂", "subseteq": "⊆", "cup": "∪", "cap": "∩",
    "emptyset": "∅", "infty": "∞", "sum": "∑", "prod": "∏", "to": "→", "rightarrow": "→", "leftarrow": "←",
    "Rightarrow": "⇒", "oplus": "⊕", "equiv": "≡", "approx": "≈", "lfloor": "⌊", "rfloor": "⌋", "lceil": "⌈",
    "rceil": "⌉", "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "epsilon": "ε", "lambda": "λ",
    "mu": "μ", "pi": "π", "sigma": "σ", "phi": "φ", "omega": "ω", "max": "max", "min": "min", "gcd": "gcd",
    "log": "log", "bmod": "mod", "mod": "mod", "quad": " ", "left": "", "right": "", "displaystyle": "",
}
# fmt: on
COMMAND = re.compile(r"\\([A-Za-z]+)(?![A-Za-z])")
MATH = re.compile(r"(\${1,3})(?![\s$])([^$\n]{1,400}?)(?<![\s\\])\1(?![\d$])")
SCRIPT = re.compile(r"([_^])(?:\{([^{}]{1,60})\}|([A-Za-z0-9*]))")
WRAPPER = re.compile(r"\\(?:text|mathrm|mathbf|mathit|texttt|operatorname)\s*\{([^{}]*)\}")


def rendered(statement: str) -> Markup | None:
    """The statement as safe HTML; None for one that is too long to be rendered."""
    text = visible(statement)
    if len(text) > RENDERED_CHARACTERS:
        return None
    if BEGINS_WITH_ELEMENT.match(text) and CLOSES_BLOCK.search(text):
        cleaner = Cleaner()
        cleaner.feed(text)
        cleaner.close()
        return cleaner.result()
    return Markup(_markdown().render(text))


class Cleaner(HTMLParser):
    """Writes the allowed elements again, without attributes and balanced, and the text of all others."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._parts: list[str] = []
        self._open: list[str] = []
        self._dropped = 0

    def result(self) -> Markup:
        while self._open:
            self._close()
        return Markup("".join(self._parts))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in DROPPED:
            self._dropped += 1
        if self._dropped:
            return
        if tag == "img":
            alternative = next((value for name, value in attrs if name == "alt" and value), "image")
            self._parts.append(f"[{escape(alternative)}]")
        elif tag in ALLOWED and len(self._open) < MAX_DEPTH:
            if tag in ENDS_ITSELF and self._open[-1:] == [tag]:
                self._close()
            self._parts.append(f"<{_lowered(tag)}>")
            if tag not in EMPTY:
                self._open.append(_lowered(tag))

    def handle_endtag(self, tag: str) -> None:
        if tag in DROPPED:
            self._dropped = max(0, self._dropped - 1)
        elif not self._dropped and _lowered(tag) in self._open:
            while self._close() != _lowered(tag):
                pass

    def handle_data(self, data: str) -> None:
        if not self._dropped:
            is_code = bool({"pre", "code", "samp", "kbd"} & set(self._open))
            self._parts.append(str(escape(data)) if is_code else with_math(data))

    def _close(self) -> str:
        self._parts.append(f"</{self._open[-1]}>")
        return self._open.pop()


def with_math(text: str) -> str:
    """HTML of a text: its formulas between dollar signs set as such, the names of symbols as symbols."""
    parts, end = [], 0
    for one in MATH.finditer(text):
        parts += [plain(text[end : one.start()]), formula(one[2])]
        end = one.end()
    return "".join([*parts, plain(text[end:])])


def formula(text: str) -> str:
    """HTML of a formula in TeX with the symbols, indices and exponents that statements use; the rest as it
    is.
    """
    text = symbols(WRAPPER.sub(r"\1", text))
    parts, end = [], 0
    for one in SCRIPT.finditer(text):
        element = "sub" if one[1] == "_" else "sup"
        script = escape(one[2] or one[3])
        parts += [str(escape(text[end : one.start()])), f"<{element}>{script}</{element}>"]
        end = one.end()
    return f'<span class="math">{"".join(parts)}{escape(text[end:])}</span>'


def plain(text: str) -> str:
    """HTML of a text without formulas."""
    return str(escape(symbols(text)))


def symbols(text: str) -> str:
    return COMMAND.sub(lambda one: SYMBOLS.get(one[1], one[0]), text)


def _lowered(tag: str) -> str:
    """Headings of a statement are below those of the page."""
    return f"h{min(int(tag[1]) + 2, 6)}" if len(tag) == 2 and tag[1].isdigit() else tag


@cache
def _markdown() -> MarkdownIt:
    """CommonMark with tables, without links, images and HTML. A line end stays one: many statements are
    plain text.
    """
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"html": False, "breaks": True, "maxNesting": 20})
    parser.enable("table")
    parser.disable(["link", "image", "autolink", "html_inline", "html_block", "reference"])
    parser.inline.ruler.before("emphasis", "product", _product)
    parser.inline.ruler.before("escape", "formula", _formula)
    parser.add_render_rule("text", lambda _, tokens, index, *__: plain(tokens[index].content))
    parser.add_render_rule("formula", lambda _, tokens, index, *__: formula(tokens[index].content))
    parser.core.ruler.push("plain_blocks", _plain_blocks)
    return parser


def _product(state: Any, silent: bool) -> bool:
    """A `*` between two names or numbers, which is a product and no emphasis."""
    place, text = state.pos, state.src
    if text[place] != "*" or not 0 < place < len(text) - 1:
        return False
    before, after = text[place - 1], text[place + 1]
    if not ((before.isalnum() or before in ")]") and (after.isalnum() or after in "([")):
        return False
    if not silent:
        state.pending += "*"
    state.pos += 1
    return True


def _formula(state: Any, silent: bool) -> bool:
    if state.src[state.pos] != "$":
        return False
    one = MATH.match(state.src, state.pos, state.posMax)
    if one is None:
        return False
    if not silent:
        state.push("formula", "", 0).content = one[2]
    state.pos = one.end()
    return True


def _plain_blocks(state: Any) -> None:
    """Headings below those of the page; no names of languages and no styles of table cells."""
    for token in state.tokens:
        token.info = ""
        if token.type in ("th_open", "td_open"):
            token.attrs = {}
        elif token.type in ("heading_open", "heading_close"):
            token.tag = _lowered(token.tag)
