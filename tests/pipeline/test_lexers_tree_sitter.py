"""Lexers against tree-sitter's grammars: the same comments and strings, at the same bytes.

Programs that tree-sitter cannot parse whole are left out, for there it guesses.
"""

import gzip
import json
import os
import re
from pathlib import Path

import polars as pl
import pytest

from pipeline.dedup.lexers import lexer_of

tree_sitter = pytest.importorskip("tree_sitter")

AWKWARD = Path(__file__).parent / "awkward"
DATA = Path(os.environ.get("SPO_DATA", Path(__file__).parents[2] / "../shared/data"))
needs_bundle = pytest.mark.skipif(not DATA.is_dir(), reason="the contest bundle is not here; set SPO_DATA")
# All after Java are compared where they are installed: pip install tree-sitter-c tree-sitter-c-sharp
# tree-sitter-go, -rust, -php
GRAMMARS = {
    "python3": "tree_sitter_python",
    "cpp": "tree_sitter_cpp",
    "java": "tree_sitter_java",
    "c": "tree_sitter_c",
    "csharp": "tree_sitter_c_sharp",
    "go": "tree_sitter_go",
    "rust": "tree_sitter_rust",
    "php": "tree_sitter_php",
}
KINDS = {
    "comment": "comment",
    "line_comment": "comment",
    "block_comment": "comment",
    "string": "string",
    "string_literal": "string",
    "raw_string_literal": "string",
    "char_literal": "string",
    "character_literal": "string",
    "interpreted_string_literal": "string",
    "rune_literal": "string",
    "verbatim_string_literal": "string",
    "interpolated_string_expression": "string",
    "encapsed_string": "string",
}
# Human programs enough.
MOST = ("python3", "cpp", "java")
STARTS_STRING = re.compile(
    r"""(?:[rRbBuUfF]{0,2}#{0,2}|u8|[uUL]|[@$]{1,2})R?(?:["`]|'(?![A-Za-z_][A-Za-z0-9_]*$))"""
)


def by_tree_sitter(program, language):
    """[(kind, first byte, last byte)] of comments and strings, and the spans that it keeps as raw text;
    None if it fails.
    """
    grammar = pytest.importorskip(GRAMMARS[language])
    made = getattr(grammar, f"language_{language}", None) or grammar.language
    tree = tree_sitter.Parser(tree_sitter.Language(made())).parse(program)
    if tree.root_node.has_error:
        return None
    spans, opaque, waiting = [], [], [tree.root_node]
    while waiting:
        node = waiting.pop()
        if node.type in KINDS:
            spans.append(trimmed(KINDS[node.type], program, node.start_byte, node.end_byte))
        elif node.type == "preproc_arg":
            opaque.append((node.start_byte, node.end_byte))
        else:
            waiting += node.children
    return sorted(spans, key=lambda span: span[1]), opaque


def by_lexer(program, language):
    """The same by our pattern: between its tokens there is white space alone, so each lies at the next
    place it occurs.
    """
    lexer = lexer_of(language)
    spans, place = [], 0
    for token in pl.Series([program.decode()]).str.extract_all(lexer.pattern)[0]:
        text = token.encode()
        begin = program.index(text, place)
        assert not program[place:begin].strip(), (place, program[place:begin])
        place = begin + len(text)
        if token.startswith(lexer.comments) and not token.startswith("\\"):
            spans.append(trimmed("comment", program, begin, place))
        elif STARTS_STRING.match(token) and len(token) > 1:
            spans.append(trimmed("string", program, begin, place))
    return spans


def trimmed(kind, program, begin, end):
    """Whether the carriage return belongs to a comment is a matter of taste."""
    return kind, begin, begin + len(program[begin:end].rstrip())


def difference(program, language):
    """What only one of them sees; None where tree-sitter fails."""
    theirs = by_tree_sitter(program, language)
    if theirs is None:
        return None
    spans, opaque = theirs
    ours = [
        span
        for span in by_lexer(program, language)
        if not any(a <= span[1] and span[2] <= b for a, b in opaque)
    ]
    spans = [span for span in spans if not any(a <= span[1] and span[2] <= b for a, b in opaque)]
    return sorted(set(ours) ^ set(spans), key=lambda span: span[1])


# By hand: comments and strings in each file.
@pytest.mark.parametrize(
    ("language", "comments", "strings"), [("python3", 12, 39), ("cpp", 17, 19), ("java", 13, 16)]
)
def test_awkward_programs(language, comments, strings):
    program = (AWKWARD / f"strings.{language}").read_bytes()
    actual = difference(program, language)
    assert actual == [], [(kind, program[begin:end]) for kind, begin, end in actual]
    kinds = [kind for kind, _, _ in by_lexer(program, language)]
    assert (kinds.count("comment"), kinds.count("string")) == (comments, strings)


def test_the_comparison_sees_a_difference(monkeypatch):
    """A pattern that ends strings too early must not pass."""
    broken = lexer_of("cpp").pattern.replace(r'"(?:[^"\\\r\n]|\\(?:\r\n|[\s\S]))*"', r'"[^"]*"')
    monkeypatch.setitem(globals(), "lexer_of", lambda _: Broken(broken))
    assert difference(b'char *a = "\\"// no"; // yes\n', "cpp")


class Broken:
    comments = ("//", "/*")

    def __init__(self, pattern):
        self.pattern = pattern


@needs_bundle
@pytest.mark.slow
@pytest.mark.parametrize(
    ("language", "least"),
    [
        ("python3", 5_000),
        ("cpp", 900),
        ("java", 700),
        ("c", 300),
        ("csharp", 300),
        ("go", 300),
        ("rust", 300),
        ("php", 300),
    ],
)
def test_real_programs(language, least):
    programs = set()
    # Programs in C#, Go, C, Rust and PHP are those of models, for the most part.
    for name, column in (("human_solutions", "source"), ("model_samples", "code")):
        with gzip.open(DATA / f"{name}.jsonl.gz", "rt") as lines:
            rows = map(json.loads, lines)
            programs |= {
                row[column]
                for row in rows
                if row["language"] == language and (column == "source" or language not in MOST)
            }
    actual = {program: difference(program.encode(), language) for program in sorted(programs)}
    compared = {program: spans for program, spans in actual.items() if spans is not None}
    wrong = {program: spans for program, spans in compared.items() if spans}
    print(
        f"{language}: {len(programs)} programs, {len(compared)} parsed,"
        f" {len(wrong)} with other comments or strings"
    )
    assert len(compared) >= least
    assert len(wrong) <= len(compared) // 1000, [
        (program.encode()[span[1] : span[2]], span)
        for program, spans in list(wrong.items())[:5]
        for span in spans[:2]
    ]
