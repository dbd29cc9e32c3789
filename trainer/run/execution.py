"""A configured run from its parts: what it would do (the plan), and doing it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import polars as pl
import torch

from pipeline.store import Store, connect, predicate, query, write_whole
from sandbox import Pool
from trainer.data import EncodedTokens, ScoredTokens, Stream, TokenCache
from trainer.distributed import SINGLE, Ranks, checkpoints, step_of
from trainer.objectives import Needs
from trainer.policies import (
    Policy,
    Publisher,
    ReferenceChanged,
    changes,
    check_scored,
    has_weights,
    load_policy,
    name_of,
    publish_policy,
    reference_parts,
)
from trainer.rollouts import FreshData
from trainer.run.checks import check_needs, check_settings
from trainer.run.config import SAVED, ConfigError, RunConfig
from trainer.run.exclusive import exclusive_run
from trainer.run.leaks import refuse_leaking
from trainer.run.loop import FINAL, TrainingJob, train
from trainer.run.pinning import with_corpora_pinned
from trainer.run.planning import Plan, make_plan

BEGUN_FROM = "reference.json"
# Folders, because a run may be moved with them, and what is looked at only before a run begins.
MAY_CHANGE = ("run", "store", "reference", "evaluation", "allow_leaks")


def plan(config: RunConfig, *, timed: bool = True) -> Plan:
    """What a run would do; nothing is written. Raises where its sources leak, or lack what the objective
    needs.
    """
    config = with_corpora_pinned(config)
    store, start = Store(config.store), load_start(config)
    objective = config.objective.build()
    refuse_leaks_of(config, store)
    check_settings(config.training, objective.needs)
    stream = open_stream(config, store, start, objective.needs)
    stream.advance()
    check_needs(objective.needs, stream, fresh_rows_come=fresh_rows_come(config))
    return make_plan(config, stream, objective, start, timed=timed)


def run(config: RunConfig, *, on_step: Callable[[dict], None] | None = None, ranks: Ranks = SINGLE) -> Path:
    """Train or resume a run, and publish the policy under the run's name. Returns the folder of the final
    policy.

    The command line, schedules and the demo all train through this function. Raises ConfigError for a
    configuration that cannot be used, RunBusy where another process trains this run, LeakError where the data
    give the evaluation set away, ReferenceChanged where the reference is not the one that the run was begun
    with, and UnmetNeed where the store lacks what the objective needs.
    """
    with exclusive_run(config.run) if ranks.rank == 0 else nullcontext():
        return _run(config, on_step, ranks)


def _run(config: RunConfig, on_step: Callable[[dict], None] | None, ranks: Ranks) -> Path:
    config = ranks.agree(with_corpora_pinned(config) if ranks.rank == 0 else None)
    begun = resumes(config) is not None
    store, start = Store(config.store), load_start(config)
    objective = config.objective.build()
    if not begun:
        check_name(config, store)
        check_settings(config.training, objective.needs)
        if ranks.rank == 0:
            refuse_leaks_of(config, store)
    check_begun_from(config, start)
    stream = open_stream(config, store, start, objective.needs)
    if not begun:
        stream.advance(ranks.agree(stream.latest()))
        check_needs(objective.needs, stream, fresh_rows_come=fresh_rows_come(config))
    if ranks.rank == 0:
        save_config(config, start)
    parent = stream.reference_policy or published_as(store, config, start)
    reference = start if objective.needs.reference_logprob else None
    with fresh_data(config, store, reference, ranks) as fresh:
        job = TrainingJob(
            folder=config.run,
            policy=load_start(config)
            if fresh
            else start,  # fresh rows are scored under a reference that stays
            stream=stream,
            objective=objective,
            settings=config.training,
            optimiser=config.optimiser,
            fresh=fresh,
            publisher=publisher_of(config, store, parent, ranks),
            on_step=on_step,
            ranks=ranks,
        )
        policy = train(job)
    final = config.run / FINAL
    if ranks.rank == 0:
        publish_policy(
            store,
            policy,
            final,
            policy_id=config.run_id,
            parent_id=parent,
            run_id=config.run_id,
            step=config.training.steps,
            details={"config": json.loads(config.model_dump_json())},
        )
    return final


def resumes(config: RunConfig) -> int | None:
    """The step at which a run that exists goes on, None for a new one. Raises ConfigError if it was begun
    with other settings.
    """
    path = config.run / SAVED
    if not path.exists():
        return None
    begun, now = json.loads(path.read_text()), json.loads(with_corpora_pinned(config).model_dump_json())
    changed = sorted(_differences(begun, now) - set(MAY_CHANGE))
    if changed:
        raise ConfigError(
            f"the run {config.run} was begun with another {', '.join(changed)}; take that back, or name another folder under run"
        )
    saved = checkpoints(config.run)
    return step_of(saved[-1]) if saved else 0


def is_finished(config: RunConfig) -> bool:
    """Whether the run has written its final policy. Raises ConfigError if it was begun with other settings."""
    return resumes(config) is not None and has_weights(str(config.run / FINAL))


def load_start(config: RunConfig) -> Policy:
    """The policy that training starts from, on this process's GPU if there is one."""
    if not has_weights(str(config.reference)):
        raise ConfigError(f"reference: no policy in {config.reference}; name the folder of a saved model")
    policy = load_policy(config.reference)
    if torch.cuda.is_available():
        policy.model.to(f"cuda:{os.environ.get('LOCAL_RANK', '0')}")
    return policy


