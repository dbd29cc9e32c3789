"""Programs and texts for a page: colours by Pygments, differences by difflib. Nothing here runs a program."""

from __future__ import annotations

import difflib
from typing import Any

from markupsafe import Markup

from pipeline.text import visible

COLOURED_CHARACTERS = 60_000  # longer programs are shown without colours
DIFFED_LINES = 2_000
CANDIDATES = 60
# The store's names of languages that Pygments has under another name.
LEXERS = {"python3": "python", "python2": "python2", "cpp": "cpp", "script": "bash", "pascal": "delphi"}


def lexer_of(language: str) -> Any:
    """Pygments' lexer of a language of the store; plain text for one that it does not know."""
    from pygments.lexers import get_lexer_by_name
    from pygments.util import ClassNotFound

    try:
        return get_lexer_by_name(LEXERS.get(language, language), stripnl=False)
    except ClassNotFound:
        return get_lexer_by_name("text", stripnl=False)


def coloured(program: str, language: str) -> Markup:
    """A program as escaped HTML with a class per token."""
    from pygments import highlight
    from pygments.formatters import HtmlFormatter

    text = visible(program)
    name = language if len(text) <= COLOURED_CHARACTERS else "text"
    return Markup(highlight(text, lexer_of(name), HtmlFormatter(nowrap=True)))


def code_styles() -> str:
    """CSS of the classes of `coloured`, for light and dark."""
    from pygments.formatters import HtmlFormatter

    light = HtmlFormatter(style="xcode").get_style_defs(".code")
    dark = HtmlFormatter(style="github-dark").get_style_defs(".code")
    return f"{light}\n@media (prefers-color-scheme: dark) {{\n{dark}\n}}\n.code {{ background: none; }}\n"


def differences(before: str, after: str, context: int = 3) -> list[tuple[str, str]]:
    """Lines of a unified difference: (kind, text), the kind one of `same`, `removed`, `added`, `place`."""
    kinds = {" ": "same", "-": "removed", "+": "added", "@": "place"}
    lines = difflib.unified_diff(
        before.splitlines()[:DIFFED_LINES], after.splitlines()[:DIFFED_LINES], lineterm="", n=context
    )
    return [
        (kinds[line[0]], line if line[0] == "@" else line[1:])
        for line in lines
        if line[:3] not in ("---", "+++")
    ]


def nearest(program: str, candidates: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The candidate whose program shares most lines with this one, and that share as `likeness`; None without
    candidates.

    The share is difflib's ratio over lines without indentation; ties go to the first candidate.
    """
    matcher = difflib.SequenceMatcher(autojunk=False)
    matcher.set_seq2([line.strip() for line in program.splitlines()][:DIFFED_LINES])
    best: tuple[float, dict[str, Any] | None] = (-1.0, None)
    for candidate in candidates[:CANDIDATES]:
        matcher.set_seq1([line.strip() for line in candidate["program"].splitlines()][:DIFFED_LINES])
        if matcher.real_quick_ratio() > best[0] and (ratio := matcher.ratio()) > best[0]:
            best = (ratio, candidate)
    return best[1] and best[1] | {"likeness": best[0]}
