"""The rows of a step that a run has taken, drawn again from its log; no weights are loaded."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.store import Store
from trainer.data import Row, ScoredTokens, Stream, rows_digest
from trainer.policies import reference_name
from trainer.run.config import RunConfig, load_config
from trainer.run.folder import BEGUN_FROM


class NotReplayed(ValueError):
    """A batch that cannot be drawn again; one line says why."""


def replay_batch(
    folder: Path, store: Store, lines: Sequence[Mapping[str, Any]], step: int, *, limit_s: float = 60.0
) -> list[Row]:
    """The rows of a step, in the order in which it was trained on.

    `lines` are those of the log, by step from 0 on; all steps until this one are drawn. Raises NotReplayed
    for an objective that encodes rows with the policy itself, a log with gaps, more than `limit_s` seconds,
    and rows that are not those whose digest the log has; and what `Stream` raises where the store no longer
    has the versions of the log.
    """
    deadline = time.monotonic() + limit_s
    wanted = [line for line in lines if line["step"] <= step]
    if [line["step"] for line in wanted] != list(range(step + 1)):
        raise NotReplayed(f"the log does not have every step from 0 to {step}")
    for _, batch in _batches(folder, store, wanted):
        rows = batch
        if time.monotonic() > deadline:
            raise NotReplayed(f"drawing steps 0 to {step} takes more than {limit_s:g} s")
    if rows_digest(rows) != wanted[-1]["rows_digest"]:
        raise NotReplayed(f"the store gives other rows than step {step} had (the digests differ)")
    return rows


def steps_with_row(
    folder: Path, store: Store, lines: Sequence[Mapping[str, Any]], trajectory: str, *, limit_s: float = 60.0
) -> tuple[list[int], int]:
    """The steps whose batch had a trajectory, and the number of steps that were drawn in `limit_s` seconds.

    `lines` as in `replay_batch`. Raises NotReplayed as that does.
    """
    deadline, steps, drawn = time.monotonic() + limit_s, [], 0
    if [line["step"] for line in lines] != list(range(len(lines))):
        raise NotReplayed("the log does not have every step from 0 on")
    for line, rows in _batches(folder, store, lines):
        if rows_digest(rows) != line["rows_digest"]:
            raise NotReplayed(f"the store gives other rows than step {line['step']} had (the digests differ)")
        steps += [line["step"]] if any(row.trajectory_id == trajectory for row in rows) else []
        drawn += 1
        if time.monotonic() > deadline:
            break
    return steps, drawn


def _batches(
    folder: Path, store: Store, lines: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[Mapping[str, Any], list[Row]]]:
    """Each line of a log with the rows of its step."""
    stream = _stream(folder, store)
    for line in lines:
        stream.weight_overrides = dict(line["overrides"])
        stream.advance(dict(line["watermark"]))
        yield line, stream.batch(line["step"])


def _stream(folder: Path, store: Store) -> Stream:
    """The stream that the run was begun with, over another handle of its store."""
    try:
        config, parts = load_config(folder), json.loads((folder / BEGUN_FROM).read_bytes())
        needs = config.objective.build().needs
        if not needs.reference_logprob:
            raise NotReplayed("its rows are encoded by the policy itself, which is not loaded for this")
        tokens = ScoredTokens(store, reference_name(parts), logprobs=needs.token_logprobs)
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, NotReplayed):
            raise
        raise NotReplayed(f"{folder}: {error}") from error
    policy = _reference_policy(store, config, parts["weights"]) if needs.reference_rewards else None
    mixture = config.to_mixture()
    return Stream(store, mixture, tokens, reference_policy=policy, seed=config.seed, run_id=config.run_id)


def _reference_policy(store: Store, config: RunConfig, weights: str) -> str:
    """policy_id of the reference, as `published_as` in `execution.py` has it."""
    if config.reference_policy:
        return config.reference_policy
    published = store.read("policies", ["policy_id", "details", "created_at"])
    for row in published.sort("created_at", "policy_id").iter_rows(named=True):
        if json.loads(row["details"]).get("fingerprint", {}).get("weights") == weights:
            return row["policy_id"]
    raise NotReplayed("its reference is not among the published policies")
