"""Problem packages and programs in folders: real packages of the contest bundle, and small ones worked out
by hand.
"""

import gzip
import json
import os
from pathlib import Path

import pytest

from pipeline.adapters import ReadProblem, ReadTrajectory, Refused, SourceError, SourceFile, find
from pipeline.ingest.ingestion import ingest
from pipeline.ingest.validation import validate
from pipeline.store.store import Store

DATA = Path(os.environ.get("SPO_DATA", Path(__file__).parents[2] / "../shared/data"))
needs_bundle = pytest.mark.skipif(not DATA.is_dir(), reason="the contest bundle is not here; set SPO_DATA")
STATEMENT = r"""
\problemname{Sum}
% a remark
Add $n$ numbers, at most 5\% of them \emph{large}.

\section*{Input}
\begin{itemize}
  \item one line
\end{itemize}
"""


def write(root, files):
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def package(root, yaml="name: Sum\n", **files):
    files = {name.replace("__", "/"): content for name, content in files.items()}
    given = {
        "problem.yaml": yaml,
        "problem_statement/problem.en.tex": STATEMENT,
        "data/sample/1.in": "1 2\n",
        "data/sample/1.ans": "3\n",
    }
    return write(root, given | files)


def read(adapter, source, limit=None):
    actual = find(adapter)
    return [item for file in actual.files(str(source), limit) for item in actual.read(file)]


def of(items, kind):
    return [item for item in items if isinstance(item, kind)]


@needs_bundle
def test_real_packages_of_the_bundle(tmp_path):
    """Tests, submissions and comparison of the bundle's Kattis problems, back in folders, give the
    bundle's rows.
    """
    held, programs = {}, {}
    with gzip.open(DATA / "problems.jsonl.gz", "rt") as rows:
        for row in map(json.loads, rows):
            if row["source"] in ("kth2017", "po2019") and row["checker"]["kind"] != "custom":
                held[row["problem_id"]] = row
    with gzip.open(DATA / "human_solutions.jsonl.gz", "rt") as rows:
        for row in map(json.loads, rows):
            if row["problem_id"] in held:
                programs.setdefault(row["problem_id"], []).append(row)
    for name, row in held.items():
        checker, files = row["checker"], {}
        flags = (
            f"validator_flags: float_tolerance {checker['float_tol']}\n" if checker["kind"] == "float" else ""
        )
        for test in row["public_tests"] + row["hidden_tests"]:
            files[f"data/{test['name']}.in"], files[f"data/{test['name']}.ans"] = (
                test["input"],
                test["output"],
            )
        for one in programs[name]:
            files[f"submissions/{one['solution_id'].partition('#')[2]}"] = one["source"]
        yaml = f"name: {json.dumps(row['title'])}\nlicense: cc by-sa\nlimits:\n  memory: 1024\n{flags}"
        write(
            tmp_path / name,
            {"problem.yaml": yaml, "problem_statement/problem.en.md": row["statement"], **files},
        )
    for source in ("kth2017", "po2019"):
        items = read("kattis", tmp_path / source)
        faults, _ = validate(items)
        assert not faults and not of(items, Refused)
        for problem in of(items, ReadProblem):
            row = held[problem.row["problem_id"]]
            tests = row["public_tests"] + row["hidden_tests"]
            assert {(t["test_id"], t["input"], t["expected_output"]) for t in problem.tests} == {
                (t["name"], t["input"], t["output"]) for t in tests
            }
            tolerance = row["checker"].get("float_tol")
            assert (problem.row["checker"], problem.row["float_tol"]) == ("default_validator", None)
            flags = problem.row["checker_arguments"] or []
            assert flags == (["float_tolerance", str(tolerance)] if tolerance else [])
            assert (problem.row["title"], problem.row["memory_limit_mb"]) == (row["title"], 1024.0)
            assert problem.row["statement"] == row["statement"].strip()
        actual = {(t.row["problem_id"], t.row["source_key"]): t.row for t in of(items, ReadTrajectory)}
        expected = [one for name, rows in programs.items() if name.startswith(source) for one in rows]
        assert len(actual) == len(expected) > 40
        for one in expected:
            row = actual[one["problem_id"], one["solution_id"].partition("#")[2]]
            assert (row["program"], row["claimed_verdict"]) == (one["source"], one["verdict"])
            assert row["language"] == one["language"].rstrip("?")


CHECKERS = {
    "name: A": ("default_validator", None),
    "name: A\nvalidator_flags: case_sensitive space_change_sensitive": (
        "default_validator",
        ["case_sensitive", "space_change_sensitive"],
    ),
    "name: A\nvalidator_flags: float_relative_tolerance 1e-4 float_absolute_tolerance 1e-6": (
        "default_validator",
        ["float_relative_tolerance", "1e-4", "float_absolute_tolerance", "1e-6"],
    ),
    "name: A\nvalidation: custom": ("custom", None),
    "name: A\nvalidation: custom interactive\nvalidator_flags: [5, 6]": ("custom", ["5", "6"]),
    "name: A\ntype: [interactive]": ("custom", None),
}


