"""Extracts the program from a completion.

A program is what a reader would take for the answer. The rules, in order; the name of the rule that gave the
program is in `trajectories.extraction`:

1. A byte order mark and tokens that end a turn are removed, CR and CR LF become LF.
2. Reasoning (`<think>` and its like, `pipeline/text/answer.py`) is not the answer. A completion that ends in
   its reasoning has no program: `reasoning_cut`.
3. `call`: the completion is a tool call in JSON, or has one in `<tool_call>` and no block with a program.
   The program is the argument that holds code.
4. The inside of the last `<answer>`, `<code>`, `[PYTHON]`, ... at the beginning of a line is searched first:
   `tag` if it is a program without a fence.
5. `fence`: a fenced block (`pipeline/text/fences.py`) with a closing fence; `open_fence`: without one, as
   the completion was cut or the fence is missing. Blocks inside a block of Markdown count as blocks.
   * Not a program: an empty block, a block of another kind of text (shell, output, patch, JSON, ...), or of
     another language than the expected one. Languages of one family are one: C and C++. A block of comments
     is a program only if there is no other.
   * The last block that names its language is chosen, also if it was cut. A block that only uses what another
     block defines (tests, calls) is passed over.
   * If no block names a language: the last one that looks like a program, else the last one that does
     not look like data or a command. Prose after an unclosed block is removed.
6. `text`: no block; the text without the prose before and after it, if that looks like a program.
7. `continuation`: the beginning of the program (`stub`) is known, and the text or block continues it.
8. `none`: no rule applies; the program is empty. The trajectory is kept: a policy that wrote no program gets
   a reward too.
`given`: the source has the program separately; nothing was extracted.

Only the last `MAX_COMPLETION_CHARACTERS` of a completion, and of its answer the last `MAX_ANSWER_CHARACTERS`,
are read. The time is proportional to the length.
"""

from __future__ import annotations

import builtins
import re
import textwrap

from pipeline.text.answer import called_programs, plain_lines, split_reasoning, tagged_part
from pipeline.text.detect import detect_language
from pipeline.text.fences import NON_PROGRAM_LABELS, Block, fenced_blocks
from sandbox.languages import find_language, language_of_fence

# Characters of a completion, and of its answer without the reasoning.
MAX_COMPLETION_CHARACTERS = 2_000_000
MAX_ANSWER_CHARACTERS = 200_000
MARKDOWN = ("markdown", "md")
COMMAND = re.compile(
    r"\s*(?:\$ |> ?\w+\.exe|(?:python3?|pypy3?|g\+\+|gcc|clang|javac?|rustc|cargo|go|node|ruby|ghc|kotlinc?"
    r"|pip3?|cat|echo|cd|make|bash|sh) (?!=)|\./)"
)
COMMENT = re.compile(r"(?:#(?!include|define|pragma|!)|//|--)")
# A line of prose: a heading, or a sentence that begins with a capital letter and has no marks of code.
HEADING = re.compile(r"(?:#{1,6} |\*\*|[-*] |\d+[.)] )?[A-Z][^=;{}()\[\]<>]{0,120}[:.!?]\**")
SENTENCE = re.compile(r"(?:#{1,6} |\*\*|[-*] |\d+[.)] )?[A-Z`*'\"][\w'`*,\"-]* (?:[^\s;{}]+ ){2,}[^\s;{}]+")
NOT_PROSE = re.compile(
    r"(?i:end\.?|begin|program \w+;?)$|[\w.\[\], ]+ [-+*/]?= "
    r"|(?:def|class|for|while|if|import|from|return) .*$"
)
CALLED = re.compile(r"(?<![\w.])([A-Za-z_]\w*)\s*\(")
ASSIGNED = re.compile(r"^([A-Za-z_]\w*)\s*(?::[^=\n]+)?=(?!=)", re.MULTILINE)
DEFINITION = re.compile(r"^(?:def|class|import|from|for|while|if|with|try|async|@|return)\b", re.MULTILINE)
DEFINED = re.compile(r"^(?:def|class)\s+(\w+)", re.MULTILINE)
BUILTINS = frozenset(dir(builtins))
MAX_USAGE_CHARACTERS = 20_000


def extract_program(
    completion: str, language: str | None = None, stub: str | None = None
) -> tuple[str, str, str | None]:
    """(program, rule, language named by the block or None).

    `language` is the expected language, if known. `stub` is the beginning of the program that the policy was
    asked to continue, in Python.
    """
    text = plain_lines(completion[-MAX_COMPLETION_CHARACTERS:])
    _, answer, cut = split_reasoning(text)
    if cut and not answer.strip():
        return "", "reasoning_cut", None
    complete = len(completion) <= MAX_COMPLETION_CHARACTERS and len(answer) <= MAX_ANSWER_CHARACTERS
    answer = answer[-MAX_ANSWER_CHARACTERS:]
    extraction = _from_answer(answer, language, complete)
    return extraction if stub is None or not complete else _continued(answer, extraction, stub)


