"""Programs at the edge of what their languages allow."""

from __future__ import annotations

import pytest

from sandbox import Limits, Submission, Test
from sandbox.languages import find_language, toolchain
from sandbox.languages.java_classes import public_class

LIMITS = Limits(time_s=10.0, memory_mb=128)


def needs(name):
    return pytest.mark.skipif(toolchain(find_language(name)) is None, reason=f"no {name} here")


def verdict_of(pool, language, program, output="7"):
    return pool.judge(Submission(program, language, (Test("1", "stdin", "", output),), LIMITS)).verdict


MAIN = 'public static void main(String[] a) { System.out.println("7"); }'


@needs("java")
@pytest.mark.parametrize(
    "program",
    [f"\ufeffpublic class Ünï {{ {MAIN} }}", f"public class U\\u0041 {{ {MAIN} }}"],
    ids=["letters", "unicode escape"],
)
def test_names_of_java_classes(pool, program):
    assert verdict_of(pool, "java", program) == "accepted"


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("public class U\\u0041B {}", "UAB"),
        ("public class \\uuu0041 {}", "A"),
        ("/* \\u002a/ public class B {}", "B"),  # the escape ends the comment
        ('class A { String s = "\\\\u0022; public class B {}"; }', None),  # a backslash, not an escape
    ],
)
def test_unicode_escapes_in_java(source, name):
    assert public_class(source) == name


@needs("java")
def test_a_java_thread_that_runs_out_of_memory(pool):
    program = (
        "import java.util.*; public class M { public static void main(String[] a) throws Exception {"
        " Thread t = new Thread(() -> { List<long[]> l = new ArrayList<>();"
        " while (true) l.add(new long[1 << 18]); }); t.start(); t.join(); } }"
    )
    assert verdict_of(pool, "java", program) == "memory_limit_exceeded"


@needs("pypy3")
def test_integers_of_pypy_have_any_number_of_digits(pool):
    assert verdict_of(pool, "pypy3", "print(len(str(10 ** 6000)))", "6001") == "accepted"
