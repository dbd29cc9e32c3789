"""`spo eval`, `spo eval --compare`, the report and SQL say the same pass@k of one store, the one worked out
by hand.

The store has unequal counts of samples, judge errors, a problem that the judge never judged, two sampling
seeds of the reference and two training seeds. The page shows one decimal; what it was made from is compared
to 1e-12.
"""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from fractions import Fraction
from math import comb
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from flows.cli import app
from flows.commands.evaluate import _show
from flows.work.rollouts import select_problems
from pipeline.evaluation.report.comparison import compare
from pipeline.evaluation.report.runfolder import read_run
from pipeline.ingest.ingestion import ingest
from pipeline.store.contracts import Evaluations
from pipeline.store.sql import connect, query
from pipeline.store.store import Store
from trainer.evaluation.evaluator import settings_key, summary_of
from trainer.policies.policy import new_policy
from trainer.policies.publishing import publish_policy
from trainer.rollouts.generation import SamplingSettings

STARTER = Path(__file__).parents[2] / "data" / "starter"
PROBLEMS = 14
# Policy and sampling seed -> what is correct of the samples of problem i.
CORRECT = {
    ("run/reference", 0): lambda i: i % 4,
    ("run/reference", 1): lambda i: i % 3,
    ("run/seed-0", 0): lambda i: 2 + i % 5,
    ("run/seed-1", 0): lambda i: i % 8,
}
POLICIES = ("run/reference", "run/seed-0", "run/seed-1")


def judged(i, seed):
    """Samples with a verdict: none of problem 0, too few of problem 1 even over two seeds, unequal counts
    of the others.
    """
    return {0: 0, 1: 4}.get(i, 20 - (i + seed) % 7)


def counts(policy, i):
    """Samples and successes of a policy on problem i, over its sampling seeds."""
    seeds = [seed for name, seed in CORRECT if name == policy]
    right = [min(CORRECT[policy, seed](i), judged(i, seed)) for seed in seeds]
    return sum(judged(i, seed) for seed in seeds), sum(right)


def by_hand(policy, k):
    """pass@k over the problems with k judged samples, and how many those are."""
    enough = [(n, c) for n, c in (counts(policy, i) for i in range(PROBLEMS)) if n >= k]
    total = sum(1 - Fraction(comb(n - c, k), comb(n, k)) for n, c in enough)
    return float(total / len(enough)), len(enough)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("numbers")
    store = Store(folder / "store")
    ingest(store, "plain", str(STARTER), limit=PROBLEMS)
    policy = new_policy(
        store.read("trajectories")["program"].sort().to_list(), vocab_size=400, layers=1, width=32
    )
    policy.save(folder / "policy")
    for name in POLICIES:
        publish_policy(store, policy, folder / "policy", policy_id=name)
    problems = select_problems(str(store.location), "true").sort("problem_id")
    assert problems.height == PROBLEMS
    settings = SamplingSettings(samples_per_problem=20, max_new_tokens=256)
    rows = [
        {
            "policy_id": name,
            "problem_id": problem["problem_id"],
            "settings": settings_key(settings, problems, seed),
            "split": problem["split"],
            "samples": judged(i, seed),
            "correct": min(correct(i), judged(i, seed)),
            "distinct_correct": min(correct(i), judged(i, seed), 2),
            "judge_errors": 20 - judged(i, seed),
            "evaluated_at": datetime(2026, 1, 1, tzinfo=UTC),
        }
        for (name, seed), correct in CORRECT.items()
        for i, problem in enumerate(problems.iter_rows(named=True))
    ]
    types = Evaluations.create_empty().schema
    frame = pl.DataFrame(rows, schema_overrides={name: types[name] for name in rows[0]})
    store.append("evaluations", frame, producer="test", sequence=0)
    run = folder / "run"
    run.mkdir()
    seeds = [{"policy_id": f"run/seed-{i}", "seed": i, "folder": f"seed-{i}"} for i in range(2)]
    record = {"run": "run", "reference_policy": "run/reference", "policies": seeds}
    (run / "run.json").write_text(json.dumps(record))
    return folder


