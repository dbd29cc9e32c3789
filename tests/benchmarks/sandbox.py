"""Benchmark of the sandbox: `./run bench sandbox [--rounds N] [--tests N] [--solutions N] [--data FOLDER]`.

The last line is JSON. Prices are CPU time of everything that a test costs, the judge's side and the start of
the jail included. Every ratio compares with a floor that is measured in the same rounds, on one processor:

cpp_ratio            posix_spawn + wait of the same static binary, over a judged test
python_ratio         fork of an equally loaded interpreter (the supervisor's modules) + wait, over a judged
                     test
python_vs_cold       `python -I -S -E` started per test, over a judged test
vs_bwrap_per_test    bubblewrap started per test around the static binary, over a judged test
trusted_ms           CPU time of the judge's side per test of the static binary
refused_ms           CPU time per Python program that does not compile, in a jail for all of them; its share
                     is in python_ms, too
cpu_p99_ratio        a fixed program's CPU time among four times as many spinning processes as processors, at
                     the 99th percentile, over its median on the machine as it is
hostile_*            every attack of tests/sandbox, with its expected verdict
leaks                processes, control groups, mounts and temporary files left behind
bundle_*             with --throughput: programs and tests per second over all human solutions and model
                     samples, drawn at random
agreement            claimed verdicts of human solutions that the judge confirms
                     (tests/sandbox/test_agreement.py)
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import random
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

sys.path[:] = [
    folder for folder in sys.path if folder != str(Path(__file__).parent)
]  # this file has the room's name
from sandbox import Limits, Pool, Submission, Test, languages  # noqa: E402
from sandbox.isolation import JailSpec, bubblewrap, cgroups, establish, guest_code  # noqa: E402
from sandbox.isolation.jail import interpreter  # noqa: E402
from sandbox.judging.judge import Judge  # noqa: E402

if TYPE_CHECKING:
    from pipeline.adapters import ReadProblem

TESTS = Path(__file__).parents[1] / "sandbox"
CPP = '#include <cstdio>\nint main() { long n; scanf("%ld", &n); printf("%ld\\n", 2 * n); }'
PYTHON = "print(int(input()) * 2)"
REFUSED = "print(int(input()) * 2"
FIXED = """
#include <stdio.h>
int main(void) {
    volatile unsigned x = 1;
    for (int i = 0; i < 30000000; i++) x = x * 3 + 1;
    puts("done");
}
"""
# The floor of Python: fork, take up input and output, run compiled code, flush, leave. With the modules that
# the supervisor has, its own two among them, compiled as they are there; none more.
FORKED = """
import sys
sys.path.insert(0, sys.argv[3])
import _ctypes, _functools, _signal, _sitebuiltins, _socket, atexit, builtins, gc, posix, time
import children, protocol
code, count = compile(sys.argv[1], "main.py", "exec"), int(sys.argv[2])
given, taken = posix.memfd_create("in", 0), posix.memfd_create("out", 0)
posix.write(given, b"21\\n")
before = time.process_time()
for _ in range(count):
    pid = posix.fork()
    if pid == 0:
        posix.lseek(given, 0, 0)
        posix.dup2(given, 0)
        posix.dup2(taken, 1)
        exec(code, {"__name__": "__main__"})
        sys.stdout.flush()
        posix._exit(0)
    posix.waitpid(pid, 0)
