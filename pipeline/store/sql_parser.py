"""What DuckDB's parser says of a text: its statements, the syntax tree of a SELECT, its tokens. Nothing is
run.
"""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.later import later

if TYPE_CHECKING:
    import duckdb
else:
    duckdb = later("duckdb")


# Of the files that a connection can only read, see `pipeline/store/read_only_files.py`.
PROTOCOL = "store"
SHOWN_CHARACTERS = 80
IMPOSSIBLE_HINT = re.compile(
    r"Please try installing and loading|INSTALL \w+;?$|LOAD \w+;?$|For more information"
)
_local = threading.local()


class SqlError(ValueError):
    """A query that is refused or that DuckDB cannot run; one line that says what is wrong and, where
    known, what was meant.
    """


class Token(NamedTuple):
    """A token of a text; `offset` is in bytes of its UTF-8 form."""

    offset: int
    text: str
    is_word: bool  # a keyword or a name without quotation marks

    @property
    def name(self) -> str:
        """As a name is looked up: in lower case, without quotation marks."""
        text = self.text[1:-1].replace('""', '"') if self.text.startswith('"') else self.text
        return text.lower()


def parser() -> duckdb.DuckDBPyConnection:
    """A connection of this thread that parses and runs nothing of anybody's."""
    held = getattr(_local, "parser", None)
    if held is None or held[0] != os.getpid():
        settings: dict[str, Any] = {"threads": 1, "enable_external_access": False, "lock_configuration": True}
        held = _local.parser = (os.getpid(), duckdb.connect(config=settings))
    return held[1]


def statements(text: str) -> list[duckdb.Statement]:
    """The statements of a text. Raises SqlError for wrong syntax."""
    if "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
        raise SqlError(f"a query is text without NUL characters and unpaired surrogates: {text[:40]!a}")
    try:
        return parser().extract_statements(text)
    except duckdb.Error as error:
        raise SqlError(in_one_line(error)) from error


def single_statement(text: str) -> duckdb.Statement:
    """The only statement of a text. Raises SqlError for several and for none."""
    parsed = statements(text)
    if len(parsed) != 1:
        held = f"holds {len(parsed)} statements" if parsed else "holds none"
        raise SqlError(f"one query at a time, and this {held}: {shortened(text)}")
    return parsed[0]


def kind_of_statement(statement: duckdb.Statement) -> str:
    """SELECT, EXPLAIN, COPY and so on; OTHER for one that DuckDB's own Python package does not know."""
    try:
        return statement.type.name
    except ValueError:
        return "OTHER"


def select_node(text: str) -> dict[str, Any]:
    """The syntax tree of a text that is one SELECT. Raises SqlError for anything else."""
    single_statement(text)
    serialized = parser().execute("SELECT json_serialize_sql($1)", [text]).fetchall()[0][0]
    try:
        tree = json.loads(serialized)
    except RecursionError:
        raise SqlError(f"the query is nested too deeply: {shortened(text)}") from None
    if tree["error"] or len(tree["statements"]) != 1:
        raise SqlError(f"not one SELECT ({tree.get('error_message', 'several')}): {shortened(text)}")
    return tree["statements"][0]["node"]


def nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Every node of a syntax tree."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            yield node
            waiting += node.values()
        elif isinstance(node, list):
            waiting += node


def tokens(text: str) -> list[Token]:
    """The tokens of a text without its comments.

    Raises SqlError for spaces that DuckDB's tokenizer takes for letters and its parser does not.
    """
    encoded = text.encode()
    spans = duckdb.tokenize(text)
    ends = [*(offset for offset, _ in spans[1:]), len(encoded)]
    result = []
    for (offset, kind), end in zip(spans, ends, strict=True):
        if kind == duckdb.token_type.comment:
            continue
        token = encoded[offset:end].decode().strip(" \t\r\n\f\v")
        is_word = kind in (duckdb.token_type.keyword, duckdb.token_type.identifier) and token[:1] != '"'
        if is_word and not token.replace("$", "_").isidentifier():
            raise SqlError(f"{token!r} is not a word: write a plain space between words")
        result.append(Token(offset, token, is_word))
    return result


def in_one_line(error: duckdb.Error) -> str:
    """DuckDB's message, or that of our file system in it, without the lines that repeat the query."""
    message = str(error).replace(f"{PROTOCOL}://", "")
    if "Traceback (most recent call last)" in message:
        message = message.strip().splitlines()[-1].partition(": ")[2]
    message = message.split("\nLINE ")[0].strip()
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    # No extension can be loaded here, so that DuckDB's hints on how to load one lead nowhere.
    useful = [line for line in lines if not IMPOSSIBLE_HINT.match(line)]
    return "; ".join(useful or lines)


def shortened(text: str) -> str:
    return f"{' '.join(text.split()):.{SHOWN_CHARACTERS}}"