def spo(server, folder, *arguments):
    done = subprocess.run(
        [sys.executable, "-m", "flows", *arguments, "--store", str(folder / "store")],
        env=server.environment(),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def command(folder, *arguments):
    """What a command that needs no server prints; it runs in this process."""
    done = CliRunner().invoke(app, [*arguments, "--store", str(folder / "store")])
    assert done.exit_code == 0, done.output
    return done.stdout


def by_metric(answer, side):
    return {metric["metric"]: metric[side] for metric in answer["metrics"]}


@pytest.mark.timeout(900)
@pytest.mark.slow
def test_all_four_say_the_number_worked_out_by_hand(place, server):
    evaluated = json.loads(spo(server, place, "eval", *POLICIES, "--problems", "true", "--json")[-1])
    compared = json.loads(command(place, "eval", "--compare", "run/reference", "run", "--json"))[0]
    store = Store(place / "store")
    with connect(store) as connection:
        view = query(connection, "SELECT * FROM pass_at_k")
        change = query(connection, "@compare_policies").filter(policy_a="run", policy_b="run/reference")
    actual = compare(store.read("evaluations"), read_run(place / "run"))
    reported = {finding.metric.label: finding for finding in actual.findings}
    (path,) = spo(server, place, "report", str(place / "run"))
    page = Path(path).read_text().replace("\u202f", "")
    assert compared["b_policies"] == ["run/seed-0", "run/seed-1"] and compared["not_evaluated"] == []
    for k in (1, 10):
        metric = f"pass@{k}"
        hand = {name: by_hand(name, k) for name in POLICIES}
        for answer in evaluated:
            mean, problems = hand[answer["policy_id"]]
            estimate = answer[f"pass_at_{k}"]
            assert abs(estimate["mean"] - mean) < 1e-12
            assert (estimate["problems"], estimate["left_out"]) == (problems, PROBLEMS - problems)
            row = view.filter(policy=answer["policy_id"], k=k).row(0, named=True)
            assert abs(row["pass_at_k"] - mean) < 1e-12
            assert (row["problems"], row["left_out"]) == (problems, PROBLEMS - problems)
        before, after = hand["run/reference"][0], (hand["run/seed-0"][0] + hand["run/seed-1"][0]) / 2
        of_run = view.filter(policy="run", k=k).row(0, named=True)
        assert of_run["seeds"] == 2 and abs(of_run["pass_at_k"] - after) < 1e-12
        finding = reported[metric]
        for name, mean, side in (("a", before, finding.before), ("b", after, finding.after)):
            assert abs(by_metric(compared, name)[metric]["mean"] - mean) < 1e-12
            assert abs(side.mean - mean) < 1e-12
            assert f"{100 * mean:.1f}%" in page
        differences = by_metric(compared, "change")[metric], change[f"pass_{k}_change"][0]
        assert abs(differences[0]["mean"] - (after - before)) < 1e-12
        assert abs(-differences[1] - (after - before)) < 1e-12
        # Intervals come from one bootstrap.
        assert (differences[0]["low"], differences[0]["high"]) == (finding.change.low, finding.change.high)
        assert by_metric(compared, "a")[metric]["left_out"] == finding.before.left_out == k // 10 + 1
    assert evaluated[0]["evaluations"] == 2 and evaluated[0]["judge_errors"] == sum(
        20 - judged(i, seed) for i in range(PROBLEMS) for seed in (0, 1)
    )


def test_the_command_says_what_it_leaves_out(place, capsys):
    store = Store(place / "store")
    rows = store.read("evaluations").filter(policy_id="run/reference")
    _show(store, summary_of("run/reference", rows), rows)
    shown = capsys.readouterr().out
    assert "pooled from 2 evaluations that differ only in the seed" in shown
    assert "pass@10 is over 12 problems; 2 were left out because they have too few judged samples" in shown
    assert (
        f"{sum(20 - judged(i, seed) for i in range(PROBLEMS) for seed in (0, 1))} samples have no verdict"
        in shown
    )
    compared = command(place, "eval", "--compare", "run/reference", "run")
    assert "run is the mean of 2 seeds: run/seed-0, run/seed-1" in compared
    assert "95 % intervals over problems and seeds" in compared
