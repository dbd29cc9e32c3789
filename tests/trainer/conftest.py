"""A small real job: some starter problems, judged in the sandbox, sampled by an untrained policy, and
scored under it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.dedup.deduplication import deduplicate
from pipeline.ingest.ingestion import ingest
from pipeline.labelling.labeller import label
from pipeline.store.sql import connect, query
from pipeline.store.store import Store
from sandbox import Pool
from trainer.data import EncodedTokens, Mixture, ScoredTokens, Source, Stream
from trainer.objectives import ObjectiveSettings, SpoSettings
from trainer.policies.policy import Policy, load_policy, new_policy
from trainer.policies.publishing import publish_policy
from trainer.policies.reference import reference_fingerprint, score
from trainer.rollouts.generation import Provenance, SamplingSettings, rollout, trajectories
from trainer.rollouts.sampling import Sample
from trainer.run import OptimiserSettings, TrainingJob, TrainingSettings

STARTER = Path(__file__).parents[2] / "data" / "starter"
REFERENCE = "reference"


@dataclass
class Job:
    """A store with everything offline training needs, and the folder of its reference policy."""

    store: Store
    folder: Path

    def policy(self) -> Policy:
        return load_policy(self.folder)

    def stream(
        self,
        sources: list[Source],
        *,
        seed: int = 0,
        scored: bool = True,
        precision: str = "fp32",
        run_id: str | None = None,
        logprobs: bool = False,
        **mixture: Any,
    ) -> Stream:
        """Rows with reference scores and rewards, or with `scored=False` rows that have neither."""
        policy = self.policy()
        tokens = (
            ScoredTokens(self.store, reference_fingerprint(policy, precision), logprobs=logprobs)
            if scored
            else EncodedTokens(policy, logprobs=logprobs)
        )
        return Stream(
            self.store,
            Mixture(**{"batch_sequences": 8, **mixture}, source=sources),
            tokens,
            reference_policy=REFERENCE if scored else None,
            seed=seed,
            run_id=run_id,
        )

    def training(
        self,
        folder: Path,
        sources: list[Source],
        *,
        objective: ObjectiveSettings | None = None,
        training: dict | None = None,
        optimiser: dict | None = None,
        stream: Stream | None = None,
        **parts: Any,
    ) -> TrainingJob:
        """A training of six steps in a folder, from the reference."""
        return TrainingJob(
            folder=folder,
            policy=self.policy(),
            stream=stream or self.stream(sources),
            objective=(objective or SpoSettings()).build(),
            settings=TrainingSettings(**{"steps": 6, "checkpoint_every": 2, **(training or {})}),
            optimiser=OptimiserSettings(**{"learning_rate": 1e-3, "warmup_steps": 1, **(optimiser or {})}),
            **parts,
        )


@pytest.fixture(scope="session")
def made_job(tmp_path_factory) -> Job:
    """Made once, also where several processes run the tests: the first one makes it, the others wait."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "job"
    folder.mkdir(exist_ok=True)
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        job = Job(Store(folder / "store"), folder / "reference")
        if not (folder / "complete").exists():
            make_job(job)
            (folder / "complete").touch()
    return job


def make_job(job: Job) -> None:
    ingest(job.store, "plain", str(STARTER), limit=30)
    with connect(job.store) as connection:
        problems = query(
            connection, "select problem_id, statement from problems where split = 'train' order by problem_id"
        )
        texts = query(
            connection, "select statement as text from problems union all select program from trajectories"
        )
    policy = new_policy(texts["text"].sort().to_list(), vocab_size=400, layers=2, width=32, seed=1)
    policy.save(job.folder)
    publish_policy(job.store, policy, job.folder, policy_id=REFERENCE)
    settings = SamplingSettings(samples_per_problem=4, max_new_tokens=24)
    provenance = Provenance(name="reference-samples", policy_id=REFERENCE, origin="earlier_training")
    rollout(job.store, job.policy(), problems, settings, provenance, seed=0)
    with Pool() as pool:
        label(job.store, pool, all_tests=True)
    deduplicate(job.store)
    score(job.store, job.policy())


@pytest.fixture
def job(made_job, tmp_path) -> Job:
    """A copy that a test may write to."""
    shutil.copytree(made_job.store.location, tmp_path / "store")
    shutil.copytree(made_job.folder, tmp_path / "reference")
    return Job(Store(tmp_path / "store"), tmp_path / "reference")


@pytest.fixture(scope="session")
def mixed_job(made_job, tmp_path_factory) -> Job:
    """The job with one accepted sample more for each problem: its human program, as if the reference had
    sampled it, with a log-probability of its own for each token.
    """
    folder = tmp_path_factory.mktemp("mixed")
    shutil.copytree(made_job.store.location, folder / "store")
    own = replace(made_job, store=Store(folder / "store"))
    policy = own.policy()
    human = own.store.read("trajectories").filter(origin="human").unique("problem_id", maintain_order=True)
    human = human.sort("problem_id")
    samples = []
    for index, program in enumerate(human["program"]):
        ids = policy.completion_ids(policy.completion_of_program(program))
        logprobs = [-5.0 - (i % 7) / 4 for i in range(len(ids))]
        samples.append(Sample(index, 0, ids, program, "stop", sum(logprobs), logprobs))
    settings = SamplingSettings(samples_per_problem=1)
    provenance = Provenance(name="right", policy_id="reference", origin="earlier_training")
    rows = trajectories(samples, human["problem_id"].to_list(), settings, provenance)
    own.store.append("trajectories", rows, producer="test/right", sequence=0)
    with Pool() as pool:
        label(own.store, pool, all_tests=True)
    score(own.store, policy)
    return own
