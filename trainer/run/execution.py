"""A configured run from its parts: what it would do (the plan), and doing it."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import torch

from pipeline.store import Store, connect, query
from sandbox import Pool
from trainer.data import Row, Source, Stream
from trainer.distributed import SINGLE, Ranks, checkpoints, write_whole
from trainer.policies import (
    Policy,
    Publisher,
    ReferenceChanged,
    changes,
    check_scored,
    completion_logprobs,
    load_policy,
    name_of,
    prepare,
    publish_policy,
    reference_parts,
)
from trainer.rollouts import FreshData
from trainer.run.config import SAVED, ConfigError, RunConfig
from trainer.run.exclusive import exclusive_run
from trainer.run.leaks import refuse_leaking
from trainer.run.loop import micro_batch_loss, micro_batches, train

BEGUN_FROM = "reference.json"
# Places, for a run may be moved with them, and what is looked at only before a run begins.
MAY_CHANGE = ("run", "store", "reference", "evaluation", "allow_leaks")


@dataclass(frozen=True)
class SourcePlan:
    """What one source would give over the planned steps."""

    source: str
    rows: int
    tokens: int
    success: float  # share of rows that were accepted
    share: float  # mean share of the batches
    drawn: int  # rows over all steps
    epochs: float  # drawn / rows
    without_q0: int  # problems left out because no reference sample of theirs has a verdict
    dry_at_step: int | None  # where its rows have been used as often as `uses` allows, unless fresh ones come


@dataclass(frozen=True)
class Plan:
    """A run before its first step. Times are of a timed micro-batch on this machine, fresh data not counted."""

    sources: list[SourcePlan]
    steps: int
    sequences_a_step: float
    tokens_a_step: float
    tokens_per_s: float
    hours: float


def open_stream(config: RunConfig, store: Store, reference: Policy) -> Stream:
    """The stream of a run. Raises ConfigError or ReferenceChanged where the reference is unknown to the store."""
    parts = reference_parts(reference, config.training.precision)
    check_scored(store, parts, config.reference)
    policy_id = config.reference_policy or published_as(store, reference)
    return Stream(
        store,
        config.to_mixture(),
        reference=name_of(parts),
        reference_policy=policy_id,
        beta=config.training.beta,
        seed=config.seed,
    )


def published_as(store: Store, reference: Policy) -> str:
    """policy_id under which these weights were published."""
    mine = reference.fingerprint()
    # A run publishes its start under a name of its own too: the name that counts is the first.
    for row in (
        store.read("policies", ["policy_id", "details", "created_at"])
        .sort("created_at", "policy_id")
        .iter_rows(named=True)
    ):
        if json.loads(row["details"]).get("fingerprint", {}).get("weights") == mine["weights"]:
            return row["policy_id"]
    raise ConfigError(
        "reference: no published policy has its weights, so no samples give Q0; set reference_policy, or sample it"
    )


def plan(config: RunConfig, *, timed: bool = True) -> Plan:
    """Draw the whole run's counts, and time one micro-batch; nothing is written."""
    store, reference = Store(config.store), load_reference(config)
    refuse_leaks_of(config, store)
    stream = open_stream(config, store, reference)
    stream.advance()
    steps = config.training.steps
    rows = tokens = 0
    drawn = dict.fromkeys(stream.drawn, 0)
    shares = np.zeros(len(config.source))
    sampled = [int(step) for step in np.linspace(0, steps - 1, min(steps, 32))]
    first: list[Row] = []
    for step in sampled:
        weights = stream.live_weights(step)
        shares += weights / weights.sum() / len(sampled)
        batch = stream.batch(step)
        first = first or batch
        rows, tokens = rows + len(batch), tokens + sum(row.tokens for row in batch)
        for row in batch:
            drawn[row.source] += 1
    scale = steps / len(sampled)
    speed = micro_batch_speed(config, reference, first) if timed else float("nan")
    per_step = tokens / len(sampled)
    found = [
        source_plan(stream, source, float(share), round(drawn[source.name] * scale), steps)
        for source, share in zip(config.source, shares, strict=True)
    ]
    return Plan(found, steps, rows / len(sampled), per_step, speed, per_step * steps / speed / 3600)


