"""Rollouts: sample completions of a policy for stored problems and append them as trajectories, like any
other.

A rollout is named; its chunks carry (name, chunk number) in their commits, so that a killed rollout goes on
where it was and a finished one costs a look-up. Each chunk has a random seed of its own, derived from the
rollout's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from pipeline.store import Store, Trajectories, trajectory_id
from pipeline.text import extract_program
from trainer.policies import Policy
from trainer.rollouts.sampling import Sample, sample

CHUNK_SAMPLES = 1024


class SamplingSettings(BaseModel):
    """How completions are drawn. Temperature 1 and top_p 1 are what the soft value Q0 needs."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    samples_per_problem: int = Field(16, ge=1)
    temperature: float = Field(1.0, gt=0)
    top_p: float = Field(1.0, gt=0, le=1)
    max_new_tokens: int = Field(
        256, ge=1, description="a completion cut here is a failure; no end token is appended"
    )
    batch_size: int = Field(256, ge=1, description="sequences decoded together")


class Provenance(BaseModel):
    """Who sampled: goes into every trajectory of a rollout."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str = Field(description="name of the rollout; the same name is never sampled twice")
    policy_id: str
    origin: str = "online"
    run_id: str | None = None
    policy_step: int | None = None


class Sampler(Protocol):
    """Anything that draws completions: a policy in this process, or a server."""

    def draw(self, statements: list[str], settings: SamplingSettings, seed: int) -> Iterable[Sample]:
        """`samples_per_problem` samples of each statement, in any order; `prompt_index` is the statement's
        place.
        """
        ...


@dataclass(frozen=True)
class LocalSampler:
    """A policy in this process."""

    policy: Policy

    def draw(self, statements: list[str], settings: SamplingSettings, seed: int) -> Iterable[Sample]:
        return sample(
            self.policy,
            [self.policy.prompt_ids(statement) for statement in statements],
            samples_per_prompt=settings.samples_per_problem,
            temperature=settings.temperature,
            top_p=settings.top_p,
            max_new_tokens=settings.max_new_tokens,
            seed=seed,
            batch_size=settings.batch_size,
        )


def sampler_of(policy: Policy | Sampler) -> Sampler:
    return LocalSampler(policy) if isinstance(policy, Policy) else policy


def rollout(
    store: Store,
    policy: Policy | Sampler,
    problems: pl.DataFrame,
    settings: SamplingSettings,
    provenance: Provenance,
    *,
    seed: int,
    on_progress: Callable[[int, int], None] | None = None,
) -> int:
    """Sample every problem (columns problem_id, statement) and append the trajectories; returns how many
    were sampled now.
    """
    per_chunk = max(1, CHUNK_SAMPLES // settings.samples_per_problem)
    producer = f"rollout/{provenance.name}"
    sampler = sampler_of(policy)
    sampled, total = 0, problems.height * settings.samples_per_problem
    done = (store.last_sequence("trajectories", producer) + 1) * per_chunk
    for chunk in range(done // per_chunk, -(-problems.height // per_chunk)):
        part = problems.slice(chunk * per_chunk, per_chunk)
        samples = sampler.draw(
            part["statement"].to_list(), settings, chunk_seed(seed, provenance.name, chunk)
        )
        rows = trajectories(list(samples), part["problem_id"].to_list(), settings, provenance)
        store.append("trajectories", rows, producer=producer, sequence=chunk)
        sampled += rows.height
        if on_progress:
            on_progress(min((chunk + 1) * per_chunk, problems.height) * settings.samples_per_problem, total)
    return sampled


def chunk_seed(seed: int, name: str, chunk: int) -> int:
    return int.from_bytes(hashlib.blake2b(f"{seed}/{name}/{chunk}".encode(), digest_size=6).digest(), "big")


def trajectories(
    samples: Sequence[Sample], problem_ids: list[str], settings: SamplingSettings, provenance: Provenance
) -> pl.DataFrame:
    """Rows of the `trajectories` table, in the order of prompts and samples."""
    rows = []
    for line, drawn in enumerate(sorted(samples, key=lambda s: (s.prompt_index, s.sample_index)), start=1):
        program, rule, language = extract_program(drawn.text)
        row = {
            "problem_id": problem_ids[drawn.prompt_index],
            "origin": provenance.origin,
            "policy_id": provenance.policy_id,
            "run_id": provenance.run_id,
            "policy_step": provenance.policy_step,
            "source_key": f"{provenance.name}#{problem_ids[drawn.prompt_index]}#{drawn.sample_index}",
            "sample_index": drawn.sample_index,
            "temperature": settings.temperature,
            "top_p": settings.top_p,
            "completion": drawn.text if drawn.text != program else None,
            "program": program,
            "extraction": rule,
            "language": language or "python3",
            "token_ids": drawn.token_ids,
            "behaviour_logprob": drawn.logprob,
            "finish_reason": drawn.finish_reason,
            "created_at": datetime.now(UTC),
            "batch_id": provenance.name,
            "source_file": f"rollout/{provenance.name}",
            "source_line": line,
        }
        rows.append({"trajectory_id": trajectory_id(row), **row})
    empty = Trajectories.create_empty()
    return pl.DataFrame(rows, schema_overrides=empty.schema) if rows else empty
