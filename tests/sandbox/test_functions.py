"""Function tests: what passes, what does not, and what only pretends to."""

import pytest

from sandbox import Checker, Test

ADD = "class Solution:\n    def add(self, a, b=0):\n        return {}\n"


def one(mode, code, expected=None):
    return Test("1", mode, code, expected)


@pytest.mark.parametrize(
    ("returned", "literal"),
    [
        ("a + b", "3"),
        ("[a, (b, {})]", "(1, [2, {}])"),
        ("{'x': (a, b), (1, 2): {a, b}}", "{'x': [1, 2], (1, 2): {2, 1}}"),
        ("10 ** 400", str(10**400)),
        ("float(a + b)", "3"),
        ("True", "1"),
        ("None", "None"),
        ("'h\\u00e9\\ud800'", "'h\\u00e9\\ud800'"),
        ("b'ab'", "b'ab'"),
        ("__import__('collections').Counter('aab')", "{'a': 2, 'b': 1}"),
        ("__import__('fractions').Fraction(1, 2)", "0.5"),
        ("float('inf')", "1e999"),
        ("[None] * 3", "[None, None, None]"),
    ],
)
def test_values_come_back_whole(judge, returned, literal):
    test = one("assert", f"assert candidate(a=1, b=2) == {literal}")
    assert judge("python3", ADD.format(returned), test, entry_point="Solution().add").verdict == "accepted"


@pytest.mark.parametrize(
    ("returned", "literal"),
    [
        ("a + b", "4"),
        ("'3'", "3"),
        ("[1, 2, 3]", "[1, 2]"),
        ("float('nan')", "0.0"),
        ("0.1 + 0.2", "0.3"),
        ("{1: 2}", "{1: 3}"),
        ("[1, 2]", "{1, 2}"),
        ("object()", "3"),
        ("type('E', (), {'__eq__': lambda *_: True, '__hash__': None})()", "3"),
        ("type('I', (int,), {'__eq__': lambda *_: True})(5)", "3"),
        ("print(3)", "3"),
    ],
)
def test_other_values_are_wrong(judge, returned, literal):
    test = one("assert", f"assert candidate(1, 2) == {literal}")
    assert (
        judge("python3", ADD.format(returned), test, entry_point="Solution().add").verdict == "wrong_answer"
    )


def test_float_checker_reaches_into_lists(judge):
    test = one("assert", "assert candidate(1) == [0.3, {'x': 1.0}]")
    program = ADD.format("[0.1 + 0.2, {'x': 1 + 1e-9}]")
    assert judge("python3", program, test, entry_point="Solution().add").verdict == "wrong_answer"
    assert (
        judge("python3", program, test, entry_point="Solution().add", checker=Checker("float")).verdict
        == "accepted"
    )


def test_call_mode(judge):
    program = "def search(x, seq):\n    return sum(x > y for y in seq)"
    right, wrong = one("call", "search(42, (-5, 1, 50))", "2"), one("call", "search(42, [])", "[]")
    assert judge("python3", program, right).verdict == "accepted"
    assert judge("python3", program, wrong).verdict == "wrong_answer"


def test_check_mode_and_preamble(judge):
    check = (
        "def check(candidate):\n    assert candidate(List) == 'x'\n    assert candidate(0) != 'y', 'second'"
    )
    program = "def f(a):\n    return 'x' if a is List or {} else 'y'"
    fields = {"entry_point": "f", "preamble": "from typing import *\n"}
    assert judge("python3", program.format("1"), one("check", check), **fields).verdict == "accepted"
    failed = judge("python3", program.format("0"), one("check", check), **fields)
    assert (failed.verdict, failed.tests[0].detail) == ("wrong_answer", "the assertion failed: second")


def test_an_assertion_that_fails_is_a_wrong_answer(judge):
    test = one("assert", "assert sorted(candidate(1, 2)) == sorted([1, 2])")
    assert judge("python3", ADD.format("[b, a]"), test, entry_point="Solution().add").verdict == "accepted"
    assert (
        judge("python3", ADD.format("[b, b]"), test, entry_point="Solution().add").verdict == "wrong_answer"
    )


def test_errors_of_the_program(judge):
    test = one("assert", "assert candidate(1, 2) == 3")
    assert judge("python3", ADD.format("1/0"), test, entry_point="Solution().add").verdict == "runtime_error"
    assert judge("python3", "x = 1", test, entry_point="Solution().add").verdict == "runtime_error"
    assert judge("python3", "def f(:", test, entry_point="f").verdict == "compile_error"


FORGE = """import os
    for descriptor in range(3, 50):
        try: os.write(descriptor, {})
        except OSError: pass
    os._exit(0)"""
LEAVING = [
    "import sys; sys.exit(0)",
    "import os; os._exit(0)",
    "raise SystemExit",
    "import os; os.write(1, b'3')",
    FORGE.format("""b'{"token": ""}'"""),
    FORGE.format("""b'{"value": 4}'"""),
    FORGE.format("b'[' * 100000"),
    "import builtins; builtins.AssertionError = Exception",
    "import json; json.dumps = lambda *a, **k: '{\"value\": 4}'",
    "import atexit, os; atexit.register(os._exit, 0)",
]


@pytest.mark.parametrize("leaving", LEAVING)
@pytest.mark.parametrize("test", ["assert candidate(1, 2) == 3", "assert candidate(1, 2) in (3, 5)"])
def test_leaving_early_or_forging_is_no_pass(judge, leaving, test):
    program = f"def add(a, b):\n    {leaving}\n    return 0\n"
    assert judge("python3", program, one("assert", test), entry_point="add").verdict in (
        "wrong_answer",
        "runtime_error",
    )


def test_main_guard_does_not_run(judge):
    program = "def add(a, b):\n    return a + b\nif __name__ == '__main__':\n    print(1/0)"
    assert judge("python3", program, one("assert", "assert add(1, 2) == 3")).verdict == "accepted"


def test_printing_does_not_disturb(judge):
    program = "def add(a, b):\n    print('debug', a, b)\n    return a + b"
    judgement = judge("python3", program, one("assert", "assert add(1, 2) == 3"))
    assert judgement.verdict == "accepted" and judgement.tests[0].output_head == "debug 1 2\n"


def test_fresh_state_for_every_test(judge):
    program = "seen = []\ndef count(x):\n    seen.append(x)\n    return len(seen)"
    tests = [Test(str(i), "assert", "assert count(5) == 1") for i in range(3)]
    assert judge("python3", program, *tests).verdict == "accepted"


def test_other_languages_have_no_function_tests(judge):
    assert (
        judge("cpp", "int f(){return 1;}", one("assert", "assert f() == 1")).verdict == "language_unavailable"
    )
