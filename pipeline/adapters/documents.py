"""Streams rows from one large JSON document: the lists and objects at a given depth.

Result files of LiveCodeBench and EvalPlus are single documents. They are read in blocks, so that
`source_policy.MAX_ROW_BYTES` bounds the memory whatever the size of the file. Each row keeps its bytes for
the quarantine.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from pipeline.adapters import Refused, SourceFile, source_policy
from pipeline.adapters.lines import (
    BROKEN_STREAM,
    LARGE_ROW_KEPT_BYTES,
    UTF16_MARKS,
    JsonRow,
    end_with_refusal,
    open_stored,
    parse,
    read_blocks,
)
from pipeline.adapters.source_policy import allowed_rows, stored_size, too_many_rows

# A complete string, a bracket, or the opening quote of a string that continues in the next block.
TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+"|["\[\]{}]', re.DOTALL)
# The inside of a string; a backslash at the end of a block waits for its next character.
INSIDE_STRING = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
QUOTE = ord('"')
# (bytes, fault or None)
Value = tuple[bytes, str | None]


@end_with_refusal
def document_rows(file: SourceFile, depth: int = 1) -> Iterator[JsonRow | Refused]:
    """Every selected value at a depth of the document, numbered from 1.

    Depth 1: the objects of a list [{...}, {...}]. Depth 2: the lists of {"eval": {"task": [{...}], ...}}, as
    rows {"items": [...]}. Other values at depth 1 are refused. If the document is broken, the rest is refused
    as one row.
    """
    selected_lines = file.select_lines() if file.select_lines else None
    file.rows_in_file = 0
    for raw, fault in _values(file, depth):
        file.rows_in_file += 1
        number = file.rows_in_file
        if fault is not None:
            yield Refused(number, raw[:LARGE_ROW_KEPT_BYTES], fault, size=len(raw))
        elif selected_lines is None or number in selected_lines:
            yield document_row(number, raw)


@end_with_refusal
def whole_document(file: SourceFile) -> Iterator[JsonRow | Refused]:
    """The document as one row; refused if it is larger than a row may be."""
    content = bytearray()
    with open_stored(file) as stored:
        for block in read_blocks(file, stored):
            content += block
            if len(content) > source_policy.MAX_ROW_BYTES:
                reason = f"a document of more than {source_policy.MAX_ROW_BYTES} bytes"
                yield Refused(1, bytes(content[:LARGE_ROW_KEPT_BYTES]), reason, size=file.size_bytes)
                return
    file.rows_in_file = 1
    yield parse(1, bytes(content))


def document_row(number: int, raw: bytes) -> JsonRow | Refused:
    """An object, or a list as {"items": [...]}."""
    return replace(parse(number, b'{"items": %b}' % raw if raw.lstrip()[:1] == b"[" else raw), raw=raw)


def _values(file: SourceFile, target_depth: int) -> Iterator[Value]:
    """The values at depth `target_depth`, and invalid text between them as faults."""
    scanner, count = _Scanner(target_depth), 0
    try:
        with open_stored(file) as stored:
            stored_bytes = stored_size(stored, file.size_bytes)
            for block in read_blocks(file, stored):
                if scanner.is_at_beginning():
                    block = block.removeprefix(b"\xef\xbb\xbf")
                    if block[:2] in UTF16_MARKS:
                        yield block, "the file is UTF-16; convert it to UTF-8"
                        return
                for value in scanner.values(block):
                    count += 1
                    if count > allowed_rows(stored_bytes):
                        raise too_many_rows(file.name, stored_bytes)
                    yield value
    except BROKEN_STREAM as error:
        yield bytes(scanner.buffer), f"the file is truncated or broken here: {error}"
        return
    yield from scanner.rest()


class _Scanner:
    """Finds the values at one depth of a document that arrives in blocks."""

    def __init__(self, target_depth: int):
        self.target_depth = target_depth
        self.buffer = bytearray()
        # Next byte to inspect; end of the last value; beginning of the current value, or -1; open brackets.
        self.position = self.end = self.depth = 0
        self.begin = -1
        self.is_in_string = False

    def is_at_beginning(self) -> bool:
        return not self.buffer and not self.depth

    def values(self, block: bytes) -> Iterator[Value]:
        """The values that the next block completes. Raises EOFError if the rest cannot be read."""
        self.buffer += block
        if not self.is_in_string or self._string_ends():
            while (match := TOKEN.search(self.buffer, self.position)) is not None:
                begin, self.position = match.span()
                if self.buffer[begin] == QUOTE:
                    if self.position - begin == 1 and not self._string_ends():
                        break
                else:
                    yield from self._bracket(begin)
        used = self.begin if self.begin >= 0 else min(self.end, self.position)
        del self.buffer[:used]
        self.position, self.end, self.begin = self.position - used, self.end - used, min(self.begin, 0)
        if len(self.buffer) > source_policy.MAX_ROW_BYTES:
            raise EOFError(
                f"a row of more than {source_policy.MAX_ROW_BYTES} bytes;"
                " it and the rest of the file are not read"
            )

    def rest(self) -> Iterator[Value]:
        """Faults at the end of the document."""
        if self.depth:
            yield bytes(self.buffer), "the file is truncated or broken here: the document does not end"
        else:
            yield from _between(self.buffer[self.end :], 1)

    def _string_ends(self) -> bool:
        """Advance to the end of a string within the data so far; True if the string ends there."""
        match = INSIDE_STRING.match(self.buffer, self.position)
        self.position = match.end() if match else self.position
        self.is_in_string = self.position >= len(self.buffer) or self.buffer[self.position] != QUOTE
        self.position += not self.is_in_string
        return not self.is_in_string

    def _bracket(self, begin: int) -> Iterator[Value]:
        if self.buffer[begin] in b"[{":
            if self.depth == self.target_depth:
                yield from _between(self.buffer[self.end : begin], self.target_depth)
                self.begin = begin
            elif self.depth == 0:
                yield from _between(self.buffer[self.end : begin], 1)
                self.end = self.position
            self.depth += 1
            return
        self.depth -= 1
        if self.depth == self.target_depth:
            yield bytes(self.buffer[self.begin : self.position]), None
            self.end, self.begin = self.position, -1
        elif self.depth < self.target_depth:
            yield from _between(self.buffer[self.end : begin], self.target_depth)
            self.end = self.position
        if self.depth < 0:
            raise EOFError("a closing bracket has no opening bracket")


def _between(text: bytearray, target_depth: int) -> Iterator[Value]:
    """Invalid text between the values of a list; between the values of an object there are keys."""
    rest = bytes(text).strip(b" \t\r\n,")
    if target_depth == 1 and rest:
        yield rest, "neither an object nor a list"
