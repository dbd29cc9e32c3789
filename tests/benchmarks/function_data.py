"""How many function problems of a data set have tests whose values cross as plain data, and how many are
judged beside the program and stamped: by judging a known-correct solution of each.

`python tests/benchmarks/function_data.py FOLDER` prints the counts by source as one line of JSON. The folder
has problems.jsonl.gz and human_solutions.jsonl.gz in the form that the adapter `bundle` reads.
"""

from __future__ import annotations

import gzip
import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

sys.path[:] = [folder for folder in sys.path if folder != str(Path(__file__).parent)]
sys.path.insert(0, str(Path(__file__).parents[2]))
from pipeline.adapters.bundle import read_test  # noqa: E402
from sandbox import Limits, Pool, Submission, Test  # noqa: E402
from sandbox.contracts import Judgement  # noqa: E402

LIMITS = Limits(time_s=10.0, memory_mb=1024)
SOLUTIONS_PER_PROBLEM = 3
TYPED = "mbpp-typed/"  # the problems of MBPP with type hints: the same numbers and solutions
ISOLATED, STAMPED, UNSOLVED = "isolated", "stamped", "no solution accepted"


def rows(path: Path) -> Iterator[dict]:
    with gzip.open(path, "rt") as lines:
        yield from map(json.loads, lines)


def submissions(folder: Path, quick: bool) -> tuple[Counter[str], list[Submission]]:
    """(function problems by source, submissions with key `problem_id`): some correct solutions of each."""
    solutions: dict[str, list[str]] = {}
    for row in rows(folder / "human_solutions.jsonl.gz"):
        if row["verdict"] == "accepted" and row["language"] == "python3":
            solutions.setdefault(row["problem_id"], []).append(row["source"])
    problems: Counter[str] = Counter()
    work = []
    for problem in rows(folder / "problems.jsonl.gz"):
        name = problem["problem_id"]
        source = source_of(name)
        if problem["io_mode"] != "function" or (quick and problems[source] >= 20):
            continue
        problems[source] += 1
        solved = name.replace(TYPED, "mbpp/")
        for program in solutions.get(solved, [])[:SOLUTIONS_PER_PROBLEM]:
            work.append(submission(problem, program))
    return problems, work


def submission(problem: dict, program: str) -> Submission:
    results = [("public", problem["public_tests"]), ("private", problem["hidden_tests"])]
    tests = [read_test(test, kind, n) for kind, several in results for n, test in enumerate(several, start=1)]
    return Submission(
        program,
        "python3",
        tuple(Test(one["test_id"], one["mode"], one["input"], one["expected_output"]) for one in tests),
        LIMITS,
        preamble=problem["preamble"] or "",
        entry_point=problem["entry_point"] or "",
        key=problem["problem_id"],
        stop_at_first_failure=False,
    )


def source_of(problem_id: str) -> str:
    return problem_id.partition("/")[0]


def count(folder: Path, quick: bool = False) -> dict[str, dict[str, int]]:
    """{source: {isolated: problems, stamped: problems, no solution accepted: problems}}

    Raises RuntimeError where the judge failed on a problem and accepted no other solution of it: that would
    say nothing of its tests.
    """
    problems, work = submissions(folder, quick)
    with Pool() as pool:
        accepted, failures = sorted_out(pool.stream(work))
    if broken := sorted(failures.keys() - accepted.keys()):
        raise RuntimeError(f"judge errors: {broken[:5]}: {failures[broken[0]]}")
    results = {source: dict.fromkeys((ISOLATED, STAMPED, UNSOLVED), 0) for source in problems}
    for problem_id, isolated in accepted.items():
        results[source_of(problem_id)][ISOLATED if isolated else STAMPED] += 1
    for source, total in problems.items():
        results[source][UNSOLVED] = total - results[source][ISOLATED] - results[source][STAMPED]
    return results


def sorted_out(judgements: Iterator[Judgement]) -> tuple[dict[str, bool], dict[str, str]]:
    """({problem: whether all values of an accepted solution crossed}, {problem: why the judge failed})

    A problem counts as isolated only where none of its accepted solutions was judged beside the tests.
    """
    accepted: dict[str, bool] = {}
    failures: dict[str, str] = {}
    for judgement in judgements:
        if judgement.verdict == "accepted":
            accepted[judgement.key] = accepted.get(judgement.key, True) and judgement.isolated_check is True
        elif judgement.verdict == "judge_error":
            failures[judgement.key] = next((one.detail for one in judgement.tests if one.detail), "")
    return accepted, failures


if __name__ == "__main__":
    print(json.dumps(count(Path(sys.argv[1]))))
