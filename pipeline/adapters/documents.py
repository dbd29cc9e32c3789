"""Rows out of one large JSON document, one at a time: the lists and objects that stand at a given depth of it.

Result files of LiveCodeBench and EvalPlus are single documents. They are read in blocks, so that memory is bounded by
`MAX_ROW_BYTES` whatever the size of the file, and each row keeps its bytes, for the quarantine.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from pipeline.adapters import Refused, SourceFile
from pipeline.adapters import lines as json_lines
from pipeline.adapters.lines import (
    BROKEN_STREAM,
    KEPT_OF_GIANT_BYTES,
    UTF16_MARKS,
    JsonRow,
    blocks,
    opened,
    parse,
)

# A whole string, a bracket, or the quotation mark of a string whose end has not been read yet.
TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+"|["\[\]{}]', re.DOTALL)


def document_rows(file: SourceFile, depth: int = 1) -> Iterator[JsonRow | Refused]:
    """Every chosen value at a depth of the document, numbered from 1: at 1 the objects of a list [{...}, {...}], at 2
    the lists of {"eval": {"task": [{...}], ...}}, as rows {"items": [...]}.

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


def _values(file: SourceFile, wanted: int) -> Iterator[tuple[bytes, str | None]]:
    """(bytes, fault or None) of the values at depth `wanted`, and of what should not be between them."""
    held = bytearray()
    # Next byte to look at; end of the last value; beginning of the value being read, or -1; open brackets.
    place = end = depth = 0
    begin = -1
    try:
        with opened(file) as stored:
            for block in blocks(file, stored):
                if not held and not depth:
                    block = block.removeprefix(b"\xef\xbb\xbf")
                    if block[:2] in UTF16_MARKS:
                        yield block, "the file is UTF-16; convert it to UTF-8"
                        return
                held += block
                while (match := TOKEN.search(held, place)) is not None:
                    place, bracket = match.end(), held[match.start()]
                    if bracket == 0x22:
                        if match.end() - match.start() == 1:
                            place = match.start()
                            break
                    elif bracket in b"[{":
                        if depth == wanted:
                            yield from _between(held[end : match.start()], wanted)
                            begin = match.start()
                        elif depth == 0:
                            yield from _between(held[end : match.start()], 1)
                            end = place
                        depth += 1
                    else:
                        depth -= 1
                        if depth == wanted:
                            yield bytes(held[begin:place]), None
                            end, begin = place, -1
                        elif depth < wanted:
                            yield from _between(held[end : match.start()], wanted)
                            end = place
                    if depth < 0:
                        raise EOFError("a bracket closes that was not open")
                used = begin if begin >= 0 else min(end, place)
                del held[:used]
                place, end, begin = place - used, end - used, min(begin, 0)
                if len(held) > json_lines.MAX_ROW_BYTES:
                    raise EOFError(
                        f"a row of more than {json_lines.MAX_ROW_BYTES} bytes; neither it nor what follows is read"
                    )
    except BROKEN_STREAM as error:
        yield bytes(held), f"the file is truncated or broken here: {error}"
        return
    if depth:
        yield bytes(held), "the file is truncated or broken here: the document does not end"
    else:
        yield from _between(held[end:], 1)


def _between(text: bytearray, wanted: int) -> Iterator[tuple[bytes, str | None]]:
    """What stands between the values of a list, but for commas; between those of an object there are keys."""
    rest = bytes(text).strip(b" \t\r\n,")
    if wanted == 1 and rest:
        yield rest, "neither an object nor a list"