def _from_answer(text: str, language: str | None, complete: bool) -> tuple[str, str, str | None]:
    programs, text = called_programs(text)
    if not text.strip() and programs:
        return programs[-1], "call", None
    inside = tagged_part(text)
    if inside is not None:
        program, rule, named = _from_text(inside, language, complete)
        if program:
            return program, "tag" if rule == "text" else rule, named
    extraction = _from_text(text, language, complete)
    return (programs[-1], "call", None) if programs and not extraction[0] else extraction


def _from_text(text: str, language: str | None, complete: bool) -> tuple[str, str, str | None]:
    blocks = all_blocks(text)
    block = choose_block(blocks, language)
    if block is not None:
        named = language_of_fence(block.label)
        program = block.text if block.closed else without_prose_after(block.text)
        return program, "fence" if block.closed else "open_fence", named.stored_name if named else None
    if not blocks and complete:
        program = without_prose(text)
        if detect_language(program) != "unknown":
            return program, "text", None
    return "", "none", None


def all_blocks(text: str) -> list[Block]:
    """The fenced blocks of a text; a block of Markdown counts as the blocks inside it."""
    blocks = []
    for block in fenced_blocks(text):
        inner = fenced_blocks(block.text) if block.label in MARKDOWN else []
        blocks += inner or [block]
    return blocks


def choose_block(blocks: list[Block], language: str | None) -> Block | None:
    """The block that is the answer, or None."""
    candidates = [block for block in blocks if is_program(block, language)]
    candidates = [block for block in candidates if has_code(block.text)] or candidates
    with_language = [block for block in candidates if language_of_fence(block.label) is not None]
    if with_language:
        for block in reversed(with_language):
            if not is_usage(block):
                return block
        return with_language[-1]
    others = [block for block in candidates if not is_data_or_command(block.text)]
    for block in reversed(others):
        if detect_language(block.text) != "unknown" and not is_usage(block):
            return block
    return others[-1] if others else None


def is_program(block: Block, language: str | None) -> bool:
    """Whether a block can be the answer: it has a text, in the expected language as far as it says."""
    if block.label in NON_PROGRAM_LABELS or not block.text.strip():
        return False
    named, expected = language_of_fence(block.label), find_language(language) if language else None
    if named is None or language is None or named is expected:
        return True
    # Sources mix up languages of one family: C in a block marked cpp compiles, Python 2 and 3 share a name.
    return expected is not None and bool(named.family) and named.family == expected.family


def has_code(text: str) -> bool:
    """Whether any line is neither blank nor a comment."""
    return any(line.strip() and not COMMENT.match(line.strip()) for line in text.split("\n"))


def is_usage(block: Block) -> bool:
    """Whether a block of Python only calls what another block defines: tests, examples of use."""
    named = language_of_fence(block.label)
    text = block.text
    if (named is not None and named.family != "python") or len(text) > MAX_USAGE_CHARACTERS:
        return False
    if DEFINITION.search(text):
        return False
    known = BUILTINS | set(ASSIGNED.findall(text))
    return any(name not in known for name in CALLED.findall(text))


def is_data_or_command(text: str) -> bool:
    """Whether a block without a label has only numbers and signs, or begins with a command."""
    return COMMAND.match(text) is not None or not any(char.isalpha() for char in text)


def is_prose(line: str) -> bool:
    line = line.strip()
    if not line or NOT_PROSE.match(line) or len(line) > 2_000:
        return False
    return HEADING.fullmatch(line) is not None or SENTENCE.fullmatch(line) is not None


def without_prose_after(text: str) -> str:
    """The text without paragraphs of prose at its end. They begin after an empty line."""
    lines = text.split("\n")
    end = len(lines)
    while True:
        last = end
        while last and not lines[last - 1].strip():
            last -= 1
        first = last
        while first and lines[first - 1].strip():
            first -= 1
        if (
            not first
            or not all(is_prose(line) and line[:1].strip() for line in lines[first:last])
            or first == last
        ):
            return text if end == len(lines) else "\n".join(lines[:end])
        end = first


def without_prose(text: str) -> str:
    """The text without prose before and after it, and without common indentation."""
    lines = text.split("\n")
    begin = 0
    while begin < len(lines) and (not lines[begin].strip() or is_prose(lines[begin])):
        begin += 1
    if not begin:
        return without_prose_after(text)
    return textwrap.dedent(without_prose_after("\n".join(lines[begin:])))


def _continued(
    answer: str, extraction: tuple[str, str, str | None], stub: str
) -> tuple[str, str, str | None]:
    """The program that continues a stub, if the answer does not define what the stub begins to define."""
    program, rule, named = extraction
    is_block = rule in ("fence", "open_fence", "tag", "call")
    body = program if is_block else answer
    first = next((line for line in body.split("\n") if line.strip()), "")
    names = DEFINED.findall(stub)
    defines = names and re.search(rf"^(?:def|class)\s+{re.escape(names[-1])}\b", body, re.MULTILINE)
    if not first or (first[:1].strip() and (is_block or defines)):
        return extraction
    # A stub that ends in the indentation of the next line is continued within that line.
    goes_on = stub.endswith("\n") or (not stub.rpartition("\n")[2].strip() and body[:1].strip())
    return stub + ("" if goes_on else "\n") + body, "continuation", named or "python3"
