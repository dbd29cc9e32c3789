"""What `judge` measures of claims: verdicts against those that human solutions of the contest bundle claim,
and a checked explanation of each disagreement.

An explanation is a fact that is computed here from the programs and their runs, or recorded in
`judge_claims.toml` and checked again by running it.
"""

from __future__ import annotations

import ast
import gzip
import json
import tempfile
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from pipeline.ingest import ingest
from pipeline.labelling import label
from pipeline.labelling.submissions import SubmissionBuilder
from pipeline.store import Store, connect, query
from sandbox import Pool, Submission, Test
from tests.benchmarks.judge_table import ClaimRow

FILES = ("problems.jsonl.gz", "human_solutions.jsonl.gz", "model_samples.jsonl.gz")
# A claim of acceptance agrees with acceptance, any other claim with any failure: which limit goes first
# depends on the machine.
CLAIMS = """
select
    p.source, j.language, j.problem_id, j.source_key, j.claimed_verdict, j.verdict,
    (j.claimed_verdict = 'accepted') = (j.verdict = 'accepted') as agrees,
    p.time_limit_s, t.program, t.files, v.first_failure,
    (select max(test.cpu_s) from unnest(v.tests) as results(test)) as slowest_s
from judged j
join problems p using (problem_id)
join trajectories t using (trajectory_id)
join verdicts v
  on v.trajectory_id = j.trajectory_id and v.test_set_hash = j.test_set_hash
  and v.judge_version = j.judge_version and v.attempt = j.attempt
where j.claimed_verdict is not null and j.reward_binary is not null
order by p.source, j.language, j.problem_id, j.source_key
"""
LONGER = 10  # times the default limit, for programs whose problem has none
Row = dict[str, Any]


def agreement(
    data: Path, sources: list[str], retained: Path | None = None
) -> tuple[dict[str, Any], list[ClaimRow]]:
    """Agreement of verdicts with the claims of human solutions of problems with full tests: figures, and a
    row per source and language. `kept`: the folder of a store that is kept, or goes on.
    """
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder) / "bundle"
        bundle.mkdir()
        copy_judged(data, bundle, sources)
        store = Store(retained or Path(folder) / "store")
        ingest(store, "bundle", str(bundle))
        summary = label(store, where="t.origin = 'human'")
        return compare(store, summary.unjudgeable)


def compare(store: Store, unjudgeable: int = 0) -> tuple[dict[str, Any], list[ClaimRow]]:
    """What `agreement` returns, for a store whose solutions have been judged."""
    with connect(store) as connection:
        rows = query(connection, CLAIMS)
    with Pool() as pool:
        explainer = Explainer(store, pool, rows.to_dicts())
        why = [explainer.why(row) if not row["agrees"] else "" for row in rows.iter_rows(named=True)]
    rows = rows.with_columns(why=pl.Series(why, dtype=pl.String))
    others = rows.filter(~pl.col("agrees"))
    for row in others.iter_rows(named=True):
        key = f"{row['source_key']} [{row['language']}]"
        print(f"{key}: claims {row['claimed_verdict']}, is {row['verdict']}; {row['why'] or 'UNEXPLAINED'}")
    counts = rows.group_by("source", "language").agg(
        pl.len(), pl.col("agrees").sum(), (pl.col("why") != "").sum().alias("explained")
    )
    unexplained = others.filter(pl.col("why") == "").height
    return {
        "solutions": rows.height,
        "agreement": round(float(rows["agrees"].sum()) / max(rows.height, 1), 4),
        "agreement_explained": round(1 - unexplained / max(rows.height, 1), 4),
        "disagreements": others.height,
        "disagreements_unexplained": unexplained,
        "without_checker": unjudgeable,
    }, [ClaimRow(*row) for row in counts.sort("source", "language").iter_rows()]


def copy_judged(data: Path, bundle: Path, sources: list[str]) -> None:
    """Copy the problems with full tests, of all sources or of some, with their human solutions."""
    retained: set[str] = set()
    for name in FILES[:2]:
        with gzip.open(data / name, "rt") as rows, gzip.open(bundle / name, "wt", compresslevel=1) as copy:
            for line in rows:
                row = json.loads(line)
                is_wanted = name == FILES[0] and (not sources or row["source"] in sources)
                if is_wanted and row["tests_quality"] == "full":
                    retained.add(row["problem_id"])
                if row["problem_id"] in retained:
                    copy.write(line)
    (bundle / FILES[2]).write_bytes(gzip.compress(b""))


