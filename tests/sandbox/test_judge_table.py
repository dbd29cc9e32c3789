"""The tables in the sandbox's README are those that `./run bench judge --write` makes."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def table():
    path = ROOT / "tests" / "benchmarks" / "judge_table.py"
    spec = importlib.util.spec_from_file_location("judge_table", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def blocks():
    """{name: text of a block} of the README."""
    text = (ROOT / "sandbox" / "README.md").read_text()
    pattern = r"<!-- bench judge, (\w+): begin -->.*?<!-- bench judge, \1: end -->"
    return {match[1]: match[0] for match in re.finditer(pattern, text, re.DOTALL)}


def rows_of(block):
    """The cells of the rows below the head."""
    return [cells(line) for line in block.split("\n\n")[1].splitlines()[2:]]


def test_the_readme_has_the_languages_that_the_command_writes(table):
    block = blocks()["languages"]
    rows = [
        table.LanguageRow(name, tools, int(right), int(tried), *(float(n or 0) for n in numbers))
        for name, tools, right, tried, *numbers in rows_of(block)
    ]
    assert table.block("languages", rows) == block
    assert {"python3", "cpp", "java"} <= {row.language for row in rows if row.tests > 0}
    assert all(row.right == row.tried > 0 for row in rows)


def test_the_readme_has_the_claims_that_the_command_writes(table):
    block = blocks()["claims"]
    rows = [
        table.ClaimRow(source, language, *map(int, counts)) for source, language, *counts in rows_of(block)
    ]
    assert table.block("claims", rows) == block
    assert sum(row.solutions - row.agreeing - row.explained for row in rows) == 0


def test_a_table_is_written_between_its_marks(table, tmp_path):
    readme = tmp_path / "README.md"
    marks = "<!-- bench judge, {0}: begin -->\n{1}\n<!-- bench judge, {0}: end -->\n"
    readme.write_text("before\n" + marks.format("languages", "old") + marks.format("claims", "kept"))
    table.write("languages", [table.LanguageRow("c", "gcc | 12", 3, 4, 123.4, 5.678, 0.0)], readme)
    lines = (
        "\n| language | tool chain | right | tried | programs / core-s | tests / core-s"
        " | bare runs / core-s |\n"
        "| --- | --- | --- | --- | --- | --- | --- |\n"
        "| c | gcc / 12 | 3 | 4 | 123 | 5.68 |  |\n"
    )
    assert readme.read_text() == "before\n" + marks.format("languages", lines) + marks.format(
        "claims", "kept"
    )
    table.write("claims", [table.ClaimRow("mbpp", "python3", 974, 973, 1)], readme)
    lines_of_claims = (
        "\n| source | language | solutions | agreeing | explained |\n"
        "| --- | --- | --- | --- | --- |\n"
        "| mbpp | python3 | 974 | 973 | 1 |\n"
    )
    assert readme.read_text() == (
        "before\n" + marks.format("languages", lines) + marks.format("claims", lines_of_claims)
    )


def test_a_readme_without_marks_is_left_alone(table, tmp_path):
    (tmp_path / "README.md").write_text("nothing\n")
    with pytest.raises(ValueError, match="has no lines <!-- bench judge, claims: begin -->"):
        table.write("claims", [], tmp_path / "README.md")