own = time.process_time() - before
import resource
children = resource.getrusage(resource.RUSAGE_CHILDREN)
sys.stderr.write(str(own + children.ru_utime + children.ru_stime))
"""


def used(who: int) -> float:
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


def cpu_ms(work: Callable[[], object], count: int) -> tuple[float, float]:
    """CPU time per item: of this process, and of everything together."""
    own, children = used(resource.RUSAGE_SELF), used(resource.RUSAGE_CHILDREN)
    work()
    own, children = used(resource.RUSAGE_SELF) - own, used(resource.RUSAGE_CHILDREN) - children
    return 1000 * own / count, 1000 * (own + children) / count


def judged(judge: Judge, language: str, program: str, count: int) -> None:
    tests = tuple(Test(str(i), "stdin", f"{i}\n", f"{2 * i}\n") for i in range(count))
    judgement = judge.judge(Submission(program, language, tests))
    assert judgement.verdict == "accepted", judgement


def refused(judge: Judge, count: int) -> None:
    """As many as that do not compile.

    The jail that says so goes down at the end: only then its CPU time is counted.
    """
    for _ in range(count):
        assert (
            judge.judge(Submission(REFUSED, "python3", (Test("1", "stdin", "21\n", "42\n"),))).verdict
            == "compile_error"
        )
    judge.close()


def spawned(command: list[str], count: int) -> None:
    given, selected = os.memfd_create("in"), os.memfd_create("out")
    os.write(given, b"21\n")
    actions = [(os.POSIX_SPAWN_DUP2, given, 0), (os.POSIX_SPAWN_DUP2, selected, 1)]
    for _ in range(count):
        os.lseek(given, 0, os.SEEK_SET)
        os.waitpid(os.posix_spawn(command[0], command, {}, file_actions=actions), 0)
    assert os.pread(selected, 3, 0) == b"42\n"
    os.close(given)
    os.close(selected)


def forked_ms(count: int, guest: Path) -> float:
    command = [
        interpreter()[0],
        "-S",
        "-s",
        "-B",
        "-X",
        "utf8",
        "-c",
        FORKED,
        PYTHON,
        str(count),
        str(guest),
    ]
    return 1000 * float(subprocess.run(command, capture_output=True, text=True, check=True).stderr) / count


def guest_modules(folder: Path) -> Path:
    """The supervisor's own modules as they lie inside the jail."""
    for name, descriptor in guest_code.files().items():
        (folder / name).write_bytes(os.pread(descriptor, 1 << 20, 0))
    return folder


def behind_bwrap(folder: str) -> list[str]:
    """The command line of a jail around one program, without a supervisor and without the filter."""
    spec = JailSpec((), folder, libraries=False, supervisor=0)
    words = bubblewrap.arguments(spec, os.geteuid() == 0, 0)
    without_filter = words.index("--seccomp")
    return [*words[:without_filter], *words[without_filter + 2 : words.index("--")], "--", "/program/main"]


def prices(cache: Path, rounds: int, count: int) -> dict[str, float]:
    """Medians over rounds; in each, every contender runs once, on one processor."""
    isolation = establish(cache, "bwrap")
    judge = Judge(isolation, cache)
    language = languages.find_language("cpp")
    assert language is not None
    folder = judge.builder.build(language, CPP).folder
    cold = [interpreter()[0], "-I", "-S", "-E", "-c", PYTHON]
    few = max(10, count // 8)
    results: dict[str, list[float]] = {}
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(allowed)})
    for number in range(rounds + 1):  # the first round warms up
        trusted, cpp = cpu_ms(lambda: judged(judge, "cpp", CPP, count), count)
        floor = cpu_ms(lambda: spawned([f"{folder}/main"], count), count)[1]
        judged(judge, "python3", PYTHON, 1)  # starts the jail that compiles, which is counted in `refused`
        python = cpu_ms(lambda: judged(judge, "python3", PYTHON, count), count)[1]
        refused_ms = cpu_ms(lambda: refused(judge, count), count)[1]
        python += refused_ms / count  # one that compiles goes the same way
        with tempfile.TemporaryDirectory() as guest:
            python_floor = forked_ms(count, guest_modules(Path(guest)))
        from_cold = cpu_ms(lambda: spawned(cold, few), few)[1]
        per_test = cpu_ms(lambda: spawned(behind_bwrap(folder), few), few)[1]
        if number:
            row = {
                "cpp_ms": cpp,
                "spawn_ms": floor,
                "cpp_ratio": floor / cpp,
                "trusted_ms": trusted,
                "python_ms": python,
                "fork_ms": python_floor,
                "python_ratio": python_floor / python,
                "refused_ms": refused_ms,
                "cold_ms": from_cold,
                "python_vs_cold": from_cold / python,
                "bwrap_ms": per_test,
                "vs_bwrap_per_test": per_test / cpp,
            }
            for name, value in row.items():
                results.setdefault(name, []).append(value)
            progress(
                f"prices, round {number} of {rounds}:"
                f" cpp {floor / cpp:.2f}, python {python_floor / python:.2f}"
            )
    os.sched_setaffinity(0, allowed)
    judge.close()
    isolation.close()
    return {name: statistics.median(values) for name, values in results.items()}


