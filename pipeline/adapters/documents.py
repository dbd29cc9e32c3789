"""Rows out of one large JSON document, one at a time: the lists and objects that stand at a given depth of
it.

Result files of LiveCodeBench and EvalPlus are single documents. They are read in blocks, so that memory is
bounded by `source_policy.MAX_ROW_BYTES` whatever the size of the file, and each row keeps its bytes, for the
quarantine.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from pipeline.adapters import Refused, SourceFile, source_policy
from pipeline.adapters.lines import (
    BROKEN_STREAM,
    KEPT_OF_GIANT_BYTES,
    UTF16_MARKS,
    JsonRow,
    blocks,
    opened,
    parse,
    refused_in_place,
)
from pipeline.adapters.source_policy import allowed_rows, stored_bytes_of, too_many_rows

# A whole string, a bracket, or the quotation mark of a string whose end has not been read yet.
TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+"|["\[\]{}]', re.DOTALL)
# What may stand inside a string; a backslash whose letter has not been read yet is not part of it.
INSIDE_STRING = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
QUOTE = ord('"')
# (bytes, fault or None)
Value = tuple[bytes, str | None]


@refused_in_place
def document_rows(file: SourceFile, depth: int = 1) -> Iterator[JsonRow | Refused]:
    """Every chosen value at a depth of the document, numbered from 1: at 1 the objects of a list [{...},
    {...}], at 2 the lists of {"eval": {"task": [{...}], ...}}, as rows {"items": [...]}.

    What else stands at depth 1 is refused; where the document breaks, its rest is refused as one row.
    """
    chosen = file.draw() if file.draw else None
    file.rows_in_file = 0
    for raw, fault in _values(file, depth):
        file.rows_in_file += 1
        number = file.rows_in_file
        if fault is not None:
            yield Refused(number, raw[:KEPT_OF_GIANT_BYTES], fault, size=len(raw))
        elif chosen is None or number in chosen:
            yield document_row(number, raw)


def document_row(number: int, raw: bytes) -> JsonRow | Refused:
    """An object, or a list as {"items": [...]}."""
    return replace(parse(number, b'{"items": %b}' % raw if raw.lstrip()[:1] == b"[" else raw), raw=raw)


def _values(file: SourceFile, wanted: int) -> Iterator[Value]:
    """The values at depth `wanted`, and what should not be between them."""
    scanner, count = _Scanner(wanted), 0
    try:
        with opened(file) as stored:
            stored_bytes = stored_bytes_of(stored, file.size_bytes)
            for block in blocks(file, stored):
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
        yield bytes(scanner.held), f"the file is truncated or broken here: {error}"
        return
    yield from scanner.rest()


class _Scanner:
    """Finds the values at one depth of a document that comes block by block."""

    def __init__(self, wanted: int):
        self.wanted = wanted
        self.held = bytearray()
        # Next byte to look at; end of the last value; beginning of the value being read, or -1; open
        # brackets.
        self.place = self.end = self.depth = 0
        self.begin = -1
        self.is_in_string = False

    def is_at_beginning(self) -> bool:
        return not self.held and not self.depth

    def values(self, block: bytes) -> Iterator[Value]:
        """What the next block completes. Raises EOFError where the document cannot be read on."""
        self.held += block
        if not self.is_in_string or self._string_ends():
            while (match := TOKEN.search(self.held, self.place)) is not None:
                begin, self.place = match.span()
                if self.held[begin] == QUOTE:
                    if self.place - begin == 1 and not self._string_ends():
                        break
                else:
                    yield from self._bracket(begin)
        used = self.begin if self.begin >= 0 else min(self.end, self.place)
        del self.held[:used]
        self.place, self.end, self.begin = self.place - used, self.end - used, min(self.begin, 0)
        if len(self.held) > source_policy.MAX_ROW_BYTES:
            raise EOFError(
                f"a row of more than {source_policy.MAX_ROW_BYTES} bytes; neither it nor what follows is read"
            )

    def rest(self) -> Iterator[Value]:
        """What is left at the end of the document."""
        if self.depth:
            yield bytes(self.held), "the file is truncated or broken here: the document does not end"
        else:
            yield from _between(self.held[self.end :], 1)

    def _string_ends(self) -> bool:
        """Go on to the end of a string, as far as it has been read: its beginning is not looked at again
        with each block.
        """
        match = INSIDE_STRING.match(self.held, self.place)
        self.place = match.end() if match else self.place
        self.is_in_string = self.place >= len(self.held) or self.held[self.place] != QUOTE
        self.place += not self.is_in_string
        return not self.is_in_string

    def _bracket(self, begin: int) -> Iterator[Value]:
        if self.held[begin] in b"[{":
            if self.depth == self.wanted:
                yield from _between(self.held[self.end : begin], self.wanted)
                self.begin = begin
            elif self.depth == 0:
                yield from _between(self.held[self.end : begin], 1)
                self.end = self.place
            self.depth += 1
            return
        self.depth -= 1
        if self.depth == self.wanted:
            yield bytes(self.held[self.begin : self.place]), None
            self.end, self.begin = self.place, -1
        elif self.depth < self.wanted:
            yield from _between(self.held[self.end : begin], self.wanted)
            self.end = self.place
        if self.depth < 0:
            raise EOFError("a bracket closes that was not open")


def _between(text: bytearray, wanted: int) -> Iterator[Value]:
    """What stands between the values of a list, but for commas; between those of an object there are keys."""
    rest = bytes(text).strip(b" \t\r\n,")
    if wanted == 1 and rest:
        yield rest, "neither an object nor a list"
