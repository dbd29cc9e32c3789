"""Assertions in a jail of their own: what crosses as it is, what comes back, and what has to be judged
beside the program.
"""

from __future__ import annotations

import pytest

from sandbox import Checker, Limits, Test
from sandbox.isolation.guest import crossing

NODES = """
class ListNode:
    def __init__(self, val=0, next=None):
        self.val = val
        self.next = next

def list_node(values):
    head = None
    for value in reversed(values):
        head = ListNode(value, head)
    return head

def to_list(node):
    found = []
    while node:
        found.append(node.val)
        node = node.next
    return found
"""


def check(*lines):
    return Test("1", "check", "def check(candidate):\n" + "".join(f"    {line}\n" for line in lines))


def verdict(judge, program, *lines, **fields):
    judgement = judge("python3", program, check(*lines), entry_point="f", **fields)
    return judgement.verdict, judgement.isolated_check


@pytest.mark.parametrize(
    ("program", "line"),
    [
        ("def f(x): return (x, [x])", "assert candidate(1) == (1, [1]) and candidate(1) != [1, [1]]"),
        ("def f(x): return [x]", "assert candidate(1) != (1,) and type(candidate(1)) is list"),
        ("def f(x):\n    yield x\n    yield 2", "assert list(candidate(1)) == [1, 2]"),
        ("def f(x): return map(str, x)", "assert ','.join(candidate([1, 2])) == '1,2'"),
        ("def f(x): return x ** 400", "assert candidate(10) == 10 ** 400 and candidate(-10) == (-10) ** 400"),
        ("def f(x): return x / 3", "assert candidate(1) == 1 / 3 and abs(candidate(2) - 0.6667) < 1e-3"),
        ("def f(x): return float(x)", ("assert candidate('inf') == float('inf') and "
                                       "candidate('nan') != candidate('nan')")),
        ("def f(x): return -0.0", "import math; assert math.copysign(1, candidate(1)) == -1"),
        (("def f(x): return {1: (x, "
          "None), (1, 2): {x}}"), "assert candidate(3) == {1: (3, None), (1, 2): {3}}"),
        ("def f(x): return frozenset(x)", "assert candidate([1, 1]) == {1} and {candidate([1])}"),
        ("def f(x): return complex(x, 1)", "assert candidate(2) == 2 + 1j"),
        (("def f(x): return x + b'\\xff', "
          "bytearray(x)"), "assert candidate(b'a') == (b'a\\xff', bytearray(b'a'))"),
        ("def f(x): return x + '\\ud800\\n'", "assert candidate('\\u00e9') == '\\u00e9\\ud800\\n'"),
        ("def f(x): return True", "assert candidate(1) is True"),
        ("def f(x): return None", "assert candidate(1) is None"),
        (("from fractions import Fraction\ndef f(x): "
          "return Fraction(1, x)"), "from fractions import Fraction; assert candidate(3) == Fraction(1, 3)"),
        (("from decimal import Decimal\ndef f(x): "
          "return Decimal(x)"), "assert str(candidate('0.10')) == '0.10'"),
        (("from collections import Counter\ndef f(x): "
          "return Counter(x)"), "assert candidate('aab') == {'a': 2, 'b': 1}"),
        (("from collections import deque\ndef "
          "f(x): return deque(x)"), "assert candidate([1]) != [1] and list(candidate([1])) == [1]"),
        ("def f(x): return range(x)", "assert candidate(3) == range(3) and candidate(3) != [0, 1, 2]"),
        ("def f(x): return {x: 1}.keys()", "assert candidate(3) == {3}"),
        ("def f(*a, b=1, **k): return a, b, k", "assert candidate(1, 2, b=3, c=4) == ((1, 2), 3, {'c': 4})"),
        ("import re\ndef f(x): return re.match('a', x)", "assert candidate('ab') and not candidate('b')"),
        (("from enum import IntEnum\nclass E(IntEnum):\n    A = "
          "3\ndef f(x): return E.A"), "assert candidate(0) == 3"),
        (("from typing import NamedTuple\nclass P(NamedTuple):\n    x: "
          "int\ndef f(x): return P(x)"), "assert candidate(3) == (3,)"),
        ("def f(x): return int", "assert candidate(0) is int"),
    ],
)  # fmt: skip
def test_values_cross_as_they_are(judge, program, line):
    assert verdict(judge, program, line) == ("accepted", True)