class Explainer:
    """Finds out why a claim does not hold. `rows` are all judged solutions."""

    def __init__(self, store: Store, pool: Pool, rows: list[Row]) -> None:
        self.store, self.pool, self.rows = store, pool, rows
        self.facts = tomllib.loads(Path(__file__).with_suffix(".toml").read_text())

    def why(self, row: Row) -> str:
        """One line; "" where nothing explains the disagreement."""
        explanations: tuple[Callable[[Row], str], ...] = (
            self.twin, self.forbidden_call, self.counterexample, self.other_equality, self.missing_limit,
            self.default_limit, self.edit,
        )  # fmt: skip
        return next(filter(None, (explain(row) for explain in explanations)), "")

    def twin(self, row: Row) -> str:
        """The same program with the opposite claim."""
        claim, tree = row["claimed_verdict"] == "accepted", syntax_tree(row)
        for other in self.of_problem(row["problem_id"]):
            if (other["claimed_verdict"] == "accepted") != claim and tree and syntax_tree(other) == tree:
                key = other["source_key"]
                return f"the same program, but for comments, is claimed {other['claimed_verdict']}: {key}"
        return ""

    def forbidden_call(self, row: Row) -> str:
        """A call that the source forbids: no solution that is claimed accepted makes it."""
        for fact in self.facts["rule"]:
            if fact["problem"] != row["problem_id"] or row["claimed_verdict"] == "accepted":
                continue
            right = [
                one for one in self.of_problem(row["problem_id"]) if one["claimed_verdict"] == "accepted"
            ]
            if calls(row, fact["calls"]) and not any(calls(one, fact["calls"]) for one in right):
                return f"{fact['why']}; none of the {len(right)} solutions claimed accepted does"
        return ""

    def counterexample(self, row: Row) -> str:
        """A recorded input on which the program is wrong, and a solution claimed accepted is right."""
        for fact in self.recorded("counterexample", row):
            reference = next(
                one for one in self.of_problem(row["problem_id"]) if ends(one, fact["reference"])
            )
            test = (Test("1", "call", fact["call"], fact["expected"]),)
            mine, other = (self.judge(replace(self.submission(one), tests=test)) for one in (row, reference))
            if mine != "accepted" == other:
                return f"the tests are too weak: {fact['call']} gives {mine}"
        return ""

    def other_equality(self, row: Row) -> str:
        """Values that are equal here, and not in Python: a tuple and a list."""
        submission = self.submission(row)
        if row["verdict"] != "accepted" or any(test.mode != "call" for test in submission.tests):
            return ""
        tests = [
            Test(test.test_id, "assert", f"value = {test.input}\nassert value == {test.expected_output}")
            for test in submission.tests
        ]
        verdict = self.judge(replace(submission, tests=tuple(tests)))
        return (
            "a tuple in the place of a list, which is equal here and not in Python"
            if verdict == "wrong_answer"
            else ""
        )

    def missing_limit(self, row: Row) -> str:
        """A solution that is claimed too slow, of a problem whose limit the data does not have."""
        others = [
            one["slowest_s"]
            for one in self.of_problem(row["problem_id"])
            if one["claimed_verdict"] == one["verdict"] == "accepted"
        ]
        is_slow = row["claimed_verdict"] in ("time_limit_exceeded", "partial") and others
        if row["time_limit_s"] is not None or not is_slow or row["slowest_s"] <= 1.5 * max(others):
            return ""
        return (
            f"the data has no time limit, and it takes {row['slowest_s']:.1f} s, where no solution claimed"
            f" accepted takes more than {max(others):.1f} s"
        )

    def default_limit(self, row: Row) -> str:
        """A solution that is right, and too slow for the default limit, on the test that it fails."""
        if row["time_limit_s"] is not None or row["verdict"] != "time_limit_exceeded":
            return ""
        submission = self.submission(row)
        failed = [test for test in submission.tests if test.test_id == row["first_failure"]]
        limits = replace(submission.limits, time_s=LONGER * submission.limits.time_s)
        verdict = self.judge(replace(submission, tests=tuple(failed), limits=limits))
        why = f"passes this test with {LONGER} times the default limit; the data has none"
        return why if verdict == "accepted" else ""

    def edit(self, row: Row) -> str:
        """A recorded change with which the program is accepted."""
        for fact in self.recorded("edit", row):
            program = row["program"].replace(fact["replace"], fact["by"])
            if (
                program != row["program"]
                and self.judge(self.submission(row | {"program": program})) == "accepted"
            ):
                return f"{fact['why']}, it is accepted"
        return ""

    def of_problem(self, problem_id: str) -> list[Row]:
        return [row for row in self.rows if row["problem_id"] == problem_id]

    def recorded(self, kind: str, row: Row) -> list[dict[str, Any]]:
        """The facts of a kind that are about a solution."""
        return [
            fact
            for fact in self.facts[kind]
            if fact["problem"] == row["problem_id"] and any(ends(row, name) for name in fact["solutions"])
        ]

    def submission(self, row: Row) -> Submission:
        return SubmissionBuilder(self.store, [row["problem_id"]]).submission(row, row["source_key"])

    def judge(self, submission: Submission) -> str:
        return self.pool.judge(submission).verdict


def ends(row: Row, name: str) -> bool:
    """Whether a solution's key ends with a name: the rest of it names the problem."""
    return bool(row["source_key"].endswith(f"#{name}"))


def syntax_tree(row: Row) -> str:
    """A Python program without its comments and layout; "" for others, and for what does not parse."""
    try:
        return ast.dump(ast.parse(row["program"])) if row["language"] == "python3" else ""
    except (SyntaxError, ValueError, RecursionError):
        return ""


def calls(row: Row, names: list[str]) -> bool:
    """Whether a Python program calls a method, or a function of others, by one of these names."""
    try:
        nodes = list(ast.walk(ast.parse(row["program"])))
    except (SyntaxError, ValueError, RecursionError):
        return False
    own = {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
    functions = [node.func for node in nodes if isinstance(node, ast.Call)]
    return any(
        (isinstance(function, ast.Attribute) and function.attr in names)
        or (isinstance(function, ast.Name) and function.id in names and function.id not in own)
        for function in functions
    )
