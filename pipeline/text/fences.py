"""Fenced code blocks in answers of language models.

CommonMark 0.31 (section 4.5) defines fences; models deviate from it, so these rules are added:

* A fence may be indented by any number of columns and may be in a quotation (`> `). That indentation and the
  quotation marks are removed from the lines of the block.
* A fence that names a language, or that ends its line, opens a block in the middle of a line, too
  ("Answer: ```python").
* A closing fence may have text after it ("``` Done.", "```</answer>").
* A fence with a label on its own line ends an open block, which then is unfinished, and opens the next one.
* If a block has no closing fence, a fence that is indented by four columns or more, or that is at the end of
  a line of code ("print(1)```"), closes it. If it has one, such fences belong to the program.
* A block can be on one line with its fences: "```python print(1) ```".
* The label may be alone on the line below the opening fence.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from sandbox.languages import language_of_fence

NON_PROGRAM_LABELS = frozenset(
    """
    text txt plaintext plain input output stdin stdout console terminal session shell-session bash sh zsh fish
    shell powershell ps1 cmd bat batch dos makefile make cmake dockerfile docker json jsonl yaml yml toml ini
    xml html css svg markdown md latex tex diff patch mermaid dot math pseudo pseudocode csv tsv log logs
    sample example algorithm sql pycon ipython doctest traceback error regex http
    """.split()  # noqa: SIM905
)
# A closing fence may be indented by so many columns more than the opening one (CommonMark).
MAX_EXTRA_INDENT = 3
# Searches for a closing fence that reach the end of the text in vain. After this many, a misplaced fence
# closes its block at once, which keeps the time linear.
MAX_VAIN_SEARCHES = 8
MARKER = re.compile(r"`{3,}|~{3,}")
QUOTE = re.compile(r"[ \t]*>[ ]?")
LABEL_SPLIT = re.compile(r"[\s,{:=]+")
WORD = re.compile(r"[{.]*[\w+#./-]+(?:[:={,][^\s]*)?\}?")


@dataclass(frozen=True, slots=True)
class Fence:
    """A line with a fence: its offsets in the text, the text before it, the fence, the text after it."""

    begin: int
    end: int
    prefix: str
    marker: str
    info: str

    @property
    def label(self) -> str:
        """First word of the info string, in lower case."""
        return LABEL_SPLIT.split(self.info.strip("{}. ").lower(), maxsplit=1)[0]

    @property
    def is_on_own_line(self) -> bool:
        return not self.prefix.strip(" \t>")

    @property
    def names_language(self) -> bool:
        return language_of_fence(self.label) is not None

    @property
    def has_label(self) -> bool:
        """Whether the info string is a label, not text after a closing fence."""
        known = self.names_language or self.label in NON_PROGRAM_LABELS
        return known and (WORD.fullmatch(self.info) is not None or self.info.startswith("{"))


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: its label in lower case, its text, and whether it has a closing fence."""

    label: str
    text: str
    closed: bool


def fenced_blocks(text: str) -> list[Block]:
    """The fenced blocks of a text, in order, in time proportional to its length."""
    lines = list(fences(text))
    blocks: list[Block] = []
    position = vain_searches = 0
    while position < len(lines):
        fence = lines[position]
        if (one_line := block_on_one_line(fence)) is not None:
            blocks.append(one_line)
            position += 1
            continue
        if not opens_block(fence):
            position += 1
            continue
        end, misplaced = find_end(lines, position, first=vain_searches >= MAX_VAIN_SEARCHES)
        if end == len(lines) and misplaced is not None:
            vain_searches += 1
        blocks.append(make_block(text, lines, position, misplaced if misplaced is not None else end))
        if misplaced is not None:
            position = misplaced + 1
        else:
            position = end if end < len(lines) and lines[end].has_label else end + 1
    return blocks