@pytest.mark.parametrize(
    ("program", "line"),
    [
        ("def f(x): x.append(9)", "a = [1]; candidate(a); assert a == [1, 9]"),
        ("def f(x): x[0][1].add(9)", "b = {1}; a = [(0, b)]; candidate(a); assert b == {1, 9}"),
        (("def f(x): x['a'].sort(); "
          "del x['b']"), ("l = [3, 1]; d = {'a': l, 'b': 0}; candidate(d); assert d == "
                          "{'a': [1, 3]} and l == [1, 3]")),
        ("def f(*, x): x.clear()", "a = [1]; candidate(x=a); assert a == []"),
        (("def f(x):\n    x.append(1)\n    "
          "raise ValueError"), ("a = []\n    try: candidate(a)\n    except ValueError: "
                                "pass\n    assert a == [1]")),
        ("def f(x): return sorted(x)", "a = [2, 1]; assert candidate(a) == [1, 2] and a == [2, 1]"),
    ],
)  # fmt: skip
def test_changed_arguments_come_back(judge, program, line):
    assert verdict(judge, program, line) == ("accepted", True)


def test_state_of_the_program_stays_between_calls_of_a_test(judge):
    program = "seen = []\ndef f(x):\n    seen.append(x)\n    return len(seen)"
    assert verdict(judge, program, "assert [candidate(i) for i in range(3)] == [1, 2, 3]") == (
        "accepted",
        True,
    )


@pytest.mark.parametrize(
    ("error", "caught", "expected"),
    [
        ("ValueError('no')", "ValueError", "accepted"),
        ("KeyError(1)", "LookupError", "accepted"),
        ("UnicodeDecodeError('utf-8', b'', 0, 1, 'x')", "Exception", "accepted"),
        ("Own('no')", "ValueError", "accepted"),
        ("TypeError('no')", "ValueError", "runtime_error"),
        ("AssertionError('no')", "ValueError", "wrong_answer"),
    ],
)
def test_exceptions_cross_by_class(judge, error, caught, expected):
    program = f"class Own(ValueError): pass\ndef f(x): raise {error}"
    lines = "try:", "    candidate(1)", "    assert False", f"except {caught}: pass"
    assert verdict(judge, program, *lines) == (expected, True)


def test_lists_of_nodes(judge):
    reverse = (
        "def f(head):\n    last = None\n    while head:\n        head.next, last, head = "
        "last, head, head.next\n    return last"
    )
    line = "assert to_list(candidate(list_node(list(range(5000))))) == list(range(5000))[::-1]"
    assert verdict(judge, reverse, line, preamble=NODES) == ("accepted", True)
    same = "def f(head): return head"
    assert verdict(judge, same, line, preamble=NODES) == ("wrong_answer", True)
    cycle = "def f(head):\n    head.next.next = head\n    return head"
    line = "n = candidate(list_node([1, 2])); assert n.next.next is n"
    assert verdict(judge, cycle, line, preamble=NODES) == ("accepted", True)


def test_what_cannot_cross_is_judged_beside_the_program_and_marked(judge):
    assert verdict(judge, "def f(g): return g(2)", "assert candidate(lambda x: x + 1) == 3") == (
        "accepted",
        False,
    )
    assert verdict(judge, "def f(g): return g(1)", "assert candidate(lambda x: x + 1) == 3") == (
        "wrong_answer",
        False,
    )
    own = "class Pair:", "    a = 1", "assert candidate(Pair()) == 1"
    assert verdict(judge, "def f(p): return p.a", *own) == ("accepted", False)


def test_tests_that_take_a_second_function_at_its_word_are_marked(judge):
    program = "def g(x): return x + 1\ndef f(x): return x - 1"
    assert verdict(judge, program, "assert candidate(g(3)) == 3") == ("accepted", False)


def test_functions_as_arguments_of_a_compared_call_are_isolated(judge):
    test = Test("1", "assert", "assert candidate(lambda x: x + 1) == 3")
    judgement = judge("python3", "def f(g): return g(2)", test, entry_point="f")
    assert (judgement.verdict, judgement.isolated_check) == ("accepted", True)


