"""Rows in the contracts' form, and one small store whose every answer can be worked out by hand."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import polars as pl
import pytest

from pipeline.store.store import Store
from pipeline.store.tables import TABLES

DAY = datetime(2025, 1, 1, tzinfo=UTC)


def problem(problem_id, **columns):
    return {
        "problem_id": problem_id,
        "source": problem_id.split("/")[0],
        "split": "train",
        "title": problem_id,
        "statement": "Print the sum.",
        "input_mode": "stdin",
        "checker": "tokens",
        "case_sensitive": True,
        "tags": ["sums"],
        "test_set_hash": f"tests of {problem_id}",
        "test_count": 4,
        "batch_id": "batch-1",
        "source_file": "problems.jsonl",
        "source_line": 1,
    } | columns


def trajectory(trajectory_id, problem_id="src/a", **columns):
    return {
        "trajectory_id": trajectory_id,
        "problem_id": problem_id,
        "origin": "human",
        "policy_id": "human",
        "source_key": trajectory_id,
        "program": "print(1)",
        "extraction": "whole",
        "language": "python3",
        "created_at": DAY,
        "batch_id": "batch-1",
        "source_file": "human.jsonl",
        "source_line": 7,
    } | columns


def verdict(trajectory_id, verdict, problem_id="src/a", **columns):
    return {
        "trajectory_id": trajectory_id,
        "test_set_hash": f"tests of {problem_id}",
        "judge_version": "judge-1",
        "attempt": 1,
        "problem_id": problem_id,
        "verdict": verdict,
        "passed": 4 if verdict == "accepted" else 1,
        "total": 4,
        "tests": [{"test_id": str(number), "verdict": verdict} for number in range(4)],
        "cpu_s": 0.5,
        "tier": "bwrap",
        "judged_at": DAY,
    } | columns


def frame(table, rows):
    """A frame with the contract's types, so that columns of nulls have theirs too."""
    types = TABLES[table].schema.create_empty().schema
    names = [name for name in types if any(name in row for row in rows)]
    return pl.DataFrame(rows, schema={name: types[name] for name in names})


@pytest.fixture(scope="session")
def rows():
    return SimpleNamespace(problem=problem, trajectory=trajectory, verdict=verdict, frame=frame, day=DAY)


def reference_samples():
    """12 samples of `ref` on src/a at temperature 1 and one at 0.4; 6 on src/b, of which one has no
    verdict and one no judge.
    """
    sampled = {
        "origin": "earlier_training",
        "policy_id": "ref",
        "temperature": 1.0,
        "top_p": 1.0,
        "source_file": "rollout",
    }
    samples = [trajectory(f"ref-a{i:02}", **sampled) for i in range(1, 13)]
    samples.append(trajectory("ref-cold", **sampled | {"temperature": 0.4}))
    samples += [trajectory(f"ref-b{i}", "src/b", **sampled) for i in range(1, 7)]
    verdicts = [
        verdict(f"ref-a{i:02}", "accepted" if i <= 2 else "wrong_answer")
        for i in range(1, 13)
        if i not in (3, 6)
    ]
    verdicts += [
        verdict("ref-a03", "judge_error", passed=0),
        verdict("ref-a03", "wrong_answer", attempt=2, passed=3),
        # Judge 1 came back after judge 2 was in use: judge 2 holds all the same.
        verdict("ref-a04", "wrong_answer", judge_version="judge-2", judged_at=DAY + timedelta(days=2)),
        verdict("ref-a04", "accepted", attempt=2, judged_at=DAY + timedelta(days=3)),
        verdict("ref-a06", "time_limit_exceeded"),
        verdict("ref-cold", "accepted"),
        *[verdict(f"ref-b{i}", "wrong_answer", "src/b", passed=0) for i in range(1, 5)],
        verdict("ref-b5", "judge_error", "src/b", passed=0),
        verdict("ref-b6", "language_unavailable", "src/b", passed=0),
    ]
    return samples, verdicts


def human_samples():
    claims = [
        ("h1", "src/a", "accepted"),
        ("h2", "src/a", "wrong_answer"),
        ("h3", "src/b", "accepted"),
        ("h4", "src/b", "rejected"),
        ("h5", "oth/c", "accepted"),
        ("h6", "oth/c", "wrong_answer"),
    ]
    samples = [trajectory(name, where, claimed_verdict=claim) for name, where, claim in claims]
    near = {"test_id": "1", "verdict": "accepted", "cpu_s": 0.9}
    verdicts = [
        verdict("h1", "wrong_answer"),
        verdict(
            "h1",
            "accepted",
            judge_version="judge-2",
            judged_at=DAY + timedelta(days=1),
            tests=[near],
            cpu_s=0.9,
        ),
        # Judged again, but on tests that are no longer the problem's.
        verdict("h2", "accepted"),
        verdict(
            "h2",
            "wrong_answer",
            test_set_hash="older tests",
            judge_version="judge-2",
            judged_at=DAY + timedelta(days=1),
        ),
        verdict("h3", "wrong_answer", "src/b"),
        verdict("h4", "time_limit_exceeded", "src/b"),
        verdict("h5", "accepted", "oth/c"),
        verdict("h6", "runtime_error", "oth/c"),
    ]
    return samples, verdicts