@pytest.mark.parametrize("yaml", CHECKERS)
def test_how_outputs_are_compared(tmp_path, yaml):
    (problem,) = read("kattis", package(tmp_path / "contest" / "a", yaml))
    assert (problem.row["checker"], problem.row["checker_arguments"]) == CHECKERS[yaml]


REFUSED_WORDS = {
    "validation: custom two-pass": "validation has the unknown word 'two-pass'",
    "type: [pass-fail, quiz]": "type has the unknown word 'quiz'",
    "validator_flags: float_tolerance": "float_tolerance needs a number, not 'nothing'",
    "validator_flags: case_insensitive": "has no flag 'case_insensitive'",
    "validator_flags: {a: 1}": "validator_flags is neither a text nor a list of words",
}


@pytest.mark.parametrize("yaml", REFUSED_WORDS)
def test_a_package_that_asks_for_other_judging_is_refused(tmp_path, yaml):
    (problem,) = read("kattis", package(tmp_path / "contest" / "a", f"name: A\n{yaml}\n"))
    assert isinstance(problem, Refused) and REFUSED_WORDS[yaml] in problem.reason


def test_flags_of_groups_and_tests(tmp_path):
    """A test has the flags of its own file, else of the nearest group; most tests' are the problem's."""
    folder = package(tmp_path / "contest" / "a", "name: A\nvalidator_flags: case_sensitive")
    data = tmp_path / "contest" / "a" / "data"
    for stem in ("secret/g1/1", "secret/g1/2", "secret/g2/1", "secret/g2/2", "secret/g3/1"):
        (data / stem).parent.mkdir(parents=True, exist_ok=True)
        (data / f"{stem}.in").write_text("1\n")
        (data / f"{stem}.ans").write_text("1\n")
    (data / "secret/g1/testdata.yaml").write_text("output_validator_flags: float_tolerance 1e-3")
    (data / "secret/testdata.yaml").write_text("output_validator_flags: float_tolerance 1e-6")
    (data / "secret/g2/2.yaml").write_text("output_validator_args: []")
    (problem,) = (item for item in read("kattis", folder) if isinstance(item, ReadProblem))
    usual = problem.row["checker_arguments"]
    actual = {test["test_id"]: test.get("checker_arguments", usual) for test in problem.tests}
    wide, narrow = (["case_sensitive", "float_tolerance", tolerance] for tolerance in ("1e-3", "1e-6"))
    grouped = {name: flags for name, flags in actual.items() if "/g" in name}
    assert grouped == {
        "secret/g1/1": wide,
        "secret/g1/2": wide,
        "secret/g2/1": narrow,
        "secret/g2/2": ["case_sensitive"],
        "secret/g3/1": narrow,
    }


def test_a_package_whole(tmp_path):
    folder = package(
        tmp_path / "contest" / "sum",
        "name: {en: Sum, sv: Summa}\nlimits: {time_limit: 2.5, memory: 512}\nkeywords: [math]\n",
        data__secret__g__02=b"",
        **{
            "data/secret/g/02.in": "4 5\n",
            "data/secret/g/02.ans": "9\n",
            "data/secret/01.in": "\xff\n".encode(),
            "data/secret/01.ans": "0\n",
            "data/testdata.yaml": "output_validator_flags: float_tolerance 1e-3\n",
            "output_validators/check/check.py": "exit(42)",
            "input_validators/v.ctd": "SPACE",
            "output_validators/check/x.o": b"\xff\0",
        },
    )
    (problem,) = read("kattis", tmp_path / "contest")
    row = problem.row
    assert (row["problem_id"], row["source"], row["title"]) == ("contest/sum", "contest", "Sum")
    assert (row["time_limit_s"], row["memory_limit_mb"], row["tags"]) == (2.5, 512.0, ["math"])
    assert row[
        "statement"
    ] == "Sum\n\n\nAdd $n$ numbers, at most 5\\% of them large.\n\nInput\n\n  - one line".replace(
        "\n\n\n", "\n\n"
    )
    assert [(test["test_id"], test["kind"]) for test in problem.tests] == [
        ("sample/1", "public"),
        ("secret/01", "private"),
        ("secret/g/02", "private"),
    ]
    # A validator of its own decides, whatever flags it is given (2023-07-draft: the folder alone says so).
    assert row["checker"] == "custom"
    assert [(one["role"], one["path"], one["text"]) for one in json.loads(row["programs"])] == [
        ("checker", "output_validators/check/check.py", "exit(42)"),
        ("validator", "input_validators/v.ctd", "SPACE"),
    ]
    # Alone it has the same name and the same batch as among others.
    (single,), (among,) = (
        find("kattis").files(str(folder), None),
        find("kattis").files(str(tmp_path / "contest"), None),
    )
    assert (single.name, single.sha256) == (among.name, among.sha256) == ("contest/sum", among.sha256)


