"""The program in a completion, and the language of a program whose source does not say.

The rule that found a program is recorded with it (`trajectories.extraction`):
* `given`: the source had the program apart from the completion; nothing was extracted;
* `fence`: the last complete fenced block (CommonMark 0.31, section 4.5) that is a program: policies think
  first, then answer;
* `open_fence`: no complete block is a program, but the completion ends inside one: it was cut, or its end was
  forgotten;
* `text`: there is no fence, and the text as a whole is a program;
* `none`: nothing of these; the program is empty. The trajectory stays: a policy that wrote no program has
  earned its reward too.

A fenced block is a program when it is not empty, its info string names no other kind of text (`OTHER_KINDS`),
and, where the expected language is known, its info string names that language, a relative of it, or none that
we know.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from sandbox.languages import find_language, language_of_fence

OTHER_KINDS = {
    "text",
    "txt",
    "plaintext",
    "plain",
    "input",
    "output",
    "stdin",
    "stdout",
    "console",
    "bash",
    "sh",
    "shell",
    "json",
    "yaml",
    "toml",
    "xml",
    "html",
    "css",
    "markdown",
    "md",
    "latex",
    "tex",
    "diff",
    "mermaid",
    "math",
    "pseudo",
    "pseudocode",
    "csv",
    "log",
    "sample",
    "example",
    "algorithm",
    "sql",
}
MAX_INDENT = 3
TILDES = re.compile("~{3,}")


@dataclass(frozen=True, slots=True)
class Fence:
    """A line with a fence: where the line is in the text, what stands before the fence, the fence, and its
    info string.
    """

    begin: int
    end: int
    before: str
    mark: str
    info: str

    @property
    def kind(self) -> str:
        """The first word of the info string in lower case."""
        return re.split(r"[\s,{:]+", self.info.strip("{}. ").lower(), maxsplit=1)[0]

    @property
    def is_alone(self) -> bool:
        return not self.before.strip() and len(self.before) <= MAX_INDENT


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: the first word of its info string in lower case, its text, and whether its end is
    there.
    """

    kind: str
    text: str
    closed: bool


def extract_program(completion: str, language: str | None = None) -> tuple[str, str, str | None]:
    """(program, rule, language named by the block or None) of a completion; `language` is what is
    expected, if known.
    """
    blocks = fenced_blocks(completion)
    candidates = [block for block in blocks if is_program(block, language)]
    for closed, rule in ((True, "fence"), (False, "open_fence")):
        for block in reversed(candidates):
            if block.closed is closed:
                named = language_of_fence(block.kind)
                return block.text, rule, named.stored_name if named else None
    if not blocks and detect_language(completion) != "unknown":
        return completion, "text", None
    return "", "none", None


def fenced_blocks(text: str) -> list[Block]:
    """The fenced blocks of a text, in order.

    As in CommonMark a block ends at a fence of its own character, at least as long, with no info string. Two
    habits of language models go beyond it: a fence that names a language opens a block wherever it stands in
    its line ("Answer: ```python"), and one that stands alone in its line does so even inside a block, which
    was then left unfinished.
    """
    text = text.replace("\r\n", "\n")
    blocks = []
    opened: Fence | None = None
    for fence in fences(text):
        names_language = language_of_fence(fence.kind) is not None
        if opened is None:
            opened = fence if fence.is_alone or names_language else None
        elif fence.mark.startswith(opened.mark) and not fence.info and fence.is_alone:
            blocks.append(Block(opened.kind, text[opened.end + 1 : fence.begin], True))
            opened = None
        elif names_language and fence.is_alone:
            blocks.append(Block(opened.kind, text[opened.end + 1 : fence.begin], False))
            opened = fence
    if opened is not None:
        blocks.append(Block(opened.kind, text[opened.end + 1 :], False))
    return blocks


def fences(text: str) -> Iterator[Fence]:
    """The lines of a text that hold a fence, in order; takes time in proportion to the text."""
    end = -1
    for line in text.split("\n"):
        begin, end = end + 1, end + 1 + len(line)
        if "```" in line or "~~~" in line:
            parts = fence_parts(line)
            if parts is not None:
                yield Fence(begin, end, *parts)


def fence_parts(line: str) -> tuple[str, str, str] | None:
    """(text before, fence, info string) of a line; an info string holds no backtick, nor does what stands
    before.
    """
    first = line.find("`")
    if first < 0:
        tildes = TILDES.search(line)
        return (line[: tildes.start()], tildes[0], line[tildes.end() :].strip(" \t")) if tildes else None
    rest = line[first:].lstrip("`")
    length = len(line) - first - len(rest)
    return (line[:first], "`" * length, rest.strip(" \t")) if length >= 3 and "`" not in rest else None


def is_program(block: Block, language: str | None) -> bool:
    if not block.text.strip() or block.kind in OTHER_KINDS:
        return False
    named, expected = language_of_fence(block.kind), find_language(language) if language else None
    if named is None or language is None or named is expected:
        return True
    # Sources confuse the members of a family: C in a block marked cpp compiles, Python 2 and 3 share one
    # mark.
    return expected is not None and bool(named.family) and named.family == expected.family


# The beginning of a program tells its language, and bounds the time on texts that nobody wrote.
TELLING_CHARACTERS = 20_000
# Each pattern counts once, with its weight; the best sum wins where it reaches `CERTAIN`.
CERTAIN = 2
CLUES: dict[str, tuple[tuple[int, str], ...]] = {
    "cpp": (
        (
            3,
            r"^[ \t]*#\s*include\s*<(?:bits/stdc\+\+\.h|iostream|vector|string|map|set|queue|algorithm|cstdio|cmath|cstring)>",
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
            r"^[ \t]*(?:for .{1,80} in .{1,120}|(?:while|if|elif|with)\b.{1,120}|else|try|class \w+.{0,80}):[ \t]*(?:#.*)?$",
        ),
        (1, r"^[ \t]*return\b[^;]*$"),
        (2, r"^\w[\w, ]{0,60}= ?(?:map|list|sorted|input|sys)\b"),
    ),
    "python2": ((4, r"\braw_input\s*\("), (4, r"^[ \t]*print\s+(?![=(\s])"), (2, r"\bxrange\s*\(")),
}
_compiled = {
    language: [(weight, re.compile(pattern, re.MULTILINE)) for weight, pattern in clues]
    for language, clues in CLUES.items()
}


def detect_language(program: str) -> str:
    """The contract's name of the language a text is written in, told by its most telling constructs, or
    `unknown`.

    C++ and C are told apart by what only C++ has; where both fit equally, the one named first in `CLUES` is
    taken.
    """
    beginning = program[:TELLING_CHARACTERS]
    scores = {
        language: sum(weight for weight, clue in clues if clue.search(beginning))
        for language, clues in _compiled.items()
    }
    if scores["python2"]:
        scores["python2"] += scores["python3"]
    best = max(scores, key=lambda language: scores[language])
    return best if scores[best] >= CERTAIN else "unknown"
