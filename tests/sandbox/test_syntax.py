"""Jails that compile one Python program after the other say what a program's own jail says, whatever came before."""

from __future__ import annotations

import os
import signal
import socket
from dataclasses import replace

import pytest

from sandbox import Limits, Submission, Test
from sandbox.building import syntax
from sandbox.building.builder import COMPILE_LIMITS
from sandbox.building.syntax import SyntaxJails
from sandbox.contracts import SandboxUnavailable
from sandbox.isolation import cgroups, jail, tiers
from sandbox.isolation.guest import protocol
from sandbox.isolation.session import Session
from sandbox.judging.judge import Judge

LIMITS = Limits(memory_mb=128)
RIGHT = b"print(int(input()) * 2)"
SOURCES = {
    "right": RIGHT,
    "empty": b"",
    "open bracket": b"print((1)",
    "indentation": b"if 1:\nx = 1",
    "tab and blanks": b"if 1:\n\tx = 1\n        y = 2",
    "warnings before an error": b'if 1 is 1: x = "\\d"\nbreak',
    "warnings alone": b'assert (1, "always")\nif 1 is 1: x = "\\d"',
    "warnings where the module is loaded": b"import random\nif 1 is 1: pass\nreturn 1",
    "zero byte": b"x = 1\0",
    "no utf-8": b"x = '\xff'",
    "surrogate": "x = '\ud800'".encode("utf-8", "surrogatepass"),
    "another coding": b"# coding: latin-1\nx = '\xe9\nx = ",
    "unknown coding": b"# coding: nonesuch\nx = 1",
    "wide characters": "x = 'ÄÖ漢字' +".encode(),
    "too deep for the parser": b"(" * 5000 + b")" * 5000,
    "too deep for the compiler": b"x = 1" + b"+1" * 5000,
    "too deep for both": b"x = " + b"-" * 20000 + b"1",
    "long line": b"x = '" + b"y" * 100_000,
    "large number": b"x = " + b"9" * 10_000,
    "runs nothing": b"raise SystemExit(3)",
    "future": b"from __future__ import nonesuch",
    "parameter twice": b"def f(a, a): pass",
    "nonlocal": b"def f():\n    nonlocal x",
}


@pytest.fixture(scope="module")
def jails(cache):
    with SyntaxJails(cache) as jails:
        yield jails


def in_own_jail(source, limits=LIMITS, compile_limits=COMPILE_LIMITS):
    with Session(jail.JailSpec(), limits, None) as session:
        return session.set_python(source, compile_limits, False)


def told(outcome):
    """What is kept of an outcome."""
    kind, run, messages = outcome
    return kind, run.signal, messages


def test_it_says_what_a_jail_of_its_own_says(jails):
    """In turn with a program that is right, and with one jail for all of them."""
    found, between = {}, []
    for name, source in SOURCES.items():
        found[name] = jails.compile(source, LIMITS, COMPILE_LIMITS)
        between.append(jails.compile(RIGHT, LIMITS, COMPILE_LIMITS)[0])
    assert {name: told(outcome) for name, outcome in found.items()} == {
        name: told(in_own_jail(source)) for name, source in SOURCES.items()
    }
    right = {"right", "empty", "warnings alone", "runs nothing"}
    assert {name for name, outcome in found.items() if outcome[0] == protocol.OK} == right
    assert between == [protocol.OK] * len(SOURCES)
    assert [seen for _, seen in jails.standing.values()] == [2 * len(SOURCES)]