def source_plan(stream: Stream, source: Source, share: float, drawn: int, steps: int) -> SourcePlan:
    pool = stream.pool(source.name)
    success = float((pool.verdicts == "accepted").mean()) if len(pool) else 0.0
    most = source.uses * pool.rows_ever if source.uses else math.inf
    return SourcePlan(
        source=source.name,
        rows=len(pool),
        tokens=int(pool.lengths.sum()),
        success=success,
        share=share,
        drawn=drawn,
        epochs=drawn / len(pool) if len(pool) else 0.0,
        without_q0=pool.problems_without_value,
        dry_at_step=int(steps * most / drawn) if drawn > most else None,
    )


def micro_batch_speed(config: RunConfig, policy: Policy, rows: list[Row]) -> float:
    """Tokens/s of forward and backward on the largest micro-batch of a batch: the faster of two, for the first one warms up."""
    settings = config.training
    prepare(policy, lora=settings.lora, activation_checkpointing=settings.activation_checkpointing)
    policy.model.train()
    group = max(micro_batches(rows, settings), key=lambda group: sum(rows[i].tokens for i in group))
    part, seconds = [rows[i] for i in group], []
    for _ in range(2):
        started = time.perf_counter()
        loss, _ = micro_batch_loss(
            policy,
            part,
            settings,
            len(part),
            settings.beta,
            lambda b: completion_logprobs(policy.model, b, head=settings.head),
        )
        loss.value.backward()
        policy.model.zero_grad(set_to_none=True)
        if policy.device.type == "cuda":
            torch.cuda.synchronize(policy.device)
        seconds.append(time.perf_counter() - started)
    return sum(row.tokens for row in part) / min(seconds)


def load_reference(config: RunConfig) -> Policy:
    if not (config.reference / "config.json").is_file():
        raise ConfigError(f"reference: no policy in {config.reference}; name the folder of a saved model")
    policy = load_policy(config.reference)
    if torch.cuda.is_available():
        policy.model.to(f"cuda:{os.environ.get('LOCAL_RANK', '0')}")
    return policy


def resumes(config: RunConfig) -> int | None:
    """The step at which a run that exists goes on, None for a new one. Raises ConfigError if it was begun with other settings."""
    path = config.run / SAVED
    if not path.exists():
        return None
    begun, now = json.loads(path.read_text()), json.loads(config.model_dump_json())
    changed = sorted(differences(begun, now) - set(MAY_CHANGE))
    if changed:
        raise ConfigError(
            f"the run {config.run} was begun with another {', '.join(changed)}; take that back, or name another folder under run"
        )
    saved = checkpoints(config.run)
    return int(saved[-1].name.split("-")[1]) if saved else 0


def is_finished(config: RunConfig) -> bool:
    """Whether the run has written its final policy. Raises ConfigError if it was begun with other settings."""
    return resumes(config) is not None and (config.run / "final" / "config.json").exists()


def differences(one: object, other: object, prefix: str = "") -> set[str]:
    """Keys, with dots, whose values differ."""
    if not isinstance(one, dict) or not isinstance(other, dict):
        return set() if one == other else {prefix}
    found = set()
    for key in one.keys() | other.keys():
        found |= differences(one.get(key), other.get(key), f"{prefix}.{key}" if prefix else key)
    return found


def run(config: RunConfig, *, on_step: Callable[[dict], None] | None = None, ranks: Ranks = SINGLE) -> Path:
    """Train or resume a run, and publish the policy under the run's name. Returns the folder of the final policy.

    The command line, schedules and the demo all train through this function. Raises ConfigError for a configuration
    that cannot be used, RunBusy where another process trains this run, LeakError where the data give the evaluation
    set away, and ReferenceChanged where the reference is not the one that the run was begun with.
    """
    with exclusive_run(config.run) if ranks.rank == 0 else nullcontext():
        return _run(config, on_step, ranks)


