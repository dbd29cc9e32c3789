"""Programs in the shapes that contestants write, which a judge must take as their sites do."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import pytest

from sandbox import Limits, Submission, Test
from sandbox.building.builder import Builder
from sandbox.judging import Judge
from sandbox.languages import find_language, toolchain

HERE = {name for name in ("java", "cpp", "javascript", "rust") if toolchain(find_language(name))}
needs = {
    name: pytest.mark.skipif(name not in HERE, reason=f"no {name}") for name in ("java", "cpp", "javascript")
}
MAIN = 'public static void main(String[] args) { System.out.println("right"); }'
OTHER = MAIN.replace("right", "wrong")


@needs["java"]
@pytest.mark.slow
@pytest.mark.parametrize(
    "program",
    [
        f"class Solver {{ static class Point {{ int x; }} {MAIN} }}",
        f"class Main {{ public class Node {{ int x; }} {MAIN} }}",
        f"// the public class Old had a bug\npublic class New {{ {MAIN} }}",
        f"/* mine */ package a.b;\npublic class Main {{ {MAIN} }}",
        f"package a; class Helper {{ }} class Run {{ {MAIN} }}",
        f"\ufeffpublic class Main {{ {MAIN} }}",
        f"enum Main {{ ONE; {MAIN} }}",
        f"record Point(int x, int y) {{ {MAIN} }}",
        f"interface Main {{ {MAIN.replace('public ', '')} }}",
        f'class Text {{ String s = "public class Fake {{"; }}\npublic class Real {{ {MAIN} }}',
        f"class Helper {{ {OTHER} }}\nclass Main {{ {MAIN} }}",
        f"class Helper {{ {OTHER} }}\npublic class Task {{ {MAIN} }}",
        f"class Outer {{ {MAIN} static class Inner {{ {OTHER} }} }}",
        f"abstract class Base {{ {MAIN} }}\nclass Derived extends Base {{ }}",
    ],
    ids=[
        "nested", "inner public", "comment", "package after a comment", "package", "BOM", "enum", "record",
        "interface", "string", "Main among others", "public among others", "outer and inner", "inherited",
    ],
)  # fmt: skip
def test_the_main_class_of_java_is_found(judge, program):
    assert judge("java", program, ("", "right")).verdict == "accepted"


@needs["java"]
def test_java_of_several_files(pool):
    main = MAIN.replace("System.out.println", "Helper.say")
    program = f"package a;\nimport b.Helper;\npublic class Main {{ {main} }}"
    helper = "package b;\npublic class Helper { public static void say(String s) { System.out.println(s); } }"
    files, tests = (("b/Helper.java", helper),), (Test("1", "stdin", "", "right"),)
    judgement = pool.judge(Submission(program, "java", tests, files=files))
    assert judgement.verdict == "accepted", judgement


def in_main(body: str) -> str:
    return f"import java.util.*; public class Main {{ public static void main(String[] a) {{ {body} }} }}"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("language", "program", "verdict"),
    [
        pytest.param(
            "java", in_main("int[] b = new int[50_000_000]; b[7] = 1;"), "accepted", id="java 200 MB",
        ),
        pytest.param(
            "java", in_main("int[] b = new int[100_000_000];"), "memory_limit_exceeded", id="java 400 MB",
        ),
        pytest.param(
            "java", in_main("List<int[]> l = new ArrayList<>(); while (true) l.add(new int[100000]);"),
            "memory_limit_exceeded", id="java list",
        ),
        pytest.param(
            "java", in_main("throw new RuntimeException();"), "runtime_error", id="java exception",
        ),
        pytest.param(
            "javascript", "const a = []; while (true) a.push([1.5, a.length]);", "memory_limit_exceeded",
            id="node list",
        ),
        pytest.param(
            "cpp", "static int a[50000000]; int main() { a[7] = 1; }", "accepted", id="c++ 200 MB, untouched",
        ),
        pytest.param(
            "cpp", "static char a[400000000]; int main() { for (char &c : a) c = 1; return a[7] - 1; }",
            "memory_limit_exceeded", id="c++ 400 MB",
        ),
    ],
)  # fmt: skip
def test_memory_limits_of_run_times(judge, language, program, verdict):
    if language not in HERE:
        pytest.skip(f"no {language}")
    judgement = judge(language, program, ("", ""), limits=Limits(time_s=10.0, memory_mb=256))
    assert judgement.verdict == verdict, judgement


SIZE = "#include <iostream>\n#include <vector>\nusing namespace std;\n"


@needs["cpp"]
@pytest.mark.slow
@pytest.mark.parametrize(
    ("language", "program", "standard"),
    [
        ("cpp", "#include <vector>\nint main() { std::vector v{1}; return v.size() - 1; }", "gnu++20"),
        (
            "cpp",
            "#include <cstddef>\nusing namespace std;\nstruct byte {}; byte b; int main() { }",
            "gnu++14",
        ),
        ("cpp", 'const char *s = u8"a"; int main() { return s[0] - 97; }', "gnu++17"),
        ("cpp11", SIZE + "int size[10]; int main() { return size[0]; }", ""),
        ("cpp98", "#include <memory>\nint main() { std::auto_ptr<int> p; return p.get() != 0; }", ""),
        (
            "cpp23",
            "struct M { int operator[](int i, int j) const { return i + j; } };\n"
            "int main() { return M{}[0, 0]; }",
            "",
        ),
        ("c11", "int main(void) { return _Generic(1, int: 0, default: 1); }", ""),
    ],
)
def test_standards_of_c(judge, language, program, standard):
    judgement = judge(language, program, ("", ""))
    assert judgement.verdict == "accepted", judgement
    assert judgement.toolchain.partition(", ")[2] == standard


@needs["cpp"]
def test_what_no_standard_takes_is_reported_for_the_first(judge):
    judgement = judge("cpp", "int main() { return x; }", ("", ""))
    assert (judgement.verdict, "was not declared" in judgement.compile_output) == ("compile_error", True)


@needs["cpp"]
@pytest.mark.slow
@pytest.mark.parametrize(
    "program",
    [
        '#include <locale>\nint main() { std::locale::global(std::locale("")); }',
        '#include <clocale>\nint main() { return setlocale(LC_ALL, "") == nullptr; }',
        "#include <thread>\nint main() { int x = 1; std::thread t([&] { x = 0; }); t.join(); return x; }",
        "#include <future>\nint main() { return std::async(std::launch::async, [] { return 0; }).get(); }",
        "#include <mutex>\n#include <condition_variable>\n#include <thread>\n"
        "std::mutex m; std::condition_variable c; bool ready;\n"
        "void set() { std::lock_guard<std::mutex> l(m); ready = true; c.notify_all(); }\n"
        "int main() { std::thread t(set);\n"
        "std::unique_lock<std::mutex> l(m); c.wait(l, [] { return ready; }); l.unlock(); t.join(); }",
    ],
    ids=["locale", "setlocale", "thread", "async", "condition variable"],
)
def test_libraries_of_static_programs(judge, program):
    assert judge("cpp", program, ("", "")).verdict == "accepted"


@needs["cpp"]
def test_without_static_libraries_programs_are_linked_dynamically(isolation, tmp_path, monkeypatch):
    """As on systems that ship no libc.a: the linker is told so by a library that does not exist."""
    from sandbox.building import builder, compilation

    compile_in_jail, tried = compilation.compile_in_jail, []

    def without_libraries(isolation, language, files, words, *others):
        tried.append("-static" in words)
        return compile_in_jail(isolation, language, files, [*words, *["-lmissing"] * tried[-1]], *others)

    monkeypatch.setattr(builder, "compile_in_jail", without_libraries)
    with Judge(isolation, tmp_path) as judge:
        judgement = judge.judge(
            Submission(
                '#include <cstdio>\nint main() { puts("7"); }', "cpp17", (Test("1", "stdin", "", "7"),)
            )
        )
    assert (judgement.verdict, tried[-2:]) == ("accepted", [True, False])
    assert not Builder(isolation, tmp_path).build(find_language("cpp17"), find_language("cpp17").hello).static


SPAWN = """
import multiprocessing

