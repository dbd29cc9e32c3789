"""Fresh samples that several ranks draw together; a rank is a thread here, a process in test_sharded.py."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Barrier
from typing import Any

import pytest
import torch

from sandbox import Pool
from trainer.distributed import SingleProcess
from trainer.policies import ReferenceChanged
from trainer.policies.policy import new_policy
from trainer.rollouts.generation import LocalSampler, SamplingSettings
from trainer.rollouts.online import FreshData, OnlineSettings, shared_sampler
from trainer.run import RunConfig, run

STATEMENTS = ["Print n.", "Print n.", "Print the sum of the numbers.", "Print n.", "Print n."]
SETTINGS = SamplingSettings(samples_per_problem=3, max_new_tokens=10)


@dataclass
class Table:
    """What the threads pass to each other. A rank that does not come breaks the barrier, and so the test."""

    world: int
    values: dict[int, Any] = field(default_factory=dict)

    def __post_init__(self):
        self.barrier = Barrier(self.world, timeout=120)

    def exchange(self, rank: int, value: Any) -> dict[int, Any]:
        self.values[rank] = value
        self.barrier.wait()
        actual = dict(self.values)
        self.barrier.wait()
        return actual


class ThreadRanks(SingleProcess):
    def __init__(self, rank: int, table: Table):
        self.rank, self.world, self.table = rank, table.world, table

    def agree(self, value):
        return self.table.exchange(self.rank, value)[0]

    def gather(self, actual):
        return {
            place: value
            for part in self.table.exchange(self.rank, actual).values()
            for place, value in part.items()
        }


@pytest.fixture(scope="module")
def policy():
    return new_policy(STATEMENTS, vocab_size=300, layers=1, width=16, heads=2)


def draw_all(policy, world: int, seeds: list[int]) -> list[list]:
    """What rank 0 gets for each seed; the others help until it has enough."""
    table = Table(world)

    def work(rank: int) -> list[list] | None:
        with shared_sampler(LocalSampler(policy), ThreadRanks(rank, table)) as sampler:
            return sampler and [list(sampler.draw(STATEMENTS, SETTINGS, seed)) for seed in seeds]

    with ThreadPoolExecutor(world) as threads:
        first, *others = threads.map(work, range(world))
    assert others == [None] * (world - 1)
    return first


@pytest.mark.parametrize("world", [2, 3, 8])  # 8: more ranks than statements
def test_ranks_draw_every_sample_once_and_the_same_ones_again(policy, world):
    one, other = draw_all(policy, world, [1, 2])
    for samples in (one, other):
        positions = sorted((sample.prompt_index, sample.sample_index) for sample in samples)
        assert positions == [(prompt, number) for prompt in range(5) for number in range(3)]
    assert one != other and draw_all(policy, world, [1, 2]) == [one, other]
    # The same statement at other places is other ranks' to sample, whose random numbers are others.
    texts = [tuple(s.token_ids) for s in one if s.prompt_index != 2]
    assert len(set(texts)) == len(texts)


def test_a_single_rank_draws_as_it_does_without_any(policy):
    assert draw_all(policy, 1, [5]) == [list(LocalSampler(policy).draw(STATEMENTS, SETTINGS, 5))]


def test_a_round_that_was_killed_is_judged_and_scored_as_a_whole(job):
    problems = job.store.read("problems", ["problem_id", "statement", "split"]).filter(split="train")
    sampling = SamplingSettings(samples_per_problem=2, max_new_tokens=6)
    settings = OnlineSettings(from_step=0, every=1, problems=2, sampling=sampling)
    with Pool() as judges:
        fresh = FreshData(
            store=job.store,
            reference=job.policy(),
            problems=problems,
            settings=settings,
            run_id="run",
            seed=0,
        )
        assert fresh.make(0, job.policy()) == {}  # without judges, as if killed before them
        fresh.judges = judges
        for step in (0, 1):
            assert fresh.make(step, job.policy()) == {"rows": 4, "judge_errors": 0, "too_long": 0}
    samples = job.store.read("trajectories").filter(run_id="run")
    assert samples.height == 8
    for table in ("verdicts", "reference_scores"):
        stored = job.store.read(table).join(samples, on="trajectory_id", how="semi")
        assert sorted(stored["trajectory_id"]) == sorted(samples["trajectory_id"])


def test_a_run_of_fresh_rows_alone_needs_no_score_of_its_reference_before(job, tmp_path):
    fresh = {"name": "fresh", "where": "j.origin = 'online' and j.run_id = $run", "weight": 1.0}
    start = job.policy()
    with torch.no_grad():
        start.model.get_input_embeddings().weight += 0.01
    start.save(tmp_path / "start")
    settings = {
        "run": str(tmp_path / "mine"),
        "name": "mine",
        "store": str(job.store.location),
        "reference": str(tmp_path / "start"),
        "objective": {"name": "ppo", "kl": 0.01},
        "training": {"steps": 2},
        "mixture": {"batch_sequences": 4},
        "source": [fresh | {"parameters": {"run": "mine"}}],
        "online": {
            "from_step": 0,
            "every": 1,
            "problems": 2,
            "sampling": {"samples_per_problem": 2, "max_new_tokens": 6},
        },
    }
    run(RunConfig.model_validate(settings))
    assert job.store.read("reference_scores").height > 0
    human = {"name": "human", "where": "j.origin = 'human'", "weight": 1.0}
    settings |= {"run": str(tmp_path / "other"), "name": "other", "source": [*settings["source"], human]}
    start.model.get_input_embeddings().weight.data += 0.01
    start.save(tmp_path / "changed")
    with pytest.raises(ReferenceChanged, match="no trajectory is scored under this reference"):
        run(RunConfig.model_validate(settings | {"reference": str(tmp_path / "changed")}))
