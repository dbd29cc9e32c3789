"""Small problem packages for `./run bench judge`, one for each kind of feature, and what must come of them.

A case is (kind, adapter, files, wanted): `wanted` has the verdict of each submission, `refused`, or under
`problem` the columns of its row; an empty one means that the package must be refused.
"""

from __future__ import annotations

from typing import Any

Case = tuple[str, str, dict[str, str], dict[str, Any]]
YAML = "name: N\nlimits: {time_limit: 2}\n"
NEWER = "problem_format_version: 2025-09\nname: N\nuuid: 1\nlimits: {time_limit: 2}\n"
ONE = {"problem.yaml": YAML, "problem_statement/problem.en.tex": "Do it.", "data/secret/1.in": "1\n"}
ONE |= {"data/secret/1.ans": "1\n"}
RIGHT, WRONG = "submissions/accepted/a.py", "submissions/wrong_answer/w.py"
BOTH = {RIGHT: "print(input())", WRONG: "print(2)"}
JUDGED = {"accepted/a.py": "accepted", "wrong_answer/w.py": "wrong_answer"}
CUSTOM = YAML + "validation: custom\n"
CHECK = "import sys\nsys.exit(42 if sys.stdin.read().strip() == '1' else 43)\n"
FOLDER = "output_validators/v"
INTERACTOR = """
import sys
print(open(sys.argv[1]).read().strip(), flush=True)
sys.exit(42 if sys.stdin.readline().strip() == "1" else 43)
"""
PASSES = """
import os, sys
folder, got = sys.argv[3], sys.stdin.read().strip()
if os.path.exists(folder + "state"):
    sys.exit(42 if got == "2" else 43)
open(folder + "state", "w").write("x")
if got != "1":
    sys.exit(43)
open(folder + "nextpass.in", "w").write("2\\n")
sys.exit(42)
"""
SPIN = "import time\nend = time.process_time() + {}\nwhile time.process_time() < end: pass\nprint(1)\n"
POLYGON = """<problem short-name="n"><names><name language="english" value="N"/></names>
<judging input-file="" output-file=""><testset name="tests"><time-limit>2000</time-limit>
<memory-limit>268435456</memory-limit><test-count>1</test-count>
<input-path-pattern>tests/%02d</input-path-pattern><answer-path-pattern>tests/%02d.a</answer-path-pattern>
<tests><test method="manual" sample="true"/></tests></testset></judging><assets>
<checker name="c" type="testlib"><source path="files/c.cpp" type="cpp.g++17"/></checker><solutions>
<solution tag="main"><source path="accepted/a.py" type="python.3"/></solution>
<solution tag="wrong-answer"><source path="wrong_answer/w.py" type="python.3"/></solution>
</solutions></assets></problem>"""
TESTLIB_LIKE = """#include <fstream>
int main(int, char **v) { int a, b = 0; std::ifstream(v[1]) >> a; std::ifstream(v[2]) >> b; return a != b; }
"""


def kattis(kind: str, files: dict[str, str], wanted: dict[str, Any]) -> Case:
    return kind, "kattis", {**ONE, **files}, wanted


GROUPS = {
    "data/testdata.yaml": "on_reject: continue\ngrader_flags: accept_if_any_accepted\n",
    "data/secret/a/testdata.yaml": "grader_flags: min\naccept_score: 40\n",
    "data/secret/b/testdata.yaml": "grader_flags: min\naccept_score: 60\n",
}
GROUPS |= {f"data/secret/{n}.{kind}": n[-1] for n in ("a/1", "b/2") for kind in ("in", "ans")}