def online_samples():
    sampled = {
        "origin": "online",
        "policy_id": "pol",
        "run_id": "run-1",
        "batch_id": "rollout-1",
        "temperature": 0.4,
    }
    samples = [
        trajectory("o1", "oth/c", **sampled, policy_step=10, token_ids=[1, 2, 3]),
        trajectory("o2", "oth/c", **sampled, policy_step=20, token_ids=[1, 2]),
        trajectory("o3", "oth/c", **sampled, policy_step=20, language="cpp"),
    ]
    return samples, [verdict("o1", "wrong_answer", "oth/c"), verdict("o2", "wrong_answer", "oth/c")]


def judged_test(problem_id, test_id, position, **columns):
    return {
        "problem_id": problem_id,
        "test_id": test_id,
        "position": position,
        "kind": "public",
        "mode": "stdin",
        "input": "1",
        "expected_output": "1",
        "batch_id": "batch-1",
    } | columns


def duplicate(trajectory_id, representative, pass_number, size, level, **columns):
    return {
        "trajectory_id": trajectory_id,
        "algorithm": "v1",
        "pass_number": pass_number,
        "problem_id": "src/a",
        "cluster_id": min(trajectory_id, representative),
        "representative_id": representative,
        "level": level,
        "cluster_size": size,
    } | columns


def signature(trajectory_id, token_hash):
    return {
        "trajectory_id": trajectory_id,
        "algorithm": "v1",
        "problem_id": "src/a",
        "language": "python3",
        "raw_hash": trajectory_id,
        "token_hash": token_hash,
        "abstract_hash": token_hash,
        "token_count": 4,
        "shingles": b"",
        "minhash": b"",
    }


def other_tables():
    batch = {
        "batch_id": "batch-1",
        "adapter": "bundle",
        "source_file": "human.jsonl",
        "source_sha256": "ab",
        "read": 9,
        "accepted": 6,
        "present": 1,
        "quarantined": 2,
        "started_at": DAY,
        "finished_at": DAY + timedelta(seconds=3),
    }
    refused = {
        "batch_id": "batch-1",
        "adapter": "bundle",
        "source_file": "human.jsonl",
        "field": "code",
        "reason": "no program",
        "raw": b"{}",
        "refused_at": DAY,
    }
    score = {
        "trajectory_id": "h1",
        "reference": "ref-1",
        "problem_id": "src/a",
        "prompt_ids": [1, 2, 3],
        "completion_ids": [4, 5],
        "logprobs": [-1.0, -3.0],
        "logprob_sum": -4.0,
        "scored_at": DAY,
    }
    return {
        "duplicates": [
            duplicate("ref-a01", "ref-a01", 1, 2, "exact"),
            duplicate("ref-a02", "ref-a01", 1, 2, "exact"),
            duplicate("ref-a01", "ref-a02", 2, 2, "exact"),
            duplicate("ref-a02", "ref-a02", 2, 2, "exact", cluster_id="ref-a01"),
            duplicate("ref-a05", "ref-a05", 2, 1, "unique"),
        ],
        "program_signatures": [
            signature("ref-a01", "same"),
            signature("ref-a02", "same"),
            signature("ref-a05", "x"),
            signature("ref-a06", "x"),
        ],
        "batches": [batch],
        "tests": [
            judged_test("src/a", "second", 1),
            judged_test("src/a", "first", 0),
            judged_test("src/a", "left behind", 0, batch_id="killed batch"),
            judged_test("src/z", "of no problem", 0),
        ],
        "quarantine": [refused | {"quarantine_id": f"q{line}", "source_line": line} for line in (12, 5)],
        "reference_scores": [score],
    }


def fill(store):
    """Write the small store, the trajectories in several commits and so in several files."""
    groups = [human_samples(), reference_samples(), online_samples()]
    tables = {
        "problems": [problem("src/a", time_limit_s=1.0), problem("src/b"), problem("oth/c")],
        "verdicts": [row for _, verdicts in groups for row in verdicts],
        **other_tables(),
    }
    for name, table_rows in tables.items():
        store.append(name, frame(name, table_rows), producer="fixture", sequence=1)
    for number, (samples, _) in enumerate(groups):
        store.append("trajectories", frame("trajectories", samples), producer="fixture", sequence=number)
    return store


@pytest.fixture(scope="session")
def small_store(tmp_path_factory):
    """For reading only: tests that write make a store of their own with `fill_store`."""
    return fill(Store(tmp_path_factory.mktemp("store") / "store"))


@pytest.fixture
def fill_store():
    return fill
