"""The text of a statement in TeX, slightly reduced: titles, lists and emphasis without their commands;
formulas stay.

Every pattern takes time in proportion to the text: inside a group it stops at the next bracket, so no
position is looked at from every command before it.
"""

from __future__ import annotations

import re

# What is in braces, braces in it included, one level deep.
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
    for pattern, replacement in RULES:
        text = pattern.sub(replacement, text)
    return text