def double(x):
    return 2 * x

if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.map(double, [1, 2]))
"""


@pytest.mark.parametrize(
    ("program", "output"),
    [
        ("print(open(__file__).read().count('open'))", "2"),
        ("import inspect\ndef f(): return 1\nprint(inspect.getsource(f).strip())", "def f(): return 1"),
        ("\ufeffprint(1)", "1"),
        ("from __future__ import annotations\nimport sys\nprint(sys.argv[0][-7:])", "main.py"),
        pytest.param(SPAWN, "[2, 4]", marks=pytest.mark.slow),
    ],
    ids=["__file__", "getsource", "BOM", "future", "spawn"],
)
def test_python_programs_find_themselves(judge, program, output):
    judgement = judge("python3", program, ("", output))
    assert judgement.verdict == "accepted", judgement


@pytest.mark.parametrize(
    "program",
    [
        "from __future__ import annotations\ndef f(a: List[int]): return a",
        "\ufefffrom __future__ import annotations\ndef f(a): return a",
        "from __future__ import (\n    annotations,\n    division,\n)\ndef f(a): return a",
        "from __future__ import annotations; import re\ndef f(a): return a if re else 0",
        '"""Words."""\nfrom __future__ import annotations  # as it were\ndef f(a): return a',
    ],
    ids=["plain", "BOM", "brackets", "semicolon", "docstring"],
)
def test_features_behind_a_preamble(judge, program):
    test = Test("1", "call", "f([3])", "[3]")
    judgement = judge("python3", program, test, preamble="from typing import *\n")
    assert judgement.verdict == "accepted", judgement


@pytest.mark.parametrize(("megabytes", "verdict"), [(17, "accepted"), (60, "accepted")])
def test_standard_error_has_no_limit_of_its_own(judge, megabytes, verdict):
    program = (
        f"import sys\nprint(7, flush=True)\nfor _ in range({megabytes}): sys.stderr.write('d' * 1000000)"
    )
    assert judge("python3", program, ("", "7")).verdict == verdict


def test_a_flood_on_standard_output_is_not_run_again(judge):
    program = "import sys\nsys.stderr.write('d' * 5000)\nwhile True: print('x' * 1000000)"
    assert judge("python3", program, ("", "7")).verdict == "output_limit_exceeded"


LINKS = """#include <iostream>
#include <csignal>
int link[5], pipe[2], access;
int main() { std::cin >> link[0]; std::cout << link[0] * 2; }"""


@pytest.mark.parametrize(
    ("language", "standard"),
    [
        ("cpp17", ""),
        pytest.param("cpp", "", marks=pytest.mark.slow),
        pytest.param("cpp11", "", marks=pytest.mark.slow),
    ],
)
def test_names_of_unistd_h_are_free_to_programs_that_do_not_include_it(judge, language, standard):
    judgement = judge(language, LINKS, ("4\n", "8"))
    assert judgement.verdict == "accepted" and judgement.toolchain.endswith(standard), judgement


@pytest.mark.slow
def test_the_header_of_all_headers_leaves_the_names_of_unistd_h_free(judge):
    """By a standard before C++20, whose headers need them."""
    judgement = judge("cpp", LINKS.replace("csignal", "bits/stdc++.h"), ("4\n", "8"))
    assert judgement.verdict == "accepted" and judgement.toolchain.endswith("gnu++17"), judgement


@pytest.mark.slow
def test_a_program_that_includes_unistd_h_has_its_names(judge):
    judgement = judge("cpp17", f"#include <unistd.h>\n{LINKS}", ("4\n", "8"))
    assert judgement.verdict == "compile_error" and "redeclared" in judgement.compile_output


NUMPY = "import numpy as np\nprint(np.arange(int(input())).sum())"


def test_programs_with_files_beside_them_are_python_as_others_are(isolation, tmp_path, monkeypatch):
    """They run on an interpreter of their own: with the packages, and with integers of any length."""
    if sys.prefix == sys.base_prefix or os.path.realpath(sys.prefix).startswith("/tmp/"):
        pytest.skip("this environment cannot be shown to programs")
    monkeypatch.setenv("SPO_SANDBOX_PYTHON", sys.prefix)
    program = "import numpy, lib\nprint(len(str(lib.ten ** 5000)), numpy.arange(4).sum())"
    files = (("lib.py", "ten = 10\n"),)
    with Judge(isolation, tmp_path) as judge:
        judgement = judge.judge(
            Submission(program, "python3", (Test("1", "stdin", "", "5001 6"),), files=files)
        )
    assert judgement.verdict == "accepted", judgement


def test_a_named_environment_is_seen_read_only(isolation, tmp_path, monkeypatch):
    """The environment of these tests has numpy, and is a virtual one."""
    if sys.prefix == sys.base_prefix:
        pytest.skip("not in a virtual environment")
    if os.path.realpath(sys.prefix).startswith("/tmp/"):
        pytest.skip("this environment is below /tmp, which a jail hides")
    monkeypatch.setenv("SPO_SANDBOX_PYTHON", sys.prefix)
    tests = tuple(Test(str(n), "stdin", f"{n}\n", f"{n * (n - 1) // 2}\n") for n in (3, 10))
    write = "import numpy, os\nopen(os.path.dirname(numpy.__file__) + '/x', 'w')"
    with Judge(isolation, tmp_path) as judge:
        judgement = judge.judge(Submission(NUMPY, "python3", tests))
        written = judge.judge(Submission(write, "python3", tests[:1]))
    assert judgement.verdict == "accepted", judgement
    assert ", numpy " in judgement.toolchain and " packages" in judgement.toolchain
    assert max(test.cpu_s for test in judgement.tests) < 0.1, "numpy is loaded once, before the tests"
    assert "Read-only file system" in written.tests[0].detail


def test_pytest_of_a_named_environment_runs_the_tests_of_a_program(isolation, tmp_path, monkeypatch):
    if sys.prefix == sys.base_prefix or os.path.realpath(sys.prefix).startswith("/tmp/"):
        pytest.skip("this environment cannot be shown to programs")
    monkeypatch.setenv("SPO_SANDBOX_PYTHON", sys.prefix)
    program = "from lib import add\n\ndef test_add():\n    assert add(1, 2) == {}\n"
    files = (("lib.py", "def add(a, b): return a + b\n"),)
    test = Test("1", "stdin", "")
    with Judge(isolation, tmp_path) as judge:
        found = [
            judge.judge(Submission(program.format(answer), "pytest", (test,), Limits(10.0), files=files))
            for answer in (3, 4)
        ]
    assert [judgement.verdict for judgement in found] == ["accepted", "runtime_error"], found
    assert found[0].toolchain.startswith("pytest ")


def test_without_a_named_environment_there_is_the_standard_library_alone(judge):
    judgement = judge("python3", NUMPY, ("3", "3"))
    assert judgement.tests[0].detail.endswith("No module named 'numpy'")


def test_an_environment_that_a_jail_would_hide_is_refused(isolation, tmp_path, monkeypatch):
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        (Path(folder) / "lib" / version / "site-packages").mkdir(parents=True)
        (Path(folder) / "pyvenv.cfg").touch()
        monkeypatch.setenv("SPO_SANDBOX_PYTHON", folder)
        with Judge(isolation, tmp_path) as judge:
            judgement = judge.judge(Submission("print(1)", "python3", (Test("1", "stdin", "", "1"),)))
    assert judgement.verdict == "language_unavailable"
    assert "is below /tmp, where programs have a folder of their own" in judgement.compile_output


@pytest.mark.parametrize(
    ("folder", "reason"),
    [
        ("nothing", "is not a virtual environment; make it with: "),
        ("other", "is of python2.0, but the judge runs"),
    ],
)
def test_an_environment_that_cannot_be_used_is_refused(isolation, tmp_path, monkeypatch, folder, reason):
    (tmp_path / "other" / "lib" / "python2.0").mkdir(parents=True)
    (tmp_path / "other" / "pyvenv.cfg").touch()
    monkeypatch.setenv("SPO_SANDBOX_PYTHON", str(tmp_path / folder))
    with Judge(isolation, tmp_path) as judge:
        judgement = judge.judge(Submission("print(1)", "python3", (Test("1", "stdin", "", "1"),)))
    assert judgement.verdict == "language_unavailable"
    assert reason in judgement.compile_output
