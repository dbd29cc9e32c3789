"""Programs with scripts of their own, and programs of several files."""

from __future__ import annotations

import pytest

from sandbox import Checker, Submission

SUM = "import lib\nprint(lib.add(*map(int, input().split())))"
LIBRARY = "def add(a, b):\n    return a + b\n"
JAVA_MAIN = """public class Start {
    public static void main(String[] given) { System.out.println(Other.word()); }
}"""
BUILD_CPP = "#!/bin/bash\nset -e\nmkdir out\ng++ -O1 -o out/program src/main.cpp\nln -s out/program run\n"
BUILD_PYTHON = "#!/bin/sh\ncp check.py run\nchmod +x run\n"
CHECK = "#!/usr/bin/env python3\nimport sys\nsys.exit(42 if sys.stdin.read().strip() == '1' else 43)\n"
TALK = """#!/usr/bin/python3
import sys
print(open(sys.argv[1]).read(), flush=True)
sys.exit(42 if input() == "7" else 43)
"""


def test_a_python_program_finds_its_modules(judge):
    actual = judge("python3", SUM, ("1 2\n", "3\n"), ("5 6\n", "11\n"), files=(("lib.py", LIBRARY),))
    assert (actual.verdict, actual.passed) == ("accepted", 2), actual


def test_a_file_is_in_the_working_folder(judge):
    program = 'int main() { char s[9]; FILE *f = fopen("a/data.txt", "r"); fscanf(f, "%8s", s); puts(s); }'
    actual = judge("c", "#include <stdio.h>\n" + program, ("", "word"), files=(("a/data.txt", "word\n"),))
    assert actual.verdict == "accepted", actual


def test_a_java_program_of_two_classes(judge):
    other = 'class Other { static String word() { return "here"; } }'
    actual = judge("java", JAVA_MAIN, ("", "here"), files=(("Other.java", other),))
    assert actual.verdict in ("accepted", "language_unavailable"), actual


def test_a_build_script_leaves_links_and_folders(judge):
    source = '#include <cstdio>\nint main() { int a; scanf("%d", &a); printf("%d", a * 2); }'
    actual = judge("build", BUILD_CPP, ("4", "8"), ("5", "10"), files=(("src/main.cpp", source),))
    assert (actual.verdict, actual.passed) == ("accepted", 2), actual


BROKEN = {
    "#!/bin/sh\nexit 3\n": "wait status",
    "#!/bin/sh\necho nothing to build\n": "run",
    "#!/bin/sh\necho 'no such header' >&2\nexit 1\n": "no such header",
    "#!/bin/nothing\n": "not found",
}


@pytest.mark.parametrize("script", BROKEN)
def test_a_build_script_that_fails_is_a_compile_error(judge, script):
    actual = judge("build", script, ("", ""))
    assert actual.verdict == "compile_error"
    assert BROKEN[script] in actual.compile_output or "status 3" in actual.compile_output


def test_scripts_see_nothing_of_this_machine(judge, tmp_path):
    (tmp_path / "secret").write_text("secret")
    script = f"#!/bin/sh\ncat {tmp_path}/secret /etc/shadow 2>/dev/null || echo nothing\n"
    assert judge("run", script, ("", "nothing")).verdict == "accepted"
    leaked = f"#!/bin/sh\nset -e\ncat {tmp_path}/secret > run\nchmod +x run\n"
    assert judge("build", leaked, ("", "")).verdict == "compile_error"


@pytest.mark.parametrize(("output", "verdict"), [("1", "accepted"), ("2", "wrong_answer")])
def test_validators_with_scripts(judge, output, verdict):
    built = Checker("kattis", program=BUILD_PYTHON, language="build", files=(("check.py", CHECK),))
    assert judge("python3", f"print({output})", ("", "1"), checker=built).verdict == verdict
    given = Checker("kattis", program=CHECK, language="run")
    assert judge("python3", f"print({output})", ("", "1"), checker=given).verdict == verdict


def test_an_interactor_that_is_a_script(judge):
    checker = Checker("kattis", program=TALK, language="run", interactive=True)
    actual = [judge("python3", f"print({n} if input() else 0)", ("4", ""), checker=checker) for n in (7, 8)]
    assert [one.verdict for one in actual] == ["accepted", "wrong_answer"]


@pytest.mark.parametrize("name", ["../up", "/root", "a//b", ".hidden", "a/../b", "-o"])
def test_unsafe_names_are_refused(name):
    with pytest.raises(ValueError, match="is not a plain file name"):
        Submission("", "python3", (), files=((name, ""),))
