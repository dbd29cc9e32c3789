"""Detects the language of a program from patterns that are typical for each language."""

from __future__ import annotations

import re

# Only the beginning of a text is inspected, which bounds the time for hostile input.
INSPECTED_CHARACTERS = 20_000
# Each pattern counts once, with its weight. The highest sum wins if it is at least `MIN_SCORE`.
MIN_SCORE = 2
LANGUAGE_PATTERNS: dict[str, tuple[tuple[int, str], ...]] = {
    "cpp": (
        (
            3,
            r"^[ \t]*#\s*include\s*<(?:bits/stdc\+\+\.h|iostream|vector|string|map|set|queue|algorithm"
            r"|cstdio|cmath|cstring)>",
        ),
        (3, r"\busing\s+namespace\s+std\b"),
        (2, r"\bstd::\w+"),
        (2, r"\b(?:cin\s*>>|cout\s*<<)"),
        (1, r"\bvector\s*<"),
        (1, r"\bint\s+main\s*\("),
        (2, r"^[ \t]*(?:public|private)\s*:\s*$"),
    ),
    "c": (
        (3, r"^[ \t]*#\s*include\s*<(?:stdio|stdlib|string|math|ctype|limits)\.h>"),
        (1, r"\bint\s+main\s*\("),
        (1, r"\b(?:printf|scanf)\s*\("),
    ),
    "java": (
        (3, r"^[ \t]*import\s+java\.[\w.*]+;"),
        (3, r"\bpublic\s+static\s+void\s+main\b"),
        (2, r"\bSystem\.(?:out|in)\b"),
        (
            2,
            r"\bpublic\s+(?:static\s+)?(?:final\s+)?[\w<>\[\]]+\s+\w+\s*\([^)]{0,200}\)\s*(?:throws\s+\w+\s*)?\{",
        ),
        (1, r"^[ \t]*(?:public\s+)?(?:final\s+)?class\s+\w+[^:;{]{0,120}\{"),
    ),
    "csharp": (
        (3, r"^[ \t]*using\s+System(?:\.\w+)*;"),
        (3, r"\bConsole\.(?:Read|Write)"),
        (1, r"\bstatic\s+void\s+Main\b"),
    ),
    "go": (
        (3, r"^package\s+\w+\s*$"),
        (2, r"\bfunc\s+(?:\(\w+\s+\*?\w+\)\s*)?\w+\s*\("),
        (2, r"\bfmt\.\w+\("),
        (1, r":="),
    ),
    "haskell": (
        (3, r"^main\s*(?:::|=)"),
        (2, r"^import\s+(?:qualified\s+)?[A-Z][\w.]*\s*(?:\(|as\b|$)"),
        (1, r"^\w+\s+::\s"),
    ),
    "rust": (
        (3, r"\bfn\s+\w+\s*(?:<[^>]{0,80}>\s*)?\([^)]{0,200}\)[^;{]{0,120}\{"),
        (2, r"\blet\s+mut\b"),
        (2, r"\b(?:println|print)!\s*\("),
        (1, r"^use\s+std::"),
    ),
    "javascript": (
        (2, r"\b(?:const|let|var)\s+[\w{}\[\], ]{1,60}="),
        (2, r"\bconsole\.log\s*\("),
        (2, r"\brequire\s*\(['\"]"),
        (1, r"\bfunction\s*(?:\w+\s*)?\([^)]{0,200}\)\s*\{"),
        (1, r"=>"),
    ),
    "ruby": (
        (2, r"\bgets(?:\.\w+)+"),
        (1, r"^[ \t]*end\s*$"),
        (1, r"\bputs\s"),
        (1, r"\.each(?:_\w+)?\s+do\b"),
        (1, r"^[ \t]*def\s+\w+[^:]*$"),
    ),
    "php": ((4, r"<\?php"),),
    "kotlin": (
        (3, r"\bfun\s+main\s*\("),
        (2, r"\breadLine\(\)!!"),
        (1, r"\bval\s+\w+\s*="),
        (1, r"\bfun\s+\w+\s*\("),
    ),
    "scala": (
        (3, r"^[ \t]*object\s+\w+.{0,80}\{"),
        (2, r"\bdef\s+\w+\s*(?:\([^)]{0,200}\)\s*)?(?::\s*[\w\[\]]+\s*)?="),
    ),
    "pascal": (
        (3, r"(?i)^[ \t]*begin\s*$"),
        (2, r"(?i)\b(?:readln|writeln)\b"),
        (2, r"(?i)^[ \t]*end\.\s*$"),
    ),
    "python3": (
        (2, r"^[ \t]*def \w+ ?\(.{0,200}\) ?(?:->.{1,80})?:[ \t]*(?:#.*)?$"),
        (2, r"^[ \t]*(?:from\s+[\w.]+\s+import\s+\S|import\s+[\w.]+(?:\s+as\s+\w+)?(?:\s*,\s*[\w.]+)*\s*$)"),
        (2, r"\bint\s*\(\s*input\s*\("),
        (2, r"\binput\s*\(\s*\)"),
        (2, r"^[ \t]*print\s*\("),
        (
            2,
            r"^[ \t]*(?:for .{1,80} in .{1,120}|(?:while|if|elif|with)\b.{1,120}|else|try|class \w+.{0,80})"
            r":[ \t]*(?:#.*)?$",
        ),
        (1, r"^[ \t]*return\b[^;]*$"),
        (2, r"^\w[\w, ]{0,60}= ?(?:map|list|sorted|input|sys)\b"),
    ),
    "python2": ((4, r"\braw_input\s*\("), (4, r"^[ \t]*print\s+(?![=(\s])"), (2, r"\bxrange\s*\(")),
}
_compiled_patterns = {
    language: [(weight, re.compile(text, re.MULTILINE)) for weight, text in patterns]
    for language, patterns in LANGUAGE_PATTERNS.items()
}


def detect_language(program: str) -> str:
    """The store's name of the language of a program, by the patterns that match it; `unknown` if too few do.

    On equal scores the language that is first in `LANGUAGE_PATTERNS` wins, so C++ wins against C.
    """
    beginning = program[:INSPECTED_CHARACTERS]
    scores = {
        language: sum(weight for weight, pattern in patterns if pattern.search(beginning))
        for language, patterns in _compiled_patterns.items()
    }
    if scores["python2"]:
        scores["python2"] += scores["python3"]
    best = max(scores, key=lambda language: scores[language])
    return best if scores[best] >= MIN_SCORE else "unknown"
