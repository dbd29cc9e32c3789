"""Benchmark of the start of a program: `./run bench starts [--programs N] [--data FOLDER]`; the last
line is JSON.

Python programs of the starter set, or with --data of the contest bundle, with their tests, judged by one
worker in jails of their own and in jails that plain programs share (`sandbox/building/shared.py`), each a
whole pass with the end of all jails counted.

* program_start_cpu_ms, program_start_shared_cpu_ms: CPU time of the judge and the jails per program, beyond
  the CPU time of its tests as verdicts have it.
* label_overhead_share, label_overhead_shared_share: that share of all CPU time.
* shared_share: programs that ran in a shared jail. different: judgements that differ in verdict, tests passed
  or first failure; 0 is expected.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import random
import resource
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:] = [folder for folder in sys.path if folder != str(HERE)]
sys.path.insert(0, str(HERE.parents[1]))
from pipeline.adapters import ReadProblem, find  # noqa: E402
from sandbox import Judgement, Submission  # noqa: E402
from sandbox.isolation import establish  # noqa: E402
from sandbox.judging import Judge  # noqa: E402

STARTER = HERE.parents[1] / "data" / "starter"


def starter_submissions(count: int) -> list[Submission]:
    """Programs of the starter set, drawn at random."""
    adapter = find("plain")
    rows, problems = [], {}
    for file in adapter.files(str(STARTER), None):
        for item in adapter.read(file):
            if isinstance(item, ReadProblem):
                problems[item.row["problem_id"]] = item
            elif item.row["language"] == "python3":
                rows.append(item.row)
    return drawn(rows, problems, count)


def bundle_submissions(folder: Path, count: int) -> list[Submission]:
    """Human solutions and model samples of the contest bundle, drawn at random."""
    adapter = find("bundle")
    problems: dict[str, ReadProblem] = {}
    rows = []
    for file in adapter.files(str(folder), None):
        for item in adapter.read(file):
            if isinstance(item, ReadProblem):
                problems[item.row["problem_id"]] = item
            elif getattr(item, "row", {}).get("language") == "python3":
                rows.append(item.row)
    return drawn(rows, problems, count)


def drawn(rows: list[dict[str, Any]], problems: dict[str, ReadProblem], count: int) -> list[Submission]:
    """Submissions of some of the rows, those of a problem together, as labelling takes them."""
    usable = [
        row
        for row in rows
        if row["problem_id"] in problems and problems[row["problem_id"]].row["checker"] == "tokens"
    ]
    chosen = random.Random(0).sample(usable, min(count or len(usable), len(usable)))
    chosen.sort(key=lambda row: (row["problem_id"], row["program"]))
    spec = importlib.util.spec_from_file_location("bench_sandbox", HERE / "sandbox.py")
    assert spec and spec.loader
    bench = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bench)
    return [bench.submission_of(row, problems[row["problem_id"]], str(n)) for n, row in enumerate(chosen)]


def used_s() -> float:
    """CPU seconds of this process and of all its children that have ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def judged(submissions: list[Submission], shared_jails: bool) -> tuple[list[Judgement], float]:
    """The judgements, and CPU seconds of everything."""
    with tempfile.TemporaryDirectory() as cache, closing(establish(Path(cache))) as isolation:
        with Judge(isolation, Path(cache), shared_jails) as judge:
            judge.judge(submissions[0])  # tries the language
        before = used_s()
        with Judge(isolation, Path(cache), shared_jails) as judge:
            judge.languages.require("python3")
            judgements = []
            for number, submission in enumerate(submissions, start=1):
                judgements.append(judge.judge(submission))
                if number % 500 == 0:
                    print(f"{number} of {len(submissions)} programs", file=sys.stderr)
        return judgements, used_s() - before


def facts(judgement: Judgement) -> tuple[str, int, str | None]:
    return judgement.verdict, judgement.passed, judgement.first_failure


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--programs", type=int, default=500, help="0: all")
    parser.add_argument("--data", type=Path, help="folder of the contest bundle; the starter set if left out")
    options = parser.parse_args()
    submissions = (
        bundle_submissions(options.data, options.programs)
        if options.data
        else starter_submissions(options.programs)
    )
    figures: dict[str, float] = {"programs": len(submissions)}
    passes = []
    for name, shared_jails in (("", False), ("shared_", True)):
        judgements, spent_s = judged(submissions, shared_jails)
        tests_s = sum(test.cpu_s for judgement in judgements for test in judgement.tests)
        figures[f"program_start_{name}cpu_ms"] = round(1000 * (spent_s - tests_s) / len(submissions), 2)
        figures[f"label_overhead_{name}share"] = round(1 - tests_s / spent_s, 3)
        passes.append(judgements)
    own, shared = passes
    different = [
        n for n, pair in enumerate(zip(own, shared, strict=True)) if facts(pair[0]) != facts(pair[1])
    ]
    for number in different[:10]:
        print(
            facts(own[number]), facts(shared[number]), submissions[number].program, sep="\n", file=sys.stderr
        )
    figures["shared_share"] = round(sum(one.tier.endswith("+shared") for one in shared) / len(shared), 3)
    print(json.dumps(figures | {"different": len(different)}))


if __name__ == "__main__":
    main()
