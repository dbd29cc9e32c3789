"""The parts `languages` and `throughput` of `./run bench judge`."""

from __future__ import annotations

import os
import resource
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from sandbox import Limits, Pool, Submission, Test
from sandbox.building import Program, with_run_time
from sandbox.isolation import establish, interpreter
from sandbox.judging import Judge
from sandbox.languages import LANGUAGES, Language, find_language, locate, toolchain
from tests.benchmarks.judge_table import LanguageRow
from tests.sandbox import language_programs as programs
from tests.sandbox import test_languages as common

LIMITS = Limits(time_s=2.0, memory_mb=192, output_bytes=1 << 20)
ADD = programs.ADD | common.ADD
FAILING = {
    "time_limit_exceeded": programs.SPIN | common.SPIN,
    "memory_limit_exceeded": programs.HOARD | common.HOARD,
    "runtime_error": programs.CRASH | common.CRASH,
    "compile_error": programs.BROKEN | common.BROKEN,
    "accepted": programs.HOSTILE,  # prints nothing
}
VARIANTS = ("cpp98", "cpp11", "cpp14", "cpp17", "cpp20", "cpp23", "c11")  # tried by their hello programs
TESTS_PER_PROGRAM, PROGRAMS = 20, 2
HASH_COMMENTS = ("python3", "pypy3", "ruby", "perl", "r", "bash", "julia")
DASH_COMMENTS = ("haskell", "lua", "sql")
LONGEST_VERSION = 60  # characters


def languages() -> list[LanguageRow]:
    """Every language of this machine, by its programs. Prints what was not as it should be."""
    present = [row for row in LANGUAGES if toolchain(row)]
    with tempfile.TemporaryDirectory() as folder, Pool(cache=Path(folder)) as pool:
        rows = [_try(pool, language) for language in present]
    absent = [row.name for row in LANGUAGES if row.is_judged and not toolchain(row)]
    print(f"not on this machine: {', '.join(absent) or 'none'}")
    return rows


def _try(pool: Pool, language: Language) -> LanguageRow:
    name = language.name
    hello = pool.judge(_submission(language, language.hello, ("world\n", "Hello, world!\n")))
    cases = [("hello", hello.verdict, "accepted")]
    if program := ADD.get(name):
        for expected, verdict in (("6", "accepted"), ("7", "wrong_answer")):
            judgement = pool.judge(_submission(language, program, ("1 2 3\n", expected)))
            cases.append(("sum", judgement.verdict, verdict))
    for verdict, sources in FAILING.items():
        if name in sources:
            judgement = pool.judge(_submission(language, sources[name], ("", "")))
            cases.append((verdict, judgement.verdict, verdict))
    faults = [f"{case}: {got}, not {wanted}" for case, got, wanted in cases if got != wanted]
    for fault in faults:
        print(f"FAULT: {name}: {fault}")
    version = hello.toolchain.replace("Copyright", "").strip()
    print(f"  {name}: {len(cases) - len(faults)} of {len(cases)}", file=sys.stderr, flush=True)
    return LanguageRow(name, version[:LONGEST_VERSION], len(cases) - len(faults), len(cases))


def _submission(language: Language, program: str, test: tuple[str, str]) -> Submission:
    return Submission(program, language.name, (Test("1", "stdin", *test),), LIMITS)


def throughput() -> dict[str, tuple[float, float, float]]:
    """{language: (programs, tests, bare runs) per second of CPU time}; a program has its tests and its
    compilation.
    """
    prices: dict[str, tuple[float, float, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder)
        isolation = establish(cache, "bwrap")
        with Judge(isolation, cache) as judge:
            for name in sorted(ADD):
                language = find_language(name)
                if language is not None and toolchain(language) is not None:
                    prices[name] = _prices(judge, language)
                    print(f"  {name}: {prices[name][1]:.1f} tests / core-s", file=sys.stderr, flush=True)
        isolation.close()
    return prices


def _prices(judge: Judge, language: Language) -> tuple[float, float, float]:
    def judge_program(number: int) -> None:
        source = f"{ADD[language.name]}\n{_comment(language, str(number))}\n"
        tests = tuple(Test(str(n), "stdin", f"{n} 2\n", f"{n + 2}\n") for n in range(TESTS_PER_PROGRAM))
        judgement = judge.judge(Submission(source, language.name, tests, Limits(time_s=10.0)))
        assert judgement.verdict == "accepted", judgement

    judge_program(-1)  # proves the tool chain and compiles headers
    compiled = _cpu_s(lambda: [judge_program(number) for number in range(PROGRAMS)])
    again = _cpu_s(lambda: [judge_program(number) for number in range(PROGRAMS)])
    command = _bare_command(judge, language)
    bare = _cpu_s(lambda: _run_bare(command))
    return PROGRAMS / compiled, PROGRAMS * TESTS_PER_PROGRAM / again, TESTS_PER_PROGRAM / bare


def _comment(language: Language, text: str) -> str:
    """A comment in a language, which makes another program of the same text."""
    if language.name in HASH_COMMENTS:
        return f"# {text}"
    if language.name in DASH_COMMENTS:
        return f"-- {text}"
    return {"ocaml": f"(* {text} *)", "racket": f"; {text}"}.get(language.name, f"// {text}")


def _run_bare(command: list[str]) -> None:
    standard_input, output = os.memfd_create("in"), os.memfd_create("out")
    actions = [(os.POSIX_SPAWN_DUP2, standard_input, 0), (os.POSIX_SPAWN_DUP2, output, 1)]
    for number in range(TESTS_PER_PROGRAM):
        os.pwrite(standard_input, f"{number} 2\n".encode(), 0)
        os.lseek(standard_input, 0, os.SEEK_SET)
        process = os.posix_spawn(command[0], command, dict(os.environ), file_actions=actions)
        assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0, command
    os.close(standard_input)
    os.close(output)


def _bare_command(judge: Judge, language: Language) -> list[str]:
    """The program's command line outside of jails."""
    if language.in_supervisor:
        return [interpreter()[0], "-S", "-B", "-c", ADD[language.name]]
    limits = Limits(time_s=10.0)
    program = Program(
        language, ADD[language.name], with_run_time(limits, language), limits.memory_mb, judge.builder, None
    )
    assert program.built is not None
    words = program._argv(program.built)
    return [locate(words[0]) or _outside(words[0], program), *(_outside(word, program) for word in words[1:])]


def _outside(word: str, program: Program) -> str:
    assert program.built is not None
    return word.replace(program.isolation.path_inside(program.built.folder), program.built.folder)


def _cpu_s(work: Callable[[], object]) -> float:
    """CPU seconds of this process and of its children that have ended."""
    before = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    work()
    after = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(
        end.ru_utime + end.ru_stime - start.ru_utime - start.ru_stime
        for start, end in zip(before, after, strict=True)
    )


os.environ.setdefault("LC_ALL", "C.UTF-8")  # for the bare runs, as jails have it
