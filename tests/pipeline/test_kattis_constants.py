"""Constants of a package, in every kind of file that may use them: from folder to verdict."""

from __future__ import annotations

import json

import pytest

from pipeline.adapters import Refused, find
from pipeline.ingest.ingestion import ingest
from pipeline.labelling.labeller import label
from pipeline.store.sql import connect, query
from pipeline.store.store import Store
from sandbox import Pool

YAML = """
problem_format_version: 2025-09
name: Constants
uuid: 1
limits: {time_limit: 2}
constants:
  most: {value: 5000, tex: "5\\\\,000"}
  word: seven
  tolerance: 0.5
"""
VALIDATOR = "import sys\nsys.exit(42 if sys.stdin.read().strip() == '{{most}} {{word.value}}' else 43)\n"
FILES = {
    "problem.yaml": YAML,
    "statement/problem.en.md": "At most {{most}} ({{most.tex}}), {{word}}, {{other}}, {{most.other}}.",
    "data/secret/1.in": "{{most}}\n",
    "data/secret/1.ans": "1\n",
    "output_validator/v.py": VALIDATOR,
    "include/python3/lib.py": "most = {{most}}\n",
    "submissions/accepted/a.py": "import lib\nprint(lib.most, '{{word}}')",
    "submissions/accepted/input.py": "print('5000', 'seven' if input() == '{' + '{most}}' else '')",
    "submissions/wrong_answer/w.py": "print('{{most.tex}}', '{{word}}')",
}


def package(root, **changes):
    for name, text in (FILES | {name.replace("__", "/"): text for name, text in changes.items()}).items():
        if text is not None:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
    return root


def items_of(root):
    (file,) = find("kattis").files(str(root), None)
    return list(find("kattis").read(file))


def verdicts(tmp_path):
    store = Store(tmp_path / "store")
    ingest(store, "kattis", str(tmp_path / "c"))
    with Pool(1) as pool:
        label(store, pool)
    with connect(store) as connection:
        return dict(query(connection, "select source_key, verdict from judged").iter_rows())


def test_statement_validator_included_code_and_submissions(tmp_path):
    problem, *_ = items_of(package(tmp_path / "c" / "p"))
    assert problem.row["statement"] == (
        "At most 5000 (5\\,000), seven, {{other}}, {{most.other}}."  # what names nothing stays
    )
    assert problem.tests[0]["input"] == "{{most}}\n"  # test data is as it is
    assert "'5000 seven'" in json.loads(problem.row["programs"])[0]["text"]
    assert verdicts(tmp_path) == {
        "accepted/a.py": "accepted", "accepted/input.py": "accepted", "wrong_answer/w.py": "wrong_answer",
    }  # fmt: skip


def test_the_command_of_tex_and_the_flags_of_a_group(tmp_path):
    files = {
        "statement/problem.en.md": None,
        "statement/problem.en.tex": "At most \\constant{most} (\\constant{ most.tex }), \\constant{other}.",
        "data/secret/test_group.yaml": "output_validator_args: [float_tolerance, '{{tolerance}}']\n",
        "output_validator/v.py": None,
        "submissions/accepted/a.py": "print(1.4)",
        "submissions/accepted/input.py": None,
        "submissions/wrong_answer/w.py": "print(1.6)",
    }
    root = tmp_path / "c" / "p"
    for name, text in (FILES | files).items():
        if text is not None:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
    problem, *_ = items_of(root)
    assert problem.row["statement"].startswith("At most 5000 (5\\,000), ")
    assert problem.row["checker_arguments"] == ["float_tolerance", "0.5"]
    assert verdicts(tmp_path) == {"accepted/a.py": "accepted", "wrong_answer/w.py": "wrong_answer"}


@pytest.mark.parametrize(
    ("constants", "reason"),
    [
        ("[1]", "constants is not a mapping"),
        ("{a: {tex: 1}}", "the constant 'a' has no value"),
        ("{a: [1]}", "the constant 'a' is not a number or a text"),
        ("{a: true}", "the constant 'a' is not a number or a text"),
    ],
)
def test_constants_that_are_none(tmp_path, constants, reason):
    yaml = f"problem_format_version: 2025-09\nname: P\nconstants: {constants}\n"
    problem, *_ = items_of(package(tmp_path / "c" / "p", **{"problem.yaml": yaml}))
    assert isinstance(problem, Refused) and reason in problem.reason
