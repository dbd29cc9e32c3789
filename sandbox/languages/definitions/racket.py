"""Racket."""

from sandbox.languages.language import Language

HELLO = """#lang racket/base
(display (string-append "Hello, " (read-line) "!"))
"""

LANGUAGES = (
    Language(
        "racket",
        aliases=("rkt",),
        suffixes=(".rkt",),
        hello=HELLO,
        source_name="main.rkt",
        run=("racket", "{source}"),
        version=("racket", "--version"),
        folders=("/etc/racket", "/usr/share/racket"),
        memory_overhead_mb=128,
        extra_processes=8,
        memory_errors=r"out of memory",
    ),
)
