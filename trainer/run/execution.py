"""A configured run from its parts: what it would do (the plan), and doing it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import polars as pl
import torch
from pydantic import ValidationError

from pipeline.store import (
    MAY_BE_SAMPLED,
    Store,
    connect,
    predicate,
    query,
    report_not_sampled,
    reward,
    write_whole,
)
from sandbox import Pool
from trainer.data import EncodedTokens, ScoredTokens, Stream, TokenCache, may_be_scored
from trainer.distributed import SINGLE, Ranks, checkpoints
from trainer.objectives import Needs
from trainer.policies import (
    Policy,
    Publisher,
    ReferenceChanged,
    check_scored,
    describe_changes,
    has_weights,
    load_policy,
    publish_policy,
    reference_name,
    reference_parts,
    step_number,
)
from trainer.rollouts import FreshData
from trainer.run.checks import check_needs, check_packing, check_settings
from trainer.run.config import SAVED, ConfigError, RunConfig, of_earlier_version
from trainer.run.disk_full import full_disk_named
from trainer.run.exclusive import exclusive_run
from trainer.run.folder import BEGUN_FROM, FINAL, has_final
from trainer.run.leaks import refuse_leaking
from trainer.run.log import steps_done
from trainer.run.loop import TrainingJob, train
from trainer.run.pinning import read_saved, with_corpora_pinned
from trainer.run.planning import Plan, make_plan
from trainer.run.resources import keep_freed_memory, limit_threads
from trainer.run.validation import InvalidValidation, Validation, validation_problems

# Folders, because a run may be moved with them, settings that are read only before a run begins, and those
# that change how a run is computed, saved and stopped, but not what it learns from a row. With more `steps`
# the schedule of the learning rate stretches from where the run resumes.
MAY_CHANGE = (
    "run", "store", "reference", "evaluation", "allow_leaks",
    *(f"training.{name}" for name in (
        "steps", "batch_tokens", "activation_checkpointing", "entropy_tokens", "checkpoint_every",
        "publish_every", "publish_keep", "max_loss", "max_log_ratio", "peak_flops", "loggers",
    )),
)  # fmt: skip
MAY_CHANGE_WHOLLY = ("validation",)  # sections


def plan(config: RunConfig, *, timed: bool = True) -> Plan:
    """What a run would do; nothing is written. Raises if its sources leak, or lack what is needed."""
    config = with_corpora_pinned(config)
    store, start = Store(config.store), load_start(config)
    objective = config.objective.build()
    refuse_leaks_of(config, store)
    check_settings(config.training, objective.needs)
    check_packing(config.training, start)
    stream = open_stream(config, store, start, objective.needs)
    stream.advance()
    check_needs(objective.needs, stream, fresh_rows_come=fresh_rows_come(config))
    return make_plan(config, stream, objective, start, timed=timed)


def run(config: RunConfig, *, on_step: Callable[[dict], None] | None = None, ranks: Ranks = SINGLE) -> Path:
    """Train or resume a run, and publish the policy under the run's name. Returns the folder of the final
    policy.

    The command line, schedules and the demo all train through this function. Raises ConfigError for a
    configuration that cannot be used, RunBusy if another process trains this run, LeakError if the data
    leak the evaluation set, ReferenceChanged if the reference is not the one that the run began with, and
    UnmetNeed if the store lacks what the objective needs.
    """
    with full_disk_named(config.run), exclusive_run(config.run) if ranks.rank == 0 else nullcontext():
        return _run(config, on_step, ranks)


def _run(config: RunConfig, on_step: Callable[[dict], None] | None, ranks: Ranks) -> Path:
    limit_threads()
    keep_freed_memory()
    config = ranks.agree(with_corpora_pinned(config) if ranks.rank == 0 else None)
    begun = resumes(config) is not None
    store, start = Store(config.store), load_start(config)
    objective = config.objective.build()
    if not begun:
        check_name(config, store)
        check_settings(config.training, objective.needs)
        check_packing(config.training, start)
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
    with judges_of(config, ranks) as judges:
        fresh = fresh_data(config, store, reference, judges, ranks)
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
            validation=validation_of(config, store, judges, ranks),
            on_step=on_step,
            ranks=ranks,
        )
        policy = train(job)
    if ranks.rank == 0:
        publish_final(config, store, policy, parent)
    return config.run / FINAL


def publish_final(config: RunConfig, store: Store, policy: Policy, parent: str | None) -> None:
    """Record the final policy under the run's name."""
    publish_policy(
        store,
        policy,
        config.run / FINAL,
        policy_id=config.run_id,
        parent_id=parent,
        run_id=config.run_id,
        step=steps_done(config.run),
        details={"config": json.loads(config.model_dump_json())},
    )


