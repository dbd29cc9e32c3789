"""Rollouts: sample completions of a policy for stored problems and append them as trajectories.

The commits of a rollout carry its name and the chunk number, so that a killed rollout resumes with the next
chunk, and a finished one costs one look-up. Each chunk has its own random seed, derived from the rollout's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Literal, Protocol

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, field_validator

from pipeline.store import Store, Trajectories, trajectory_id
from pipeline.text import extract_program
from sandbox.languages import require_language
from trainer.policies import Policy, Problem, in_bfloat16, problems_of
from trainer.rollouts.sampling import Sample, sample

CHUNK_SAMPLES = 1024


class SamplingSettings(BaseModel):
    """How completions are sampled. The soft value Q0 needs temperature 1 and top_p 1."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    samples_per_problem: int = Field(16, ge=1, description="completions of each problem")
    temperature: float = Field(1.0, gt=0, description="sampling temperature; Q0 needs 1")
    top_p: float = Field(1.0, gt=0, le=1, description="probability mass of nucleus sampling; Q0 needs 1")
    max_new_tokens: int = Field(
        256, ge=1, description="a completion cut here is a failure; no end token is appended"
    )
    batch_size: int = Field(256, ge=1, description="sequences decoded together")
    precision: Literal["fp32", "bf16"] = Field(
        "fp32",
        description="bf16: sampled with a copy of the weights in bfloat16",
        # Rollouts and evaluations are named after their settings: those of fp32 keep the names they had.
        exclude_if=lambda precision: precision == "fp32",
    )
    language: str = Field(
        "python3",
        description="language that programs are asked in; rows in others than Python are not trained on",
        exclude_if=lambda language: language == "python3",
    )

    @field_validator("language")
    @classmethod
    def language_is_known(cls, value: str) -> str:
        return require_language(value).name


class Provenance(BaseModel):
    """Who sampled: stored in every trajectory of a rollout."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str = Field(description="name of the rollout; the same name is never sampled twice")
    policy_id: str
    origin: str = "online"
    run_id: str | None = None
    policy_step: int | None = None


class Sampler(Protocol):
    """Anything that samples completions: a policy in this process, or a server."""

    def draw(self, problems: list[Problem], settings: SamplingSettings, seed: int) -> Iterable[Sample]:
        """`samples_per_problem` samples of each problem, in any order; `prompt_index` is the index of
        the problem.
        """
        ...


@dataclass(frozen=True)
class LocalSampler:
    """A policy in this process."""

    policy: Policy

    def draw(self, problems: list[Problem], settings: SamplingSettings, seed: int) -> Iterable[Sample]:
        return sample(
            self._halved if settings.precision == "bf16" else self.policy,
            [self.policy.prompt_ids(problem) for problem in problems],
            samples_per_prompt=settings.samples_per_problem,
            temperature=settings.temperature,
            top_p=settings.top_p,
            max_new_tokens=settings.max_new_tokens,
            seed=seed,
            batch_size=settings.batch_size,
        )

    @cached_property
    def _halved(self) -> Policy:
        """The policy with its weights in bfloat16."""
        return in_bfloat16(self.policy)


def as_sampler(policy: Policy | Sampler) -> Sampler:
    return LocalSampler(policy) if isinstance(policy, Policy) else policy


def producer_of(provenance: Provenance) -> str:
    return f"rollout/{provenance.name}"


def has_begun(store: Store, provenance: Provenance) -> bool:
    """Whether any trajectory of a rollout is stored."""
    return store.last_sequence("trajectories", producer_of(provenance)) >= 0


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
    """Sample every problem (columns problem_id, statement) and append the trajectories; returns the
    number that this call sampled.
    """
    per_chunk = max(1, CHUNK_SAMPLES // settings.samples_per_problem)
    producer = producer_of(provenance)
    sampler = as_sampler(policy)
    sampled, total = 0, problems.height * settings.samples_per_problem
    done = (store.last_sequence("trajectories", producer) + 1) * per_chunk
    asked = problems_of(store, problems.slice(done), settings.language)
    for chunk in range(done // per_chunk, -(-problems.height // per_chunk)):
        first = chunk * per_chunk
        part = problems.slice(first, per_chunk)
        samples = sampler.draw(
            asked[first - done : first - done + per_chunk],
            settings,
            chunk_seed(seed, provenance.name, chunk),
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
    for line, one in enumerate(sorted(samples, key=lambda s: (s.prompt_index, s.sample_index)), start=1):
        program, rule, language = extract_program(one.text)
        row = {
            "problem_id": problem_ids[one.prompt_index],
            "origin": provenance.origin,
            "policy_id": provenance.policy_id,
            "run_id": provenance.run_id,
            "policy_step": provenance.policy_step,
            "source_key": f"{provenance.name}#{problem_ids[one.prompt_index]}#{one.sample_index}",
            "sample_index": one.sample_index,
            "temperature": settings.temperature,
            "top_p": settings.top_p,
            "completion": one.text if one.text != program else None,
            "program": program,
            "extraction": rule,
            "language": language or settings.language,
            "token_ids": one.token_ids,
            "behaviour_logprob": one.logprob,
            "token_logprobs": one.token_logprobs,
            "finish_reason": one.finish_reason,
            "created_at": datetime.now(UTC),
            "batch_id": provenance.name,
            "source_file": f"rollout/{provenance.name}",
            "source_line": line,
        }
        rows.append({"trajectory_id": trajectory_id(row), **row})
    empty = Trajectories.create_empty()
    return pl.DataFrame(rows, schema_overrides=empty.schema) if rows else empty
