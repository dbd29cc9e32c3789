"""Polygon packages, made as Polygon exports them; with the real testlib.h where `SPO_TESTLIB` names it."""

from __future__ import annotations

import os
import zipfile

import pytest

from pipeline.adapters import ReadProblem, ReadTrajectory, Refused, find
from pipeline.ingest.ingestion import ingest
from pipeline.labelling.labeller import label
from pipeline.store.sql import connect, query
from pipeline.store.store import Store
from sandbox import Pool

XML = """<?xml version="1.0" encoding="utf-8" standalone="no"?>
<problem revision="7" short-name="twice" url="https://polygon.codeforces.com/p1/x/twice">
  <names><name language="russian" value="Дважды"/><name language="english" value="Twice"/></names>
  <statements>
    <statement charset="UTF-8" language="english" path="statements/english/problem.tex" type="x-tex"/>
    <statement language="english" path="statements/.pdf/english/problem.pdf" type="application/pdf"/>
  </statements>
  <judging cpu-name="x" cpu-speed="3600" input-file="" output-file="" run-count="1">
    <testset name="pretests"><time-limit>1</time-limit><test-count>0</test-count></testset>
    <testset name="tests">
      <time-limit>1500</time-limit>
      <memory-limit>268435456</memory-limit>
      <test-count>3</test-count>
      <input-path-pattern>tests/%02d</input-path-pattern>
      <answer-path-pattern>tests/%02d.a</answer-path-pattern>
      <tests>
        <test method="manual" sample="true"/><test cmd="gen 1" method="generated"/><test method="manual"/>
      </tests>
    </testset>
  </judging>
  <files>
    <resources><file path="files/limits.h" type="h.g++"/><file path="files/olymp.sty"/></resources>
  </files>
  <assets>
    <checker name="check.cpp" type="testlib">
      <source path="files/check.cpp" type="cpp.g++17"/><copy path="check.cpp"/>
    </checker>
    <solutions>
      <solution tag="main"><source path="solutions/right.cpp" type="cpp.g++17"/></solution>
      <solution tag="accepted"><source path="solutions/right.py" type="python.3"/></solution>
      <solution tag="wrong-answer"><source path="solutions/wrong.py" type="python.3"/></solution>
      <solution tag="time-limit-exceeded-or-accepted"><source path="solutions/slow.py"/></solution>
      <solution tag="rejected"><source path="solutions/gone.py" type="python.3"/></solution>
    </solutions>
  </assets>
  <tags><tag value="math"/></tags>
</problem>
"""
# testlib's calling convention without testlib: `check INPUT OUTPUT ANSWER`, exit 0 or 1.
CHECK = """#include <fstream>
#include "limits.h"
int main(int, char **argv) {
    long in, out = -1;
    std::ifstream(argv[1]) >> in;
    std::ifstream(argv[2]) >> out;
    return out == FACTOR * in ? 0 : 1;
}
"""
TESTLIB_CHECK = """#include "testlib.h"
int main(int argc, char **argv) {
    registerTestlibCmd(argc, argv);
    if (ouf.readInt() != 2 * inf.readInt()) quitf(_wa, "not twice");
    quitf(_ok, "twice");
}
"""
FILES = {
    "problem.xml": XML,
    "statement-sections/english/legend.tex": "Print \\textbf{twice} the number.",
    "statement-sections/english/input.tex": "A number.",
    "statement-sections/english/output.tex": "",
    "statements/english/problem.tex": "other",
    **{f"tests/0{n}": f"{n}\n" for n in (1, 2, 3)},
    **{f"tests/0{n}.a": f"{2 * n}\n" for n in (1, 2, 3)},
    "files/check.cpp": CHECK,
    "files/limits.h": "enum { FACTOR = 2 };\n",
    "solutions/right.cpp": "#include <iostream>\nint main() { int n; std::cin >> n; std::cout << 2 * n; }",
    "solutions/right.py": "print(2 * int(input()))",
    "solutions/wrong.py": "print(2)",
    "solutions/slow.py": "print(2 * int(input()))",
}


def package(root, **changes):
    for name, text in (FILES | {name.replace("__", "/"): text for name, text in changes.items()}).items():
        if text is not None:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
    return root


def items_of(source):
    adapter = find("polygon")
    return [item for file in adapter.files(str(source), None) for item in adapter.read(file)]


def test_what_is_read(tmp_path):
    problem, *solutions = items_of(package(tmp_path / "contest" / "twice"))
    assert isinstance(problem, ReadProblem)
    row = problem.row
    assert (row["problem_id"], row["title"], row["tags"]) == ("contest/twice", "Twice", ["math"])
    assert (row["time_limit_s"], row["memory_limit_mb"]) == (1.5, 256.0)
    assert row["statement"] == "Print twice the number.\n\nInput\n\nA number."
    assert [(t["test_id"], t["kind"], t["input"], t["expected_output"]) for t in problem.tests] == [
        ("tests/01", "public", "1\n", "2\n"),
        ("tests/02", "generated", "2\n", "4\n"),
        ("tests/03", "private", "3\n", "6\n"),
    ]
    read = [one for one in solutions if isinstance(one, ReadTrajectory)]
    assert [(one.row["source_key"], one.row["claimed_verdict"]) for one in read] == [
        ("solutions/right.cpp", "accepted"),
        ("solutions/right.py", "accepted"),
        ("solutions/wrong.py", "wrong_answer"),
        ("solutions/slow.py", None),
    ]
    assert [one.row["claimed_verdicts"] for one in read] == [
        None, None, None, ["accepted", "time_limit_exceeded"],
    ]  # fmt: skip
    assert [one.reason for one in solutions if isinstance(one, Refused)] == [
        "no such file: solutions/gone.py"
    ]