def resumes(config: RunConfig) -> int | None:
    """The step at which an existing run resumes, None for a new one. Raises ConfigError if it began with
    other settings.
    """
    path = config.run / SAVED
    if not path.exists():
        return None
    begun, now = _with_defaults(read_saved(path)), json.loads(with_corpora_pinned(config).model_dump_json())
    changed = sorted(
        key for key in _differences(begun, now) - set(MAY_CHANGE) if not key.startswith(MAY_CHANGE_WHOLLY)
    )
    if changed:
        raise ConfigError(
            f"the run {config.run} was begun with another {', '.join(changed)};"
            " take that back, or name another folder under run"
        )
    saved = checkpoints(config.run)
    return step_number(saved[-1]) if saved else 0


def _with_defaults(saved: dict) -> dict:
    """A saved configuration with the defaults of settings that came later; as it is if it no longer fits."""
    try:
        return json.loads(RunConfig.model_validate(of_earlier_version(saved)).model_dump_json())
    except ValidationError:
        return saved


def is_finished(config: RunConfig) -> bool:
    """Whether the run has written its final policy. Raises ConfigError if it began with other settings."""
    return resumes(config) is not None and has_final(config.run)


def load_start(config: RunConfig) -> Policy:
    """The policy that training starts from, on this process's GPU if there is one."""
    if not has_weights(config.reference):
        raise ConfigError(f"reference: no policy in {config.reference}; name the folder of a saved model")
    policy = load_policy(config.reference)
    if torch.cuda.is_available():
        policy.model.to(f"cuda:{os.environ.get('LOCAL_RANK', '0')}")
    return policy


def open_stream(config: RunConfig, store: Store, start: Policy, needs: Needs) -> Stream:
    """The stream of a run: its rows have what the objective needs.

    Raises ReferenceChanged if scores of stored rows are needed and none are of this reference (fresh rows are
    scored as they come), ConfigError if its samples
    are needed and it has no policy_id.
    """
    tokens: TokenCache
    if needs.reference_logprob:
        parts = reference_parts(start, config.training.precision)
        try:
            check_scored(store, parts, config.reference)
        except ReferenceChanged:
            if not fresh_rows_come(config) or may_be_scored(store, config.to_mixture()):
                raise
        tokens = ScoredTokens(store, reference_name(parts), logprobs=needs.token_logprobs)
    else:
        tokens = EncodedTokens(start, logprobs=needs.token_logprobs)
    reference_policy = published_as(store, config, start) if needs.reference_rewards else None
    if needs.reference_rewards and reference_policy is None:
        raise ConfigError(
            "reference: no published policy has its weights, so no samples give Q0;"
            " set reference_policy, or sample it"
        )
    return Stream(
        store,
        config.to_mixture(),
        tokens,
        reference_policy=reference_policy,
        seed=config.seed,
        run_id=config.run_id,
    )


def published_as(store: Store, config: RunConfig, start: Policy) -> str | None:
    """policy_id of the policy that training starts from: as configured, or under which its weights were
    published.
    """
    if config.reference_policy:
        return config.reference_policy
    weights = start.fingerprint()["weights"]
    published = store.read("policies", ["policy_id", "details", "created_at"])
    # A run publishes its start under its own name too: the first name counts.
    for row in published.sort("created_at", "policy_id").iter_rows(named=True):
        if json.loads(row["details"]).get("fingerprint", {}).get("weights") == weights:
            return row["policy_id"]
    return None