CASES: list[Case] = [
    kattis("flags of the problem", {**BOTH, "problem.yaml": YAML + "validator_flags: float_tolerance 0.5\n",
        RIGHT: "print(1.4)", WRONG: "print(1.6)"}, JUDGED),
    kattis("flags of a group", {"data/secret/testdata.yaml": "output_validator_flags: case_sensitive\n",
        "data/secret/1.ans": "A\n", RIGHT: "print('A')", WRONG: "print('a')"}, JUDGED),
    kattis("flags of a test", {"data/secret/1.yaml": "output_validator_args: [case_sensitive]\n",
        "data/secret/1.ans": "A\n", RIGHT: "print('A')", WRONG: "print('a')"}, JUDGED),
    kattis("one source validator", {**BOTH, "problem.yaml": CUSTOM, f"{FOLDER}/v.py": CHECK}, JUDGED),
    kattis("validators of several files", {**BOTH, "problem.yaml": CUSTOM, f"{FOLDER}/README": "How.",
        f"{FOLDER}/m.cpp": '#include "h.h"\nint main() { return right() ? 42 : 43; }',
        f"{FOLDER}/h.h": "bool right();",
        f"{FOLDER}/o.cpp": "#include <iostream>\nbool right() { int x; return std::cin >> x && x == 1; }"},
        JUDGED),
    kattis("build", {**BOTH, "problem.yaml": CUSTOM, f"{FOLDER}/build": "#!/bin/sh\ncp v.py run\n",
        f"{FOLDER}/v.py": "#!/usr/bin/env python3\n" + CHECK}, JUDGED),
    kattis("run", {**BOTH, "problem.yaml": CUSTOM, f"{FOLDER}/run": "#!/usr/bin/env python3\n" + CHECK},
        JUDGED),
    kattis("interactive", {**BOTH, "problem.yaml": CUSTOM.replace("custom", "custom interactive"),
        f"{FOLDER}/v.py": INTERACTOR}, JUDGED),
    kattis("multi-pass", {**BOTH, "problem.yaml": CUSTOM.replace("custom", "custom multi-pass"),
        f"{FOLDER}/v.py": PASSES}, JUDGED),
    kattis("submit-answer", {"problem.yaml": NEWER + "type: submit-answer\n", RIGHT: "print(1)",
        "submissions/accepted/b.txt": "1\n", "submissions/wrong_answer/c.txt": "2\n"},
        {"accepted/a.py": "refused", "accepted/b.txt": "accepted", "wrong_answer/c.txt": "wrong_answer"}),
    kattis("a static validator", {**BOTH, "problem.yaml": NEWER, "static_validator/v.py": "exit(42)"}, {}),
    kattis("an unknown word", {**BOTH, "problem.yaml": YAML + "type: quiz\n"}, {}),
    kattis("scoring", {"problem.yaml": YAML + "type: scoring\n", **GROUPS, RIGHT: "print(input())",
        "submissions/partially_accepted/p.py": "print(1)"},
        {"accepted/a.py": ("accepted", 101.0), "partially_accepted/p.py": ("wrong_answer", 41.0)}),
    kattis("a grader program", {"problem.yaml": YAML + "type: scoring\n",
        "data/testdata.yaml": "on_reject: continue\ngrading: custom\ngrader_flags: '7'\n",
        "graders/g.py": "import sys\nprint('WA' if 'WA' in sys.stdin.read() else 'AC', sys.argv[1])",
        RIGHT: "print(input())", "submissions/partially_accepted/p.py": "print(2)"},
        {"accepted/a.py": ("accepted", 7.0), "partially_accepted/p.py": ("wrong_answer", None)}),
    kattis("scores of a validator", {
        "problem.yaml": CUSTOM.replace("custom", "custom score") + "type: scoring\n",
        f"{FOLDER}/v.py": "import sys\nopen(sys.argv[3] + 'score.txt', 'w').write('7')\nsys.exit(42)",
        RIGHT: "print(1)"}, {"accepted/a.py": ("accepted", 7.0)}),
    kattis("args", {"data/secret/1.yaml": "args: ['1']\n", RIGHT: "import sys\nprint(sys.argv[1])",
        WRONG: "print(2)"}, JUDGED),
    kattis(".args", {"data/secret/1.args": "1\n", RIGHT: "import sys\nprint(sys.argv[1])", WRONG: "print(2)"},
        JUDGED),
    kattis(".files", {"data/secret/1.files/n.txt": "1", RIGHT: "print(open('n.txt').read())",
        WRONG: "print(2)"}, JUDGED),
    kattis("included code", {"include/default/lib.py": "one = 1\n", RIGHT: "import lib\nprint(lib.one)",
        WRONG: "print(2)"}, JUDGED),
    kattis("constants", {**BOTH, "problem.yaml": YAML + "constants: {most: 17}\n",
        "problem_statement/problem.en.tex": "At most {{most}}."},
        {**JUDGED, "problem": {"statement": "At most 17."}}),
    ("a statement in PDF only", "kattis",
        {n: text for n, text in ONE.items() if "statement" not in n} | BOTH | {"problem.pdf": "%PDF"},
        {**JUDGED, "problem": {"not_sampled": "its statement is not text: problem.pdf"}}),
    ("no statement", "kattis", {n: text for n, text in ONE.items() if "statement" not in n} | BOTH,
        {**JUDGED, "problem": {"not_sampled": "it has no statement"}}),
    kattis("a derived time limit", {"problem.yaml": "name: N\nlimits: {time_multiplier: 2}\n",
        RIGHT: SPIN.format(0.2), "submissions/time_limit_exceeded/t.py": SPIN.format(3)},
        {"accepted/a.py": "accepted", "time_limit_exceeded/t.py": "time_limit_exceeded"}),
    kattis("submissions.yaml", {"submissions/mixed/a.py": "print(1)", "submissions/mixed/w.py": "print(2)",
        "submissions/submissions.yaml": "'*/w.py': {permitted: [AC, WA], required: [WA]}\n"},
        {"mixed/a.py": "accepted", "mixed/w.py": "wrong_answer",
        "claims": {"mixed/a.py": None, "mixed/w.py": "wrong_answer"}}),
    kattis("a set of verdicts", {"submissions/brute_force/w.py": "1/0"},
        {"brute_force/w.py": "runtime_error", "claims": {"brute_force/w.py": "rejected"}}),
    kattis("an output limit", {"problem.yaml": "name: N\nlimits: {time_limit: 2, output: 1}\n",
        RIGHT: "print(1)", "submissions/rejected/o.py": "print(1)\nprint(' ' * (1 << 20))"},
        {"accepted/a.py": "accepted", "rejected/o.py": "output_limit_exceeded"}),
    kattis("links", {**BOTH, "data/secret/2.ans": "-> 1.ans", "data/secret/2.in": "-> 1.in"},
        {**JUDGED, "problem": {"test_count": 2}}),
    kattis("@EXPECTED_RESULTS@", {RIGHT: "# @EXPECTED_RESULTS@: WRONG-ANSWER\nprint(2)"},
        {"accepted/a.py": "wrong_answer", "claims": {"accepted/a.py": "wrong_answer"}}),
    kattis("submissions of several files", {"submissions/accepted/a/main.py": "import b\nprint(b.x)",
        "submissions/accepted/a/b.py": "x = 1\n"}, {"accepted/a": "accepted"}),
    kattis("domjudge-problem.ini", {**BOTH, "problem.yaml": "name: N\n", ".timelimit": "9",
        "domjudge-problem.ini": "timelimit='1.5'\n"}, {**JUDGED, "problem": {"time_limit_s": 1.5}}),
    ("zipped", "kattis", {**ONE, **BOTH}, JUDGED),
    ("Polygon", "polygon", {"problem.xml": POLYGON, "tests/01": "1\n", "tests/01.a": "1\n",
        "files/c.cpp": TESTLIB_LIKE, "accepted/a.py": "print(1)", "wrong_answer/w.py": "print(2)"}, JUDGED),
    ("Polygon, interactive", "polygon", {
        "problem.xml": POLYGON.replace(
            "<assets>", '<assets><interactor><source path="files/i.cpp"/></interactor>'
        ), "tests/01": "1\n", "tests/01.a": "1\n", "files/c.cpp": TESTLIB_LIKE,
        "files/i.cpp": "#include <fstream>\n#include <iostream>\n"
        "int main(int, char **v) { int a; std::cin >> a; std::ofstream(v[2]) << a; }",
        "accepted/a.py": "print(1)", "wrong_answer/w.py": "print(2)"}, JUDGED),
    ("Polygon without its tests", "polygon", {"problem.xml": POLYGON, "files/c.cpp": TESTLIB_LIKE}, {}),
]  # fmt: skip