def verdicts(tmp_path):
    store = Store(tmp_path / "store")
    ingest(store, "polygon", str(tmp_path / "contest"))
    with Pool(1) as pool:
        label(store, pool)
    with connect(store) as connection:
        return dict(query(connection, "select source_key, verdict from judged").iter_rows())


WANTED = {
    "solutions/right.cpp": "accepted",
    "solutions/right.py": "accepted",
    "solutions/wrong.py": "wrong_answer",
    "solutions/slow.py": "accepted",
}


def test_solutions_are_judged_by_the_checker(tmp_path):
    package(tmp_path / "contest" / "twice")
    assert verdicts(tmp_path) == WANTED


# Tells whether the number to guess is larger, and writes how often it was asked.
INTERACTOR = """#include <fstream>
#include <iostream>
#include "limits.h"
int main(int, char **argv) {
    long hidden, asked = 0, number;
    std::ifstream(argv[1]) >> hidden;
    std::string word;
    while (std::cin >> word >> number && word == "?")
        asked++, std::cout << (hidden > number ? "larger" : "not larger") << std::endl;
    std::ofstream(argv[2]) << asked;
    return word == "!" && number == hidden * FACTOR ? 0 : 1;
}
"""
FEW = """#include <fstream>
int main(int, char **argv) { long asked = 99; std::ifstream(argv[2]) >> asked; return asked > 3; }
"""
GUESS = """
low, high = 0, 4
while low + 1 < high:
    middle = {}
    print("?", middle, flush=True)
    low, high = (middle, high) if input() == "larger" else (low, middle)
print("!", {})
"""


def test_an_interactor_and_then_a_checker(tmp_path):
    xml = XML.replace("<assets>", '<assets><interactor><source path="files/i.cpp"/></interactor>')
    package(
        tmp_path / "contest" / "twice",
        **{
            "problem.xml": xml, "files/i.cpp": INTERACTOR, "files/check.cpp": FEW,
            "solutions/right.py": GUESS.format("(low + high) // 2", "2 * high"),
            "solutions/wrong.py": GUESS.format("(low + high) // 2", "high"),
            "solutions/slow.py": "for n in range(4):\n    print('?', n, flush=True)\n    input()\n"
            + GUESS.format("(low + high) // 2", "2 * high"),
            "solutions/right.cpp": "int main() {}",
        },
    )  # fmt: skip
    assert verdicts(tmp_path) == {
        "solutions/right.py": "accepted",
        "solutions/wrong.py": "wrong_answer",  # says the interactor
        "solutions/slow.py": "wrong_answer",  # says the checker
        "solutions/right.cpp": "wrong_answer",
    }


def test_an_archive_is_read_as_its_folder(tmp_path):
    folder = package(tmp_path / "contest" / "twice")
    with zipfile.ZipFile(tmp_path / "twice.zip", "w") as archive:
        for path in folder.rglob("*"):
            archive.write(path, path.relative_to(folder))
    rows = [item.row for item in items_of(tmp_path / "twice.zip") if not isinstance(item, Refused)]
    assert [row["problem_id"].rpartition("/")[2] for row in rows] == ["twice"] * 5
    assert rows[0]["programs"] == items_of(folder)[0].row["programs"]


@pytest.mark.skipif(not os.environ.get("SPO_TESTLIB"), reason="SPO_TESTLIB names no testlib.h")
def test_the_real_testlib(tmp_path):
    package(tmp_path / "contest" / "twice", files__check_cpp=None)
    (tmp_path / "contest" / "twice" / "files" / "check.cpp").write_text(TESTLIB_CHECK)
    assert verdicts(tmp_path) == WANTED


def test_a_missing_testlib_leaves_solutions_unjudged(tmp_path, monkeypatch):
    monkeypatch.delenv("SPO_TESTLIB", raising=False)
    monkeypatch.setattr("sandbox.judging.checker_programs.TESTLIB_PLACES", ())
    root = package(tmp_path / "contest" / "twice")
    (root / "files" / "check.cpp").write_text(TESTLIB_CHECK)
    assert verdicts(tmp_path) == {}


REFUSED = {
    "export the full package": {"tests/03.a": None},
    "no such file: files/i.cpp": {
        "problem.xml": XML.replace(
            "<assets>", "<assets><interactor><source path='files/i.cpp'/></interactor>"
        )
    },
    "use the file 'input.txt'": {"problem.xml": XML.replace('input-file=""', 'input-file="input.txt"')},
    "declares entities": {"problem.xml": "<!DOCTYPE a [<!ENTITY b 'c'>]>" + XML.partition("?>")[2]},
    "problem package cannot be read": {"problem.xml": XML[:400]},
    "a path such as tests/%02d": {"problem.xml": XML.replace("tests/%02d<", "tests/%s<")},
    "time-limit is not a number": {"problem.xml": XML.replace("1500", "1e9")},
    "no such file: files/check.cpp": {"files/check.cpp": None},
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_cannot_be_judged_is_refused_with_its_solutions(tmp_path, reason):
    root = package(tmp_path / "contest" / "twice", **REFUSED[reason])
    problem, *solutions = items_of(root)
    assert isinstance(problem, Refused) and reason in problem.reason
    assert all(isinstance(one, Refused) for one in solutions)


def test_a_statement_in_pdf_only_is_not_sampled(tmp_path):
    gone = dict.fromkeys([name for name in FILES if name.startswith("statement")])
    problem = items_of(package(tmp_path / "contest" / "twice", **gone))[0]
    assert problem.row["not_sampled"] == "its statement is not text: statements/english/problem.tex"