def open_stream(config: RunConfig, store: Store, start: Policy, needs: Needs) -> Stream:
    """The stream of a run: its rows have what the objective needs.

    Raises ReferenceChanged where scores are needed and none are of this reference, ConfigError where its
    samples are needed and it has no policy_id.
    """
    tokens: TokenCache
    if needs.reference_logprob:
        parts = reference_parts(start, config.training.precision)
        check_scored(store, parts, config.reference)
        tokens = ScoredTokens(store, name_of(parts))
    else:
        tokens = EncodedTokens(start)
    reference_policy = published_as(store, config, start) if needs.reference_rewards else None
    if needs.reference_rewards and reference_policy is None:
        raise ConfigError(
            "reference: no published policy has its weights, so no samples give Q0; set reference_policy, or sample it"
        )
    return Stream(store, config.to_mixture(), tokens, reference_policy=reference_policy, seed=config.seed)


def published_as(store: Store, config: RunConfig, start: Policy) -> str | None:
    """policy_id of the policy that training starts from: as configured, or under which its weights were
    published.
    """
    if config.reference_policy:
        return config.reference_policy
    weights = start.fingerprint()["weights"]
    published = store.read("policies", ["policy_id", "details", "created_at"])
    # A run publishes its start under a name of its own too: the name that counts is the first.
    for row in published.sort("created_at", "policy_id").iter_rows(named=True):
        if json.loads(row["details"]).get("fingerprint", {}).get("weights") == weights:
            return row["policy_id"]
    return None


def check_name(config: RunConfig, store: Store) -> None:
    """Raises ConfigError where a policy has the name of a new run."""
    if config.run_id in store.read("policies", ["policy_id"])["policy_id"].to_list():
        raise ConfigError(
            f"run: a policy named {config.run_id} is published already; name the folder of this run differently"
        )


def check_begun_from(config: RunConfig, start: Policy) -> None:
    """Raises ReferenceChanged where a run would go on from another policy than it began with."""
    path = config.run / BEGUN_FROM
    if path.exists():
        changed = changes(json.loads(path.read_text()), reference_parts(start, config.training.precision))
        if changed:
            raise ReferenceChanged(
                f"{config.reference}: the reference changed since the run {config.run} was begun: {changed}; put it back, or name"
                " another folder under run"
            )


def refuse_leaks_of(config: RunConfig, store: Store) -> None:
    """Raise LeakError if what the run would learn from gives its evaluation set away."""
    sampled = config.online.problems_where if config.online else None
    refuse_leaking(store, config.to_mixture(), config.evaluation, config.allow_leaks, sampled)


def fresh_rows_come(config: RunConfig) -> bool:
    """Whether rows are added while the run goes on, by this process or by others."""
    return config.online is not None or config.mixture.follow_every is not None


def save_config(config: RunConfig, start: Policy) -> None:
    """Write what a resumed run is compared with."""
    config.run.mkdir(parents=True, exist_ok=True)
    parts = reference_parts(start, config.training.precision)
    write_whole(config.run / BEGUN_FROM, json.dumps(parts, indent=1))
    write_whole(config.run / SAVED, config.model_dump_json(indent=1))


def publisher_of(config: RunConfig, store: Store, parent: str | None, ranks: Ranks) -> Publisher | None:
    """What publishes policies while the run goes on; it begins with the start itself, so that rollout
    workers can too.
    """
    if not config.training.publish_every:
        return None
    publisher = Publisher(store, config.run_id, parent, config.training.publish_keep)
    if ranks.rank == 0 and not publisher.is_published(0):
        publish_policy(
            store,
            load_policy(config.reference),
            config.reference.resolve(),
            policy_id=publisher.policy_id(0),
            parent_id=parent,
            run_id=config.run_id,
            step=0,
        )
    return publisher


@contextmanager
def fresh_data(
    config: RunConfig, store: Store, reference: Policy | None, ranks: Ranks
) -> Iterator[FreshData | None]:
    """What makes fresh rows in this process, with the judge that it needs; None for an offline run."""
    if not config.online:
        yield None
        return
    problems = _training_problems(store, config.online.problems_where)
    data = FreshData(
        store=store,
        reference=reference,
        problems=problems,
        settings=config.online,
        run_id=config.run_id,
        seed=config.seed,
        precision=config.training.precision,
        ranks=ranks,
    )
    if ranks.rank:
        yield data
        return
    with Pool() as judges:
        data.judges = judges
        yield data


def _training_problems(store: Store, where: str) -> pl.DataFrame:
    with connect(store) as connection:
        problems = query(
            connection,
            "select problem_id, statement, split from problems"
            f" where {predicate(where, name='online.problems_where')} order by md5(problem_id)",
        )
    if problems.is_empty():
        raise ConfigError(f"online.problems_where: no problem fits {where}")
    return problems


def _differences(one: object, other: object, prefix: str = "") -> set[str]:
    """Keys, with dots, whose values differ."""
    if not isinstance(one, dict) or not isinstance(other, dict):
        return set() if one == other else {prefix}
    keys: set[str] = set()
    for key in one.keys() | other.keys():
        keys |= _differences(one.get(key), other.get(key), f"{prefix}.{key}" if prefix else key)
    return keys