def fences(text: str) -> Iterator[Fence]:
    """The lines with a fence, in order; of several fences in a line the first."""
    end = -1
    for match in MARKER.finditer(text):
        if match.start() > end:
            begin = text.rfind("\n", max(end, 0), match.start()) + 1 or end + 1
            end = text.find("\n", match.end())
            end = len(text) if end < 0 else end
            info = text[match.end() : end].strip(" \t")
            yield Fence(begin, end, text[begin : match.start()], match[0], info)


def opens_block(fence: Fence) -> bool:
    if fence.marker[0] in fence.info:
        return False
    if fence.is_on_own_line:
        return True
    return "`" not in fence.prefix and (fence.names_language or not fence.info)


def find_end(lines: list[Fence], opened: int, *, first: bool) -> tuple[int, int | None]:
    """(position of the line that ends a block, position of the misplaced fence that closes it instead).

    The first is `len(lines)` if no line does. The second is None if the first closes the block. With `first`,
    the first misplaced fence closes the block whatever follows it.
    """
    opening = lines[opened]
    limit = indent_of(opening) + MAX_EXTRA_INDENT
    misplaced: int | None = None
    for position in range(opened + 1, len(lines)):
        fence = lines[position]
        if not fence.marker.startswith(opening.marker):
            continue
        if fence.is_on_own_line and indent_of(fence) <= limit:
            if fence.has_label:
                return position, misplaced
            if opening.marker[0] not in fence.info:
                return position, None
        elif (
            misplaced is None and (fence.is_on_own_line or fence.marker == opening.marker) and not fence.info
        ):
            misplaced = position
            if first:
                return position, misplaced
    return len(lines), misplaced


def indent_of(fence: Fence) -> int:
    """Columns before a fence on its own line; 0 in the middle of a line."""
    return len(fence.prefix.expandtabs(4)) if fence.is_on_own_line else 0


def make_block(text: str, lines: list[Fence], opened: int, end: int) -> Block:
    """The block from one line with a fence to another, or to the end of the text."""
    opening = lines[opened]
    closing = lines[end] if end < len(lines) else None
    closed = closing is not None and not (closing.is_on_own_line and closing.has_label)
    stop = len(text) if closing is None else closing.begin
    if closing is not None and not closing.is_on_own_line:
        stop = closing.begin + len(closing.prefix)
    inside = text[min(opening.end + 1, stop) : stop]
    if closing is not None and closing.is_on_own_line:
        # The quotation mark or indentation of the closing line is not part of the block.
        inside = text[min(opening.end + 1, closing.begin) : closing.begin]
    return labelled(Block(opening.label, without_prefix(inside, opening.prefix), closed))


def labelled(block: Block) -> Block:
    """The block with the label that is alone on its first line, if it has none yet."""
    if block.label:
        return block
    first, newline, rest = block.text.partition("\n")
    label = first.strip().lower()
    is_label = newline and label.isalnum() and language_of_fence(label) is not None
    return replace(block, label=label, text=rest) if is_label else block


def without_prefix(inside: str, prefix: str) -> str:
    """The lines of a block without the quotation marks and the indentation of its opening fence."""
    if not prefix or prefix.strip(" \t>"):
        return inside
    depth, columns = prefix.count(">"), len(prefix.rpartition(">")[2])
    if depth:
        columns = max(0, columns - 1)
    lines = []
    for line in inside.split("\n"):
        for _ in range(depth):
            line = QUOTE.sub("", line, count=1) if line.lstrip().startswith(">") else line
        width = len(line) - len(line.lstrip(" \t"))
        lines.append(line[min(columns, width) :])
    return "\n".join(lines)


def block_on_one_line(fence: Fence) -> Block | None:
    """The block of a line such as "```python print(1) ```"; None if it is none that names a language."""
    inside, marker, rest = fence.info.rpartition(fence.marker)
    if not marker or rest.strip(" \t`") or fence.marker in inside or not fence.names_language:
        return None
    code = inside.strip(" \t")[len(fence.label) :].strip(" \t")
    return Block(fence.label, code, True) if code else None
