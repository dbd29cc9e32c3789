"""SQL by SQLite, on an empty database in memory. Programs may use the commands of its shell."""

from sandbox.languages.language import Language

HELLO = """CREATE TABLE words (word TEXT);
.import /dev/stdin words
SELECT 'Hello, ' || word || '!' FROM words;
"""

LANGUAGES = (
    Language(
        "sql",
        aliases=("sqlite", "sqlite3"),
        suffixes=(".sql",),
        hello=HELLO,
        source_name="main.sql",
        run=("sqlite3", "-batch", "-bail", ":memory:", ".read {source}"),
        version=("sqlite3", "--version"),
        memory_errors=r"out of memory",
    ),
)
