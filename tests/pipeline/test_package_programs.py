"""Submissions of several files, from the folder of a package to the verdict."""

from __future__ import annotations

import json

import pytest

from pipeline.adapters import ReadTrajectory, Refused, find
from pipeline.adapters.trees import program_language
from pipeline.ingest.ingestion import ingest
from pipeline.labelling.labeller import label
from pipeline.labelling.submissions import output_limit_bytes
from pipeline.store.sql import connect, query
from pipeline.store.store import Store
from sandbox import Pool, Test

MAIN = "from lib import twice\nprint(twice(int(input())))\n"
BUILD = "#!/bin/sh\nprintf '#!/usr/bin/python3\\nprint(int(input()) * %s)\\n' $(cat factor) > run\n"


def package(root, **submissions):
    files = {
        "problem.yaml": "name: Twice\nlimits: {time_limit: 2}\n",
        "problem_statement/problem.en.md": "Print it twice as large.",
        "data/secret/1.in": "4\n",
        "data/secret/1.ans": "8\n",
        **{f"submissions/{name.replace('__', '/')}": text for name, text in submissions.items()},
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def submissions_of(root, **submissions):
    adapter = find("kattis")
    (file,) = adapter.files(str(package(root / "contest" / "twice", **submissions)), None)
    return list(adapter.read(file))[1:]


def test_they_are_judged(tmp_path):
    package(
        tmp_path / "contest" / "twice",
        **{
            "accepted/two/main.py": MAIN,
            "accepted/two/lib.py": "twice = lambda n: 2 * n\n",
            "wrong_answer/two/main.py": MAIN,
            "wrong_answer/two/lib.py": "twice = lambda n: 3 * n\n",
            "accepted/built/build": BUILD,
            "accepted/built/factor": "2",
            "wrong_answer/built/build": BUILD,
            "wrong_answer/built/factor": "3",
            "accepted/one/only.py": "print(2 * int(input()))",
            "accepted/one/README": "nothing",
        },
    )
    store = Store(tmp_path / "store")
    ingest(store, "kattis", str(tmp_path / "contest"))
    with Pool(1) as pool:
        label(store, pool)
    with connect(store) as connection:
        actual = query(connection, "select source_key, claimed_verdict, verdict, language from judged")
    assert actual.height == 5
    assert actual.filter(actual["verdict"] != actual["claimed_verdict"]).is_empty(), actual
    languages = dict(actual.select("source_key", "language").iter_rows())
    assert (languages["accepted/two"], languages["accepted/built"]) == ("python3", "script")


def test_the_program_is_the_file_that_it_begins_in(tmp_path):
    (item,) = submissions_of(tmp_path, **{"accepted/a/x.py": "import y", "accepted/a/y.py": "print(8)"})
    assert (item.row["program"], json.loads(item.row["files"])) == ("import y", [["y.py", "print(8)"]])
    assert (item.row["source_key"], item.row["claimed_verdict"]) == ("accepted/a", "accepted")


MODULES = {
    "javascript": {"x.js": "import { f } from './y.js'; f();", "y.js": "export function f() {}"},
    "ruby": {"x.rb": "require_relative 'y'", "y.rb": "def f; end"},
    "pascal": {"x.pas": "program p;\nuses y;\nbegin end.", "y.pas": "unit y;\ninterface\nend."},
    "csharp": {"x.cs": "class P { static void Main() {} }", "y.cs": "class Y {}"},
}


@pytest.mark.parametrize("language", MODULES)
def test_the_program_is_the_file_that_no_other_uses(tmp_path, language):
    files = {f"accepted/a/{name}": text for name, text in MODULES[language].items()}
    (item,) = submissions_of(tmp_path, **files)
    main = next(iter(MODULES[language].values()))
    assert (item.row["language"], item.row["program"]) == (language, main)


@pytest.mark.parametrize("entry", ["second.cpp", "second"])
def test_the_entry_point_is_the_one_that_submissions_yaml_names(tmp_path, entry):
    (item,) = submissions_of(
        tmp_path,
        **{
            "submissions.yaml": f"accepted/a: {{entrypoint: {entry}, permitted: [WA]}}\n",
            "accepted/a/first.cpp": "int main() { return 1; }",
            "accepted/a/second.cpp": "int main() { return 2; }",
        },
    )
    assert (item.row["program"], item.row["claimed_verdict"]) == ("int main() { return 2; }", "wrong_answer")


def test_a_named_entry_point_goes_before_usual_names(tmp_path):
    files = {"submissions.yaml": "accepted/a: {entrypoint: x.py}\n", "accepted/a/main.py": "1"}
    (item,) = submissions_of(tmp_path, **files, **{"accepted/a/x.py": "2"})
    assert item.row["program"] == "2"


UNCLEAR = {
    "has sources of 2 languages": {"accepted/a/a.py": "", "accepted/a/b.cpp": ""},
    "has sources of 0 languages": {"accepted/a/a.txt": "", "accepted/a/b.txt": ""},
    "cannot tell in which of 2 files": {"accepted/a/a.cpp": "main()", "accepted/a/b.cpp": "main()"},
}


@pytest.mark.parametrize("reason", UNCLEAR)
def test_what_is_not_one_program_is_refused(tmp_path, reason):
    (item,) = submissions_of(tmp_path, **UNCLEAR[reason])
    assert isinstance(item, Refused) and reason in item.reason


def test_a_single_file_keeps_its_id(tmp_path):
    (item,) = submissions_of(tmp_path, **{"accepted/a.py": "print(8)"})
    assert isinstance(item, ReadTrajectory) and item.row.get("files") is None


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("#!/usr/bin/env python2\nprint(1)\n", "python2"),
        ("#!/usr/bin/python2.7 -u\nprint(1)\n", "python2"),
        ("#!/usr/bin/env python3\nprint 1\n", "python3"),
        ("#!/usr/bin/env python\nprint 1\n", "python2"),
        ("# python2\nprint(1)\n", "python3"),
    ],
)
def test_the_first_line_of_a_program_decides_between_versions_of_python(text, language):
    assert program_language(".py", text) == language


def test_long_expected_outputs_raise_the_limit():
    tests = tuple(Test(str(n), "stdin", "", "x" * (n << 20)) for n in (1, 12))
    assert output_limit_bytes(tests) == 24 << 20
    assert output_limit_bytes(tests[:1]) == output_limit_bytes(()) == 16 << 20