def steadiness(pool: Pool, repeats: int) -> dict[str, float]:
    """CPU time of a fixed program, on the machine as it is and among spinning processes."""

    def times() -> list[float]:
        tests = tuple(Test(str(i), "stdin", "", "done\n") for i in range(repeats))
        return sorted(
            test.cpu_s for test in pool.judge(Submission(FIXED, "c", tests, Limits(time_s=10))).tests
        )

    quiet = times()
    cores = len(os.sched_getaffinity(0))
    spin = [sys.executable, "-S", "-c", "while True: pass"]
    spinners = [subprocess.Popen(spin, start_new_session=True) for _ in range(4 * cores)]
    try:
        crowded = times()
    finally:
        for spinner in spinners:
            spinner.kill()
            spinner.wait()
    p99 = statistics.quantiles(crowded, n=100, method="inclusive")[98]
    progress(
        f"{repeats} runs alone {1000 * quiet[0]:.1f} to {1000 * quiet[-1]:.1f} ms,"
        f" crowded to {1000 * crowded[-1]:.1f} ms"
    )
    return {"cpu_p99_ratio": p99 / statistics.median(quiet), "quiet_spread": quiet[-1] / quiet[0]}


def load(name: str):
    spec = importlib.util.spec_from_file_location(name, TESTS / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def attacks(pool: Pool) -> dict[str, object]:
    """Every attack once: the expected verdict, nothing let out, the next test judged right."""
    run_time, sources = load("test_soak").attack_submissions(), load("test_hostile_sources")
    work = [submission for submission, _ in run_time]
    allowed = {submission.key: verdicts for submission, verdicts in run_time}
    for path in sources.ATTACKS:
        language = languages.find_language(sources.LANGUAGES[path.suffix])
        if language and languages.toolchain(language):
            tests = (Test("attack", "stdin", "", None),)
            work.append(
                Submission(sources.source_of(path), language.name, tests, sources.LIMITS, key=path.name)
            )
            allowed[path.name] = re.search(r"expect: (.+)", path.read_text()).group(1).split()
    unexpected = []
    for number, judgement in enumerate(pool.stream(work), 1):
        by_id = {test.test_id: test for test in judgement.tests}
        verdict = by_id["attack"].verdict if "attack" in by_id else judgement.verdict
        contained = (
            not any("escaped" in test.output_head for test in judgement.tests)
            and "root:" not in judgement.compile_output
        )
        right = all(by_id[name].verdict == "accepted" for name in ("before", "after") if name in by_id)
        if not (verdict in allowed[judgement.key] and contained and right):
            unexpected.append(f"{judgement.key}: {verdict}")
        if number % 20 == 0:
            progress(f"{number} of {len(work)} attacks")
    return {
        "hostile_total": len(work),
        "hostile_as_expected": len(work) - len(unexpected),
        "unexpected": unexpected,
    }


def agreement(pool: Pool, data: Path, solutions: int) -> dict[str, object]:
    tests = load("test_agreement")
    if not all((data / name).exists() for name in tests.FILES):
        progress(f"no human solutions at {data}: agreement is not measured")
        return {"agreement": None}
    tests.DATA = data
    problems = {
        problem["problem_id"]: problem for problem in tests.rows(tests.FILES[0]) if tests.is_scored(problem)
    }
    claims = {
        row["solution_id"]: row
        for row in tests.rows(tests.FILES[1])
        if row["verdict"] and row["problem_id"] in problems and tests.is_here(row["language"])
    }
    chosen = dict(list(sorted(claims.items()))[: solutions or None])
    work = (tests.submission_of(row, problems[row["problem_id"]]) for row in chosen.values())
    agreeing, ran, started = 0, 0, time.monotonic()
    for number, judgement in enumerate(pool.stream(work), 1):
        claim = chosen[judgement.key]
        ran += len(judgement.tests)
        agreeing += judgement.verdict != "judge_error" and (claim["verdict"] == "accepted") == (
            judgement.verdict == "accepted"
        )
        if number % 50 == 0:
            progress(f"{number} of {len(chosen)} solutions, {agreeing / number:.4f} agree")
    seconds = time.monotonic() - started
    return {
        "agreement": agreeing / len(chosen),
        "solutions": len(chosen),
        "solution_tests_per_s": ran / seconds,
    }


def throughput(pool: Pool, data: Path, seconds: float) -> dict[str, object]:
    """Programs and tests per second over all human solutions and model samples, drawn at random."""
    from pipeline.adapters import ReadProblem, ReadTrajectory, find  # heavy, and only this needs it

    bundle = find("bundle")
    items = [item for file in bundle.files(str(data), None) for item in bundle.read(file)]
    problems = {item.row["problem_id"]: item for item in items if isinstance(item, ReadProblem)}
    programs = [item.row for item in items if isinstance(item, ReadTrajectory)]
    random.Random(0).shuffle(programs)
    started = time.monotonic()

    def work() -> Iterator[Submission]:
        for number, row in enumerate(programs):
            if time.monotonic() - started > seconds:
                return
            problem = problems.get(row["problem_id"])
            if problem and problem.tests and problem.row["checker"] != "custom":
                yield submission_of(row, problem, str(number))

    verdicts: Counter[str] = Counter()
    ran, cpu_s = 0, 0.0
    for judgement in pool.stream(work()):
        verdicts[judgement.verdict] += 1
        ran += len(judgement.tests)
        cpu_s += sum(test.cpu_s for test in judgement.tests)
        if verdicts.total() % 500 == 0:
            progress(f"{verdicts.total()} programs, {ran} tests in {time.monotonic() - started:.0f} s")
    elapsed = time.monotonic() - started
    count = verdicts.total()
    return {
        "bundle_programs": count,
        "bundle_programs_per_s": count / elapsed,
        "bundle_tests_per_s": ran / elapsed,
        "bundle_programs_cpu_s": cpu_s,
        "bundle_seconds": elapsed,
        "bundle_verdicts": dict(verdicts.most_common()),
    }


def submission_of(row: dict, problem: ReadProblem, key: str) -> Submission:
    from pipeline.labelling.checkers import problem_checker
    from pipeline.labelling.submissions import DEFAULT_MEMORY_MB, DEFAULT_TIME_LIMIT_S

    tests = tuple(Test(t["test_id"], t["mode"], t["input"], t["expected_output"]) for t in problem.tests)
    limits = Limits(
        problem.row["time_limit_s"] or DEFAULT_TIME_LIMIT_S,
        int(problem.row["memory_limit_mb"] or DEFAULT_MEMORY_MB),
    )
    preamble, entry_point = problem.row.get("preamble") or "", problem.row.get("entry_point") or ""
    return Submission(
        row["program"],
        row["language"],
        tests,
        limits,
        problem_checker(problem.row),
        preamble,
        entry_point,
        key=key,
    )


def progress(text: str) -> None:
    print(f"  {text}", file=sys.stderr, flush=True)


def shown(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def main() -> None:
    parser = argparse.ArgumentParser(description="Benchmark of the sandbox; the last line is JSON.")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument(
        "--tests", type=int, default=200, help="tests per program, over which the start of its jail is spread"
    )
    parser.add_argument(
        "--repeats", type=int, default=200, help="runs of the fixed program, alone and crowded"
    )
    parser.add_argument("--solutions", type=int, default=100, help="human solutions judged; 0: all of them")
    parser.add_argument(
        "--throughput", type=float, default=0, help="seconds of judging the whole bundle, drawn at random"
    )
    parser.add_argument("--only-throughput", action="store_true")
    parser.add_argument(
        "--data", type=Path, default=Path("../shared/data"), help="folder with the human solutions"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TMPDIR"] = folder
        cache = Path(folder) / "programs"
        result: dict[str, object] = {}
        if not arguments.only_throughput:
            result |= prices(cache, arguments.rounds, arguments.tests)
        with Pool(cache=cache) as pool:
            users = load("test_soak").users_of(pool)
            groups = {folder for worker in pool.workers for folder in worker.groups}
            result["tier"] = pool.tier
            if not arguments.only_throughput:
                result |= steadiness(pool, arguments.repeats)
                result |= attacks(pool)
                result |= agreement(pool, arguments.data, arguments.solutions)
            if arguments.throughput:
                result |= throughput(pool, arguments.data, arguments.throughput)
        left = load("test_soak").left_behind(Path(folder), users, groups | set(cgroups.left_over()))
    result |= {"leaks": len(left), "left": left}
    for name, value in result.items():
        print(f"{name:<22} {shown(value)}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