@pytest.mark.parametrize(
    ("limits", "compile_limits"),
    [
        (Limits(memory_mb=1024), replace(COMPILE_LIMITS, time_s=0.1)),
        (Limits(memory_mb=64), COMPILE_LIMITS),
    ],
    ids=["time", "memory"],
)
def test_what_goes_over_a_limit_ends_its_jail(jails, limits, compile_limits):
    """As in a jail of its own; the next program gets another one."""
    source = b"x = [" + b"a.b(c)[d]," * 200_000 + b"]"
    outcome = jails.compile(source, limits, compile_limits)
    assert (
        told(outcome)
        == told(in_own_jail(source, limits, compile_limits))
        == (protocol.COMPILE_KILLED, signal.SIGKILL, "")
    )
    assert limits.memory_mb not in [standing.memory_mb for standing in jails.standing]
    assert jails.compile(RIGHT, limits, COMPILE_LIMITS)[0] == protocol.OK
    assert told(jails.compile(SOURCES["open bracket"], limits, COMPILE_LIMITS)) == told(
        in_own_jail(SOURCES["open bracket"])
    )


def test_jails_of_other_limits_do_not_count(jails):
    """What is too much for one jail is not for another one that stood before it, and the other way round."""
    source = b"x = [" + b"a.b(c)[d]," * 30_000 + b"]"
    limits = Limits(memory_mb=1024), Limits(memory_mb=40)
    kinds = [jails.compile(source, limit, COMPILE_LIMITS)[0] for limit in (*limits, *limits)]
    assert kinds == [protocol.OK, protocol.COMPILE_KILLED] * 2


def test_messages_are_cut_where_a_jail_of_its_own_cuts_them(jails):
    source, limits = b"x = (" + b"y" * 3000, Limits(output_bytes=1000)
    outcome = jails.compile(source, limits, COMPILE_LIMITS)
    assert told(outcome) == told(in_own_jail(source, limits))
    assert len(outcome[2]) == 1001


def judged(judge, program):
    return judge.judge(Submission(program, "python3", (Test("1", "stdin", "21\n", "42\n"),)))


def test_a_jail_that_breaks_is_missed_by_nobody(cache, monkeypatch):
    with Judge(cache) as judge:
        before = judged(judge, "print(")
        assert before.verdict == "compile_error" and "was never closed" in before.compile_output
        [(session, seen)] = judge.builder.syntax.standing.values()
        assert seen == 1
        session.socket.shutdown(socket.SHUT_RDWR)  # for the supervisor, the judge has gone
        again = judged(judge, "print(")
        assert (again.verdict, again.compile_output) == ("compile_error", before.compile_output)
        assert judged(judge, RIGHT.decode()).verdict == "accepted"
        [(session, seen)] = judge.builder.syntax.standing.values()
        assert seen == 1  # the broken one was taken away

        def refuse(*_):
            raise SandboxUnavailable("no more jails")

        judge.builder.close()
        monkeypatch.setattr(judge.builder.syntax, "_stand_up", refuse)
        assert judged(judge, "print(").compile_output == before.compile_output
        assert judged(judge, RIGHT.decode()).verdict == "accepted"


def test_a_jail_is_used_up(cache, monkeypatch):
    monkeypatch.setattr(syntax, "MAX_PROGRAMS", 2)
    with SyntaxJails(cache) as jails:
        stood = []
        for _ in range(5):
            assert jails.compile(RIGHT, LIMITS, COMPILE_LIMITS)[0] == protocol.OK
            stood.append(len(jails.standing))
        assert stood == [1, 0, 1, 0, 1]


def test_jails_are_few_and_gone_in_the_end(cache):
    with SyntaxJails(cache) as jails:
        for memory_mb in (64, 65, 66, 64, 67, 64, 68):
            for time_s in (1, 2):
                assert jails.compile(RIGHT, Limits(time_s, memory_mb), COMPILE_LIMITS)[0] == protocol.OK
        assert [limits.memory_mb for limits in jails.standing] == [67, 64, 68]
        processes = [session.process.pid for session, _ in jails.standing.values()]
        assert all(os.path.exists(f"/proc/{pid}") for pid in processes)
    assert not any(os.path.exists(f"/proc/{pid}") for pid in processes)


def test_its_control_group_is_another_one_and_in_use():
    own, other = tiers.group(), tiers.syntax_group()
    if not own or not other:
        pytest.skip("no control groups on this machine")
    assert not set(own.folders) & set(other.folders)
    assert not {*own.folders, *other.folders} & set(cgroups.left_over())