def test_submissions_that_are_none(tmp_path):
    folder = package(
        tmp_path / "contest" / "sum",
        **{
            "submissions/accepted/a.py": "print(3)",
            "submissions/accepted/old.py": "print 3",
            "submissions/accepted/a.exe": b"MZ",
            "submissions/accepted/two/a.java": "class A {}",
            "submissions/accepted/two/b.java": "class B {}",
            "submissions/accepted/b.cpp": "// é".encode("latin-1"),
            "submissions/partially_accepted/c.CC": "int main() {}",
            "submissions/readme.txt": "x",
            "submissions/brute_force/d.kt": "fun",
        },
    )
    items = read("kattis", folder)
    actual = {
        t.row["source_key"]: (t.row["language"], t.row["claimed_verdict"]) for t in of(items, ReadTrajectory)
    }
    assert actual == {
        "accepted/a.py": ("python3", "accepted"),
        "accepted/old.py": ("python2", "accepted"),
        "partially_accepted/c.CC": ("cpp", "partial"),
        "brute_force/d.kt": ("kotlin", "rejected"),
    }
    reasons = [one.reason for one in of(items, Refused)]
    assert reasons == [
        "accepted/a.exe: its suffix belongs to no known language",
        "not UTF-8: unexpected end of data at byte 3 of accepted/b.cpp",
        "accepted/two: cannot tell in which of 2 files it begins; name it in submissions/submissions.yaml",
        "readme.txt: is not in the folder of a verdict",
    ]
    # What was kept is read again, in the right encoding if need be.
    latin = of(items, Refused)[1]
    (again,) = find("kattis").reread(
        latin.raw.decode("latin-1").encode(), latin.line, SourceFile("", "contest/sum", "", 0)
    )
    assert again.row["program"] == "// é" and again.row["problem_id"] == "contest/sum"


BROKEN = {
    "name: [": "while parsing",
    "- a": "is not a mapping",
    "limits: 3": "problem package cannot be read",
    "limits: {memory: much}": "limits.memory is not a number but 'much'",
}


@pytest.mark.parametrize("yaml", BROKEN)
def test_a_broken_package_is_refused_with_what_is_wrong(tmp_path, yaml):
    (one,) = read("kattis", package(tmp_path / "c" / "a", yaml))
    assert (
        isinstance(one, Refused)
        and one.reason.startswith("problem package cannot be read")
        and BROKEN[yaml] in one.reason
    )
    assert json.loads(one.raw())["problem.yaml"] == yaml


def test_a_package_without_answers_or_statement(tmp_path):
    store = Store(tmp_path / "store")
    package(tmp_path / "c" / "answers", **{"data/secret/1.in": "1", "submissions/accepted/a.py": "print(1)"})
    package(tmp_path / "c" / "text")
    (tmp_path / "c" / "text" / "problem_statement" / "problem.en.tex").unlink()
    package(tmp_path / "c" / "binary", **{"data/secret/1.in": b"\xff\xfe", "data/secret/1.ans": "1"})
    batches = ingest(store, "kattis", str(tmp_path / "c"))
    assert [batch.source_file for batch in batches] == ["c/answers", "c/binary", "c/text"]
    assert [(batch.read, batch.accepted, batch.quarantined) for batch in batches] == [
        (2, 0, 2),
        (1, 0, 1),
        (1, 1, 0),
    ]
    reasons = store.read("quarantine").sort("source_file", "source_line").select("field", "reason").rows()
    assert reasons[0] == ("tests[1].expected_output", "is missing")
    assert "1.in is not UTF-8" in reasons[2][1] and len(reasons) == 3
    with pytest.raises(SourceError, match="no problem package"):
        find("kattis").files(str(tmp_path / "store"), None)


def test_human_solutions_in_folders(tmp_path):
    root = write(
        tmp_path / "lcb",
        {
            "1873_A/accepted/a.py": "print(1)",
            "1873_A/WA/b.cpp": "int main(){}",
            "other/set/p/c.java": "class A {}",
            "stray.py": "print(2)",
            "1873_A/notes.md": "x",
            "1873_A/.git/config": "x",
            "1873_A/accepted/bom.py": b"\xef\xbb\xbfprint(3)",
        },
    )
    items = read("folders", root)
    actual = [
        (t.row["problem_id"], t.row["language"], t.row["claimed_verdict"], t.row["program"])
        for t in of(items, ReadTrajectory)
    ]
    assert actual == [
        ("lcb/1873_A", "cpp", "wrong_answer", "int main(){}"),
        ("lcb/1873_A", "python3", "accepted", "print(1)"),
        ("lcb/1873_A", "python3", "accepted", "print(3)"),
        ("other/set/p", "java", None, "class A {}"),
    ]
    assert [one.reason for one in of(items, Refused)] == [
        "1873_A/notes.md: its suffix belongs to no known language",
        "stray.py: is not in a folder of a problem",
    ]
    file = find("folders").files(str(root), None)[0]
    again = find("folders").reread(of(items, ReadTrajectory)[0].raw, 1, SourceFile("", file.name, "", 0))
    assert again[0].row == of(items, ReadTrajectory)[0].row
    limited = read("folders", root, limit=1)
    assert (
        0 < len(limited) < len(items) and len({t.row["problem_id"] for t in of(limited, ReadTrajectory)}) == 1
    )
    # A file more is another batch of the same root.
    (root / "1873_A" / "c.go").write_text("package main")
    assert find("folders").files(str(root), None)[0].sha256 != file.sha256
