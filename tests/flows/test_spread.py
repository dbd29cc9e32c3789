"""The same labels, signatures, clusters and scores on a cluster of several processes as on one."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from polars.testing import assert_frame_equal

from pipeline.dedup.deduplication import deduplicate, sign_part
from pipeline.ingest.ingestion import ingest
from pipeline.labelling.labeller import label
from pipeline.store.store import Store
from sandbox import Pool
from trainer.policies.policy import load_policy
from trainer.policies.reference import score

STARTER = Path(__file__).parents[2] / "data" / "starter"
# What does not depend on when and where it was made.
COMPARED = {
    "verdicts": [
        "trajectory_id",
        "test_set_hash",
        "judge_version",
        "attempt",
        "verdict",
        "passed",
        "total",
        "first_failure",
    ],
    "program_signatures": ["trajectory_id", "algorithm", "raw_hash", "token_hash", "minhash"],
    "duplicates": ["trajectory_id", "cluster_id", "level", "cluster_size", "pass_number"],
}


def filled(folder: Path, problems: int) -> Store:
    store = Store(folder / "store")
    ingest(store, "plain", str(STARTER), limit=problems)
    return store


def contents(store: Store) -> dict[str, list[tuple]]:
    return {name: sorted(store.read(name, columns).rows()) for name, columns in COMPARED.items()}


@pytest.fixture(scope="module")
def on_one(tmp_path_factory):
    """What one process gives."""
    store = filled(tmp_path_factory.mktemp("one"), 6)
    with Pool(2) as pool:
        label(store, pool)
    deduplicate(store)
    return contents(store)


def test_parts_together_are_the_whole(on_one, tmp_path):
    """The parts themselves, one after the other and in another order, without any cluster."""
    from flows.work.parts import part_predicate

    store = filled(tmp_path, 6)
    with Pool(2) as pool:
        rows = [label(store, pool, where=part_predicate("t.problem_id", part, 3)).rows for part in (2, 0, 1)]
    assert sum(rows) == len(on_one["verdicts"]) and sum(1 for count in rows if count) > 1
    signed = [sign_part(store, part, 3) for part in (1, 2, 0)]
    assert sum(signed) == len(on_one["program_signatures"]) and all(signed)
    assert deduplicate(store).signed == 0
    assert contents(store) == on_one


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("engine", ["dask", "ray"])
def test_a_cluster_of_processes_gives_the_same(engine, on_one, server, tmp_path):
    pytest.importorskip(f"prefect_{engine}", reason=f"pip install 'spo[{engine}]'")
    store = filled(tmp_path, 6)
    for command in ("label", "deduplicate"):
        ended = subprocess.run(
            [
                sys.executable,
                "-m",
                "flows",
                command,
                "--store",
                store.location,
                "--runner",
                engine,
                "--parts",
                "3",
            ],
            env=server.environment(),
            capture_output=True,
            text=True,
            timeout=280,
        )
        assert ended.returncode == 0, ended.stderr[-3000:]
    assert contents(store) == on_one


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("engine", ["dask", "ray"])
def test_a_cluster_scores_as_one_process_does(engine, sampled_store, server, tmp_path):
    pytest.importorskip(f"prefect_{engine}", reason=f"pip install 'spo[{engine}]'")
    store, reference = sampled_store(tmp_path, 6), tmp_path / "reference"
    shutil.copytree(tmp_path / "store", tmp_path / "other")
    other = Store(tmp_path / "other")
    score(other, load_policy(reference), folder=reference)
    ended = subprocess.run(
        [
            sys.executable,
            "-m",
            "flows",
            "score",
            str(reference),
            "--store",
            store.location,
            "--runner",
            engine,
            "--parts",
            "3",
        ],
        env=server.environment(),
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    columns = ["trajectory_id", "reference", "completion_ids", "logprobs"]
    one, many = (one.read("reference_scores", columns).sort("trajectory_id") for one in (other, store))
    assert one.height and one.drop("logprobs").equals(many.drop("logprobs"))
    # Parts make other batches, and other batches other last bits.
    assert_frame_equal(one, many, rel_tol=1e-4, abs_tol=1e-4)
