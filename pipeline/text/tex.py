"""Simplifies a problem statement in TeX: removes the commands of titles, lists and emphasis, keeps formulas.

Every pattern takes time proportional to the length of the text, because a group ends at the next bracket.
"""

from __future__ import annotations

import re

# The content of braces, with up to one level of nested braces.
BODY = r"\{((?:[^{}]++|\{[^{}]*+\})*+)\}"
RULES = (
    (re.compile(r"(?<!\\)%.*"), ""),
    (re.compile(rf"\\problemname{BODY}"), r"\1\n"),
    (re.compile(rf"\\(?:sub)*+section\*?{BODY}"), r"\n\1\n"),
    (re.compile(r"\\(?:begin|end)\{(?:itemize|enumerate|center|figure)\}(?:\[[^\[\]]*+\])?"), ""),
    (re.compile(r"\\item\b\s*+"), "- "),
    (re.compile(r"\\(?:emph|textbf|textit|texttt|text)\{([^{}]*+)\}"), r"\1"),
    (re.compile(r"\n{3,}"), "\n\n"),
)


def plain_tex(text: str) -> str:
    """The statement without layout commands; formulas are unchanged."""
    for pattern, replacement in RULES:
        text = pattern.sub(replacement, text)
    return text