def test_whole_programs_have_no_such_mark(judge):
    assert judge("python3", "print(1)", ("", "1")).isolated_check is None


def test_a_float_checker_reaches_what_a_call_around_the_call_gives(judge):
    test = Test("1", "assert", "assert sorted(candidate()) == (0.3, 1)")
    program = "def f(): return 1, 0.1 + 0.2"
    fields = {"entry_point": "f", "checker": Checker("float")}
    assert judge("python3", program, test, **fields).verdict == "accepted"
    assert judge("python3", program, test, entry_point="f").verdict == "wrong_answer"


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("def f(x):\n    while True: pass", "time_limit_exceeded"),
        ("import time\ndef f(x): time.sleep(60)", "time_limit_exceeded"),
        ("def f(x): return bytearray(400 << 20)[:1]", "memory_limit_exceeded"),
        ("def f(x): print('y' * 40_000_000)", "output_limit_exceeded"),
        ("def f(x): return 1 / 0", "runtime_error"),
        ("1 / 0", "runtime_error"),
        ("import os\ndef f(x): os.abort()", "runtime_error"),
        ("def f(x): return x + 1", "accepted"),
    ],
)
def test_limits_of_the_program_hold(judge, program, expected):
    limits = Limits(time_s=0.5, memory_mb=256, wall_limit_s=2.0)
    assert verdict(judge, program, "assert candidate(2) == 3", limits=limits) == (expected, True)


def test_assertions_that_take_too_long_are_no_fault_of_the_judge(judge):
    limits = Limits(time_s=0.5, wall_limit_s=2.0)
    assert verdict(judge, "def f(x): return x", "while True: pass", limits=limits)[0] == "time_limit_exceeded"
    assert verdict(judge, "def f(x): return x", "assert candidate(2) == 2", limits=limits)[0] == "accepted"


def test_many_tests_in_one_submission(judge):
    tests = [Test(str(n), "assert", f"assert f({n}) in ({n + 1},)") for n in range(100)]
    judgement = judge("python3", "def f(x): return x + 1", *tests)
    assert (judgement.verdict, judgement.passed, judgement.isolated_check) == ("accepted", 100, True)
    failing = judge("python3", "def f(x): return x + 1 if x != 57 else 0", *tests)
    assert (failing.first_failure, len(failing.tests)) == ("57", 58)


def test_tests_do_not_see_each_other(judge):
    tests = [
        Test("0", "assert", "import builtins; builtins.abs = f; assert f(1) in (2,)"),
        Test("1", "assert", "assert abs(f(-3)) == 2.0 + 0"),
    ]
    assert judge("python3", "def f(x): return x + 1", *tests).verdict == "accepted"


def test_a_preamble_that_does_not_compile_is_judged_as_before(judge):
    judgement = judge("python3", ")\n", check("assert candidate(1)"), entry_point="f", preamble="x = (1,\n")
    assert judgement.verdict == "runtime_error" and judgement.isolated_check is False


MESSAGES = [
    b"", b"{}", b"[]", b"null", b"[1, 2]", b'[["value"], 3, []]', b'[["value"], [{"list": []}], []]',
    (b'[["value"], [{"int": '
     b'3}], []]'), b'[["value"], [{"int": "0x1", "bytes": ""}], []]', b'[["value"], [{"set": [[]]}], []]',
    b'[["value"], [{"instance": [0, "Node"]}], []]', b'[["value"], [{"instance": ["0", "Node"]}], [[]]]',
    b'[["value"], [{"instance": [0, "Node"]}], [[[1, 2]]]]', b'[["value"], [{"dict": [[[], 1]]}], []]',
    (b'[["value"], [{"Fraction": '
     b'[1, 0]}], []]'), b'[["value"], [{"range": [1.5, 2, 1]}], []]', b'[["value"], [{"type": "open"}], []]',
    b"[" * 100_000, b"\xff", b'[["value"], [' + b"9" * 5000 + b"], []]", (b'[["value"], [{"iterator": '
                                                                          b'"ab"}], []]'),
]  # fmt: skip


class Node:
    pass


@pytest.mark.parametrize("message", MESSAGES, ids=range(len(MESSAGES)))
def test_messages_are_read_strictly(message):
    with pytest.raises(crossing.Malformed):
        crossing.Decoder({"Node": Node}).message(message)
