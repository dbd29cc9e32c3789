"""Syntax jails say of a Python program what its own jail would say, whatever they have compiled before."""

from __future__ import annotations

import os
import signal
import socket
from dataclasses import replace

import pytest

from sandbox import Limits, Submission, Test
from sandbox.building import syntax
from sandbox.building.compilation import COMPILE_LIMITS
from sandbox.building.syntax import SyntaxJails
from sandbox.contracts import SandboxUnavailable
from sandbox.isolation import JailSpec, Session, cgroups
from sandbox.isolation.guest import protocol
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
def jails(isolation):
    with SyntaxJails(isolation) as jails:
        yield jails


@pytest.fixture
def own_jail(isolation):
    """own_jail(source, limits, compile_limits) -> what a jail of its own says of a program"""

    def compile_in_it(source, limits=LIMITS, compile_limits=COMPILE_LIMITS):
        with Session(isolation, JailSpec(), limits) as session:
            return essence(session.set_python(source, compile_limits, False))

    return compile_in_it


def essence(outcome):
    """What must be equal of two outcomes."""
    kind, run, messages = outcome
    return kind, run.signal, messages


def compiled(jails, source, limits=LIMITS, compile_limits=COMPILE_LIMITS):
    return essence(jails.compile(source, limits, compile_limits))


def kind_of(jails, source, limits=LIMITS):
    return jails.compile(source, limits, COMPILE_LIMITS)[0]


def test_a_shared_jail_says_what_an_own_jail_says(jails, own_jail):
    """One jail for all sources, and a correct program after each."""
    outcomes, between = {}, []
    for name, source in SOURCES.items():
        outcomes[name] = compiled(jails, source)
        between.append(kind_of(jails, RIGHT))
    assert outcomes == {name: own_jail(source) for name, source in SOURCES.items()}
    compiling = {name for name, (kind, _, _) in outcomes.items() if kind == protocol.OK}
    assert compiling == {"right", "empty", "large number", "warnings alone", "runs nothing"}
    assert between == [protocol.OK] * len(SOURCES)
    assert [count for _, count in jails.jails.values()] == [2 * len(SOURCES)]


@pytest.mark.parametrize(
    ("limits", "compile_limits"),
    [
        (Limits(memory_mb=1024), replace(COMPILE_LIMITS, time_s=0.1)),
        (Limits(memory_mb=64), COMPILE_LIMITS),
    ],
    ids=["time", "memory"],
)
def test_a_program_over_a_limit_ends_its_jail(jails, own_jail, limits, compile_limits):
    """As in a jail of its own; the next program gets another jail."""
    source = b"x = [" + b"a.b(c)[d]," * 200_000 + b"]"
    outcome = compiled(jails, source, limits, compile_limits)
    assert outcome == (protocol.COMPILE_KILLED, signal.SIGKILL, "")
    assert outcome == own_jail(source, limits, compile_limits)
    assert limits.memory_mb not in [shared.memory_mb for shared in jails.jails]
    assert kind_of(jails, RIGHT, limits) == protocol.OK
    assert compiled(jails, SOURCES["open bracket"], limits) == own_jail(SOURCES["open bracket"])


def test_jails_keep_their_own_limits(jails):
    """What is too much for one jail is not too much for one that started before it, nor vice versa."""
    source = b"x = [" + b"a.b(c)[d]," * 30_000 + b"]"
    limits = Limits(memory_mb=1024), Limits(memory_mb=40)
    kinds = [kind_of(jails, source, limit) for limit in (*limits, *limits)]
    assert kinds == [protocol.OK, protocol.COMPILE_KILLED] * 2


def test_messages_are_cut_at_the_same_length(jails, own_jail):
    source, limits = b"x = (" + b"y" * 3000, Limits(output_bytes=1000)
    outcome = compiled(jails, source, limits)
    assert outcome == own_jail(source, limits)
    assert len(outcome[2]) == 1001


def judgement_of(judge, program):
    return judge.judge(Submission(program, "python3", (Test("1", "stdin", "21\n", "42\n"),)))


def test_a_broken_jail_changes_no_judgement(isolation, cache, monkeypatch):
    with Judge(isolation, cache) as judge:
        before = judgement_of(judge, "print(")
        assert before.verdict == "compile_error" and "was never closed" in before.compile_output
        [(session, count)] = judge.builder.syntax.jails.values()
        assert count == 1
        session.socket.shutdown(socket.SHUT_RDWR)  # to the supervisor it looks as if the judge had exited
        again = judgement_of(judge, "print(")
        assert (again.verdict, again.compile_output) == ("compile_error", before.compile_output)
        assert judgement_of(judge, RIGHT.decode()).verdict == "accepted"
        [(session, count)] = judge.builder.syntax.jails.values()
        assert count == 1  # the broken one was replaced

        def refuse(*_):
            raise SandboxUnavailable("no more jails")

        judge.builder.close()
        monkeypatch.setattr(judge.builder.syntax, "_start", refuse)
        assert judgement_of(judge, "print(").compile_output == before.compile_output
        assert judgement_of(judge, RIGHT.decode()).verdict == "accepted"


def test_a_jail_serves_a_limited_number_of_programs(isolation, monkeypatch):
    monkeypatch.setattr(syntax, "MAX_PROGRAMS", 2)
    with SyntaxJails(isolation) as jails:
        counts = []
        for _ in range(5):
            assert kind_of(jails, RIGHT) == protocol.OK
            counts.append(len(jails.jails))
        assert counts == [1, 0, 1, 0, 1]


def test_jails_are_few_and_end_at_close(isolation):
    with SyntaxJails(isolation) as jails:
        for memory_mb in (64, 65, 66, 64, 67, 64, 68):
            for time_s in (1, 2):
                assert kind_of(jails, RIGHT, Limits(time_s, memory_mb)) == protocol.OK
        assert [limits.memory_mb for limits in jails.jails] == [67, 64, 68]
        processes = [session.jail.process.pid for session, _ in jails.jails.values()]
        assert all(os.path.exists(f"/proc/{pid}") for pid in processes)
    assert not any(os.path.exists(f"/proc/{pid}") for pid in processes)


def test_syntax_jails_have_a_control_group_of_their_own(isolation):
    own, other = isolation.group, isolation.syntax_group
    if not own or not other:
        pytest.skip("no control groups on this machine")
    assert not set(own.folders) & set(other.folders)
    assert not {*own.folders, *other.folders} & set(cgroups.left_over())