def check_name(config: RunConfig, store: Store) -> None:
    """Raises ConfigError if a policy has the name of a new run."""
    if config.run_id in store.read("policies", ["policy_id"])["policy_id"].to_list():
        raise ConfigError(
            f"run: a policy named {config.run_id} is published already;"
            " name the folder of this run differently"
        )


def check_begun_from(config: RunConfig, start: Policy) -> None:
    """Raises ReferenceChanged if a run would resume with another reference than it began with."""
    path = config.run / BEGUN_FROM
    if path.exists():
        changed = describe_changes(read_saved(path), reference_parts(start, config.training.precision))
        if changed:
            raise ReferenceChanged(
                f"{config.reference}: the reference changed since the run {config.run} was begun: {changed};"
                " put it back, or name another folder under run"
            )


def refuse_leaks_of(config: RunConfig, store: Store) -> None:
    """Raise LeakError if the training data of the run leak its evaluation set."""
    sampled = config.online.problems_where if config.online else None
    refuse_leaking(store, config.to_mixture(), config.evaluation, config.allow_leaks, sampled)


def fresh_rows_come(config: RunConfig) -> bool:
    """Whether rows are added during the run, by this process or by others."""
    return config.online is not None or config.mixture.follow_every is not None


def save_config(config: RunConfig, start: Policy) -> None:
    """Write the files that a resumed run is compared with."""
    config.run.mkdir(parents=True, exist_ok=True)
    parts = reference_parts(start, config.training.precision)
    write_whole(config.run / BEGUN_FROM, json.dumps(parts, indent=1))
    write_whole(config.run / SAVED, config.model_dump_json(indent=1))


def publisher_of(config: RunConfig, store: Store, parent: str | None, ranks: Ranks) -> Publisher | None:
    """The publisher of policies during the run. It publishes the start first, so that rollout workers can
    begin.
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
def judges_of(config: RunConfig, ranks: Ranks) -> Iterator[Pool | None]:
    """The judges of fresh rows and of validation, on rank 0; None for a run that has neither."""
    if ranks.rank or not (config.online or config.validation):
        yield None
        return
    with Pool() as judges:
        yield judges


def validation_of(config: RunConfig, store: Store, judges: Pool | None, ranks: Ranks) -> Validation | None:
    """The evaluations during the run. Raises ConfigError for problems that cannot be used."""
    if not config.validation:
        return None
    try:
        problems = validation_problems(store, config.validation)
    except InvalidValidation as error:
        raise ConfigError(str(error)) from error
    return Validation(
        store=store,
        judges=judges,
        problems=problems,
        settings=config.validation,
        folder=config.run,
        run_id=config.run_id,
        seed=config.seed,
        ranks=ranks,
    )


def fresh_data(
    config: RunConfig, store: Store, reference: Policy | None, judges: Pool | None, ranks: Ranks
) -> FreshData | None:
    """The maker of fresh rows in this process; None for an offline run."""
    if not config.online:
        return None
    problems, mixture = _training_problems(store, config.online.problems_where), config.to_mixture()
    return FreshData(
        store=store,
        judges=judges,
        reference=reference,
        problems=problems,
        settings=config.online,
        run_id=config.run_id,
        seed=config.seed,
        precision=config.training.precision,
        all_tests=any(reward(mixture.reward_of(source)).needs_all_tests for source in mixture.source),
        ranks=ranks,
    )


def _training_problems(store: Store, where: str) -> pl.DataFrame:
    with connect(store) as connection:
        condition = predicate(where, name="online.problems_where")
        report_not_sampled(connection, condition)
        problems = query(
            connection,
            "select problem_id, statement, split from problems"
            f" where {condition} and {MAY_BE_SAMPLED} order by md5(problem_id)",
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
