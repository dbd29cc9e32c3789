"""What `trust` measures of the judge: forged verdicts, and what a function test costs now. Callables for a
larger benchmark.

`python tests/benchmarks/judge_trust.py` prints them as one line of JSON.
"""

from __future__ import annotations

import json
import resource
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

sys.path[:] = [folder for folder in sys.path if folder != str(Path(__file__).parent)]
sys.path.insert(0, str(Path(__file__).parents[2]))
from sandbox import Pool, Submission, Test  # noqa: E402
from sandbox.isolation import Isolation, establish  # noqa: E402
from sandbox.judging import runs  # noqa: E402
from sandbox.judging.functions import Job, make_job, make_unisolated_job  # noqa: E402
from sandbox.judging.judge import Judge  # noqa: E402

PROGRAM = "def f(numbers, n={number}):\n    return sorted(numbers)[:2]\n"
CHECK = "def check(candidate):\n" + "".join(
    f"    assert candidate([{n}, 3, 1]) == {sorted([n, 3, 1])[:2]}\n" for n in range(7)
)


def forging(programs: int | None = None) -> tuple[int, list[str]]:
    """(attacks, forged verdicts): every program of tests/sandbox/forged, or some of them, against every test
    of test_forged.py. Raises RuntimeError where the judge failed, which repels nothing.
    """
    from tests.sandbox.test_forged import FORGED, LIMITS, TESTS

    attacks, forged = 0, []
    with Pool() as pool:
        work = (
            Submission(
                path.read_text(),
                "python3",
                TESTS,
                LIMITS,
                entry_point="f",
                stop_at_first_failure=False,
                key=path.stem,
            )
            for path in FORGED[:programs]
        )
        for judgement in pool.stream(work):
            attacks += len(judgement.tests)
            for result in judgement.tests:
                if result.verdict == "judge_error":
                    raise RuntimeError(f"{judgement.key}, test {result.test_id}: {result.detail}")
                if result.verdict == "accepted":
                    forged.append(f"{judgement.key}, test {result.test_id}")
    return attacks, forged


def function_ratio(rounds: int = 5, programs: int = 20, tests: int = 60) -> dict[str, float]:
    """CPU time of function tests with assertions in a jail of their own, over that of the same beside the
    program.

    `check`: programs with one `check(candidate)` of seven assertions each, the start of their jails included;
    `assert`: one program with many tests. Medians of the rounds, the two taken one after the other in each.
    """
    many = tuple(
        Test(str(n), "assert", f"assert f([{n}, 3, 1]) in ({sorted([n, 3, 1])[:2]},)") for n in range(tests)
    )
    work = {
        "check": [
            Submission(
                PROGRAM.format(number=number), "python3", (Test("1", "check", CHECK),), entry_point="f"
            )
            for number in range(programs)
        ],
        "assert": [Submission(PROGRAM.format(number=0), "python3", many, entry_point="f")],
    }
    results: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        isolation = establish(Path(folder))
        try:
            for name, submissions in work.items():
                ratios = [
                    cpu_s(isolation, Path(folder), submissions, make_job)
                    / cpu_s(isolation, Path(folder), submissions, beside_the_program)
                    for _ in range(rounds)
                ]
                results[name] = round(statistics.median(ratios), 3)
        finally:
            isolation.close()
    return results


def beside_the_program(test: Test, _entry: str) -> Job:
    return make_unisolated_job(test, "f")


def cpu_s(
    isolation: Isolation, cache: Path, submissions: list[Submission], jobs: Callable[[Test, str], Job]
) -> float:
    """CPU time of judging these, of all processes, with jobs made in one way."""
    before, usual = used_s(), runs.make_job
    runs.make_job = jobs
    try:
        with Judge(isolation, cache) as judge:
            for submission in submissions:
                assert judge.judge(submission).verdict == "accepted"
    finally:
        runs.make_job = usual
    return used_s() - before


def used_s() -> float:
    results = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in results)


if __name__ == "__main__":
    attacks, forged = forging()
    print(json.dumps({"attacks": attacks, "forged": len(forged), "function_ratio": function_ratio()}))
