"""What tests of a package give to programs beside their input: command lines, files, and included code."""

from __future__ import annotations

import json

import pytest

from pipeline.adapters import ReadProblem, Refused, find
from pipeline.ingest.ingestion import ingest
from pipeline.labelling.labeller import label
from pipeline.store.sql import connect, query
from pipeline.store.store import Store
from sandbox import Pool

SHOW = "import sys\nprint(*sys.argv[1:], open('a/note.txt').read() if len(sys.argv) > 2 else '')\n"


def package(root, **files):
    given = {
        "problem.yaml": "name: Show\nlimits: {time_limit: 2}\n",
        "problem_statement/problem.en.md": "Show what you are given.",
        "data/secret/1.in": "",
        "data/secret/1.ans": "one\n",
        **{name: text for name, text in files.items()},
    }
    for name, text in given.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return root


def judged(tmp_path):
    store = Store(tmp_path / "store")
    ingest(store, "kattis", str(tmp_path / "c"))
    with Pool(1) as pool:
        label(store, pool)
    with connect(store) as connection:
        return dict(query(connection, "select source_key, verdict from judged").iter_rows())


def problem_of(root):
    adapter = find("kattis")
    (file,) = adapter.files(str(root), None)
    return next(iter(adapter.read(file)))


SURROUNDED = {
    "data/secret/1.yaml": "args: [one]\n",
    "data/secret/2.in": "",
    "data/secret/2.ans": "two words here\n",
    "data/secret/2.args": "two 'words'\n",
    "data/secret/2.files/a/note.txt": "here\n",
    "data/secret/3.in": "",
    "data/secret/3.ans": "from the group\n",
    "data/secret/test_group.yaml": "args: [from, the]\n",
    "data/secret/3.files/a/note.txt": "group\n",
}


def test_programs_get_their_command_lines_and_files(tmp_path):
    package(
        tmp_path / "c" / "show",
        **SURROUNDED,
        **{
            "submissions/accepted/a.py": SHOW,
            "submissions/wrong_answer/b.py": "print('one')",
            "submissions/accepted/c.c": "#include <stdio.h>\nint main(int n, char **a) {"
            " for (int i = 1; i < n; i++) puts(a[i]);"
            ' FILE *f = fopen("a/note.txt", "r"); int c; while (f && (c = getc(f)) != EOF) putchar(c); }',
        },
    )
    assert judged(tmp_path) == {
        "accepted/a.py": "accepted",
        "wrong_answer/b.py": "wrong_answer",
        "accepted/c.c": "accepted",
    }


def test_they_are_a_part_of_the_tests(tmp_path):
    item = problem_of(package(tmp_path / "c" / "show", **SURROUNDED))
    assert [test.get("arguments") for test in item.tests] == [["one"], ["two", "words"], ["from", "the"]]
    assert [json.loads(test.get("files", "[]")) for test in item.tests] == [
        [],
        [["a/note.txt", "here\n"]],
        [["a/note.txt", "group\n"]],
    ]


def test_included_files_are_beside_every_submission(tmp_path):
    grader = "#pragma once\ninline int twice(int n) { return 2 * n; }\n"
    package(
        tmp_path / "c" / "twice",
        **{
            "data/secret/1.in": "4\n",
            "data/secret/1.ans": "8\n",
            "include/cpp/grader.h": grader,
            "include/default/grader.py": "def twice(n):\n    return 3 * n\n",
            "include/python3/grader.py": "def twice(n):\n    return 2 * n\n",
            "submissions/accepted/a.py": "from grader import twice\nprint(twice(int(input())))",
            "submissions/accepted/b.cpp": '#include "grader.h"\n#include <iostream>\n'
            "int main() { int n; std::cin >> n; std::cout << twice(n); }",
            "submissions/run_time_error/c.py": "import nothing",
        },
    )
    assert judged(tmp_path) == {
        "accepted/a.py": "accepted",
        "accepted/b.cpp": "accepted",
        "run_time_error/c.py": "runtime_error",
    }


REFUSED = {
    "is not a plain file name": {"data/secret/1.files/-x": "1"},
    "is not UTF-8": {"data/secret/1.files/x.bin": b"\xff\xfe"},
    "args in data/secret/1.yaml is neither": {"data/secret/1.yaml": "args: {a: 1}"},
    "include/python3/main.py is a driver": {"include/python3/main.py": "import solution"},
    "No closing quotation": {"data/secret/1.args": "'one"},
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_cannot_be_given_refuses_the_package(tmp_path, reason):
    item = problem_of(package(tmp_path / "c" / "show", **REFUSED[reason]))
    assert isinstance(item, Refused) and reason in item.reason


def test_files_of_tests_are_no_tests(tmp_path):
    item = problem_of(package(tmp_path / "c" / "show", **{"data/secret/1.files/2.in": "1"}))
    assert isinstance(item, ReadProblem) and [test["test_id"] for test in item.tests] == ["secret/1"]