def _run(config: RunConfig, on_step: Callable[[dict], None] | None, ranks: Ranks) -> Path:
    begun = resumes(config) is not None
    store, reference = Store(config.store), load_reference(config)
    if not begun and config.run_id in store.read("policies", ["policy_id"])["policy_id"].to_list():
        raise ConfigError(
            f"run: a policy named {config.run_id} is published already; name the folder of this run differently"
        )
    check_begun_from(config, reference)
    if not begun and ranks.rank == 0:
        refuse_leaks_of(config, store)
    stream = open_stream(config, store, reference)
    if ranks.rank == 0:
        config.run.mkdir(parents=True, exist_ok=True)
        write_whole(
            config.run / BEGUN_FROM,
            json.dumps(reference_parts(reference, config.training.precision), indent=1),
        )
        write_whole(config.run / SAVED, config.model_dump_json(indent=1))
    with ExitStack() as stack:
        before_step = fresh_data(config, store, reference, stack, ranks)
        publisher = publisher_of(config, store, stream.reference_policy, ranks)
        policy = train(
            load_reference(config),
            stream,
            config.training,
            config.run,
            before_step=before_step,
            on_step=on_step,
            publisher=publisher,
            ranks=ranks,
        )
    if ranks.rank == 0:
        publish_policy(
            store,
            policy,
            config.run / "final",
            policy_id=config.run_id,
            parent_id=stream.reference_policy,
            run_id=config.run_id,
            step=config.training.steps,
            details={"config": json.loads(config.model_dump_json())},
        )
    return config.run / "final"


def check_begun_from(config: RunConfig, reference: Policy) -> None:
    """Raises ReferenceChanged where a run would go on from another reference than it began with."""
    path = config.run / BEGUN_FROM
    if path.exists():
        changed = changes(json.loads(path.read_text()), reference_parts(reference, config.training.precision))
        if changed:
            raise ReferenceChanged(
                f"{config.reference}: the reference changed since the run {config.run} was begun: {changed}; put it back, or name"
                " another folder under run"
            )


def publisher_of(config: RunConfig, store: Store, reference_policy: str, ranks: Ranks) -> Publisher | None:
    """What publishes policies while the run goes on; it begins with the reference itself, so that rollout workers can too."""
    if not config.training.publish_every:
        return None
    publisher = Publisher(store, config.run_id, reference_policy, config.training.publish_keep)
    if ranks.rank == 0 and not publisher.is_published(0):
        publish_policy(
            store,
            load_policy(config.reference),
            config.reference.resolve(),
            policy_id=publisher.policy_id(0),
            parent_id=reference_policy,
            run_id=config.run_id,
            step=0,
        )
    return publisher


def refuse_leaks_of(config: RunConfig, store: Store) -> None:
    """Raise LeakError if what the run would learn from gives its evaluation set away."""
    sampled = config.online.problems_where if config.online else None
    refuse_leaking(store, config.to_mixture(), config.evaluation, config.allow_leaks, sampled)


def fresh_data(
    config: RunConfig, store: Store, reference: Policy, stack: ExitStack, ranks: Ranks
) -> Callable[[int, Policy], bool] | None:
    if not config.online:
        return None
    problems = training_problems(store, config.online.problems_where)
    if problems.is_empty():
        raise ConfigError(f"online.problems_where: no problem fits {config.online.problems_where}")
    pool = stack.enter_context(Pool()) if ranks.rank == 0 else None
    return FreshData(
        store,
        pool,
        reference,
        problems,
        config.online,
        config.run_id,
        config.seed,
        config.training.precision,
        ranks,
    ).before_step


def training_problems(store: Store, where: str) -> pl.DataFrame:
    with connect(store) as connection:
        return query(
            connection,
            f"select problem_id, statement, split from problems where {where} order by md5(problem_id)",
        )
