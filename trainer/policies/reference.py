"""Reference scores: log pi_ref of stored completions, computed once by the trainer's own forward pass and
kept in the store.

A reference is named by the fingerprint of its weights, tokenizer, template and dtype and of the scoring code,
so scores of several references live side by side and cannot be confused.
"""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import torch

from pipeline.store import ReferencePolicies, ReferenceScores, Store, connect_for, predicate, query
from trainer.policies.batching import length_buckets, token_batch
from trainer.policies.logprobs import Precision, autocast, completion_logprobs
from trainer.policies.policy import Policy, in_bfloat16
from trainer.policies.problems import PROBLEMS, Problem, read_problems
from trainer.policies.publishing import digest

# Part of a reference's fingerprint: raise it whenever scoring changes any number.
SCORING_CODE = "padded-1"
COMMIT_ROWS = 2000
CUT = "length"  # finish_reason of a completion that ends at the length limit
logger = logging.getLogger(__name__)

PENDING = """
select t.trajectory_id, t.problem_id, p.statement, t.program, t.completion, t.finish_reason, t.token_ids,
    q.details
from trajectories t
join problems p using (problem_id)
left join policies q using (policy_id)
where t.language = 'python3'
  and exists (select 1 from judged j where j.trajectory_id = t.trajectory_id)
  and not exists (
    select 1 from reference_scores s where s.trajectory_id = t.trajectory_id and s.reference = $reference
  )
  and {where}
order by t.trajectory_id
"""


@dataclass
class ScoreSummary:
    """What one scoring pass did."""

    scored: int = 0
    tokens: int = 0
    unusable: int = 0  # with token ids that the model does not have, or with none; named in the log
    too_long: int = 0  # longer than `max_tokens`, prompt included; not scored, so never trained on
    seconds: float = 0.0


class UnusableTokens(ValueError):
    """A stored trajectory has token ids that the model does not have; the message names it."""


class ReferenceChanged(ValueError):
    """The reference differs from the one that was scored; the message names the parts, before and now."""


def reference_parts(policy: Policy, precision: Precision = "fp32") -> dict[str, str]:
    """All that the scores of a reference depend on, by name: the columns of `reference_policies`."""
    return {**policy.fingerprint(), "precision": precision, "code": SCORING_CODE}


def reference_fingerprint(policy: Policy, precision: Precision = "fp32") -> str:
    """The name of a reference's scores; scores in bf16 differ, and have another name."""
    return reference_name(reference_parts(policy, precision))


def reference_name(parts: dict[str, str]) -> str:
    computed = {} if parts["precision"] == "fp32" else {"precision": parts["precision"]}
    policy = {name: value for name, value in parts.items() if name not in ("precision", "code")}
    return digest({**policy, "scoring": parts["code"], **computed})


def describe_changes(before: dict[str, str], now: dict[str, str]) -> str:
    """`weights (1a2b -> 3c4d), precision (fp32 -> bf16)`: the parts that differ."""
    named = {"template": "chat template", "code": "scoring code"}
    return ", ".join(
        f"{named.get(name, name)} ({before[name]} -> {now[name]})"
        for name in now
        if before[name] != now[name]
    )


def scored_references(store: Store) -> list[dict]:
    """All references that were scored, latest first."""
    return store.read("reference_policies").sort("begun_at", "reference", descending=True).to_dicts()


def _record_reference(store: Store, parts: dict[str, str], folder: Path, *, changed: bool) -> None:
    """Note what is scored from a folder. Raises ReferenceChanged if it held another policy before,
    unless `changed`.
    """
    location, name = str(folder.resolve()), reference_name(parts)
    here = [
        row
        for row in scored_references(store)
        if row["folder"] == location and row["precision"] == parts["precision"]
    ]
    if any(row["reference"] == name for row in here):
        return
    if here and not changed:
        raise ReferenceChanged(
            f"{folder}: the reference changed since it was scored: {describe_changes(here[0], parts)};"
            " put it back, or give the new one its own folder,"
            " or score it beside the old one with `spo score --changed`"
        )
    row = {"reference": name, "folder": location, **parts, "begun_at": datetime.now(UTC)}
    rows = pl.DataFrame([row], schema=ReferencePolicies.create_empty().schema)
    store.append(
        "reference_policies",
        rows,
        producer=f"reference/{digest({'reference': name, 'folder': location})}",
        sequence=0,
    )


def check_scored(store: Store, parts: dict[str, str], folder: Path) -> None:
    """Raise ReferenceChanged if nothing is scored under a reference; the message says how it differs from the
    nearest that was scored.
    """
    name, location = reference_name(parts), str(folder.resolve())
    known = scored_references(store)
    if any(row["reference"] == name for row in known) or _has_scores(store, name):
        return
    precision = "" if parts["precision"] == "fp32" else f" --precision {parts['precision']}"
    fix = f"score it with `spo score {folder}{precision}`"
    if not known:
        raise ReferenceChanged(f"{folder}: no trajectory is scored under this reference; {fix}")
    same = {row["reference"]: sum(row[part] == value for part, value in parts.items()) for row in known}
    nearest = max(known, key=lambda row: (row["folder"] == location, same[row["reference"]]))
    raise ReferenceChanged(
        f"{folder}: no trajectory is scored under this reference;"
        f" what was scored from {nearest['folder']} has another"
        f" {describe_changes(nearest, parts)}; put that back, or {fix}"
    )


def _has_scores(store: Store, reference: str) -> bool:
    sql = "select 1 from reference_scores where reference = $reference limit 1"
    with connect_for(store, sql) as connection:
        scores = query(connection, sql, {"reference": reference})
    return scores.height > 0


def score(
    store: Store,
    policy: Policy,
    *,
    where: str = "p.split = 'train'",
    parameters: Mapping[str, Any] | None = None,
    max_tokens: int = 2048,
    batch_tokens: int = 16384,
    precision: Precision = "fp32",
    folder: Path | None = None,
    changed: bool = False,
    since: Mapping[str, int] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> ScoreSummary:
    """Score the judged Python trajectories that lack a score and that `where` selects (SQL over t:
    trajectories, p: problems).

    `parameters` has a value for each `$name` in `where`. `folder` is the folder of the policy. Rows that
    were not added to a table after its version in `since` need not be looked at. Raises ReferenceChanged if
    another was scored from `folder`, unless `changed`.
    """
    started = time.monotonic()
    parts = reference_parts(policy, precision)
    reference = reference_name(parts)
    if folder is not None:
        _record_reference(store, parts, folder, changed=changed)
    chosen = PENDING.format(where=predicate(where, parameters, reserved=("reference",)))
    with connect_for(store, chosen, PROBLEMS, since=since) as connection:
        pending = query(connection, chosen, {**(parameters or {}), "reference": reference})
        asked = read_problems(connection, pending["problem_id"])
    scorer = in_bfloat16(policy) if precision == "bf16-weights" else policy
    rows, summary = [], ScoreSummary()
    producer = f"score/{uuid.uuid4().hex}"
    encoded = _encoded(policy, with_problems(pending.to_dicts(), asked), parts["tokenizer"])
    summary.unusable = pending.height - len(encoded)
    fitting = [row for row in encoded if len(row["prompt_ids"]) + len(row["completion_ids"]) <= max_tokens]
    summary.too_long = len(encoded) - len(fitting)
    for scored in _score_rows(scorer, fitting, batch_tokens, precision):
        rows.append({**scored, "reference": reference, "scored_at": datetime.now(UTC)})
        summary.scored += 1
        summary.tokens += len(scored["prompt_ids"]) + len(scored["completion_ids"])
        if len(rows) >= COMMIT_ROWS:
            _commit(store, rows, producer)
            rows = []
        if on_progress:
            on_progress(summary.scored, len(fitting))
    _commit(store, rows, producer)
    summary.seconds = time.monotonic() - started
    return summary


def with_problems(rows: list[dict], problems: Mapping[str, Problem]) -> list[dict]:
    """Rows with the whole `problem` beside its statement."""
    return [{**row, "problem": problems[row["problem_id"]]} for row in rows]


def encode(policy: Policy, row: dict, tokenizer: str) -> dict:
    """Prompt and completion in the policy's own format: sampled tokens if its own tokenizer made them,
    else the program. A completion that was cut has no end token: the policy that wrote it did not stop.
    Raises UnusableTokens.
    """
    own = row["details"] and json.loads(row["details"])["fingerprint"]["tokenizer"] == tokenizer
    if own and row["token_ids"] is not None:
        completion = row["token_ids"]
        size = policy.model.get_input_embeddings().num_embeddings
        if not completion or not all(0 <= token < size for token in completion):
            raise UnusableTokens(
                f"trajectory {row['trajectory_id']}: token_ids has no token, or one outside 0 to {size - 1},"
                " which the model does not have; leave the trajectory out"
            )
    elif row["finish_reason"] == CUT:
        completion = policy.completion_ids(row["completion"] or row["program"])[:-1]
    else:
        completion = policy.completion_ids(policy.completion_of_program(row["program"]))
    return {
        "trajectory_id": row["trajectory_id"],
        "problem_id": row["problem_id"],
        "prompt_ids": policy.prompt_ids(row["problem"]),
        "completion_ids": completion,
    }


def _encoded(policy: Policy, rows: list[dict], tokenizer: str) -> list[dict]:
    """The rows that can be encoded; the others are named in the log."""
    encoded = []
    for row in rows:
        try:
            encoded.append(encode(policy, row, tokenizer))
        except UnusableTokens as error:
            logger.warning("not scored: %s", error)
    return encoded


def _score_rows(
    policy: Policy, rows: list[dict], batch_tokens: int, precision: Precision = "fp32"
) -> Iterator[dict]:
    """Add logprobs and their sum to rows that have prompt_ids and completion_ids. Order: by length."""
    policy.model.eval()
    device = next(policy.model.parameters()).device
    for group in length_buckets(
        [len(r["prompt_ids"]) + len(r["completion_ids"]) for r in rows], batch_tokens
    ):
        chosen = [rows[i] for i in group]
        batch = token_batch([r["prompt_ids"] for r in chosen], [r["completion_ids"] for r in chosen]).to(
            device
        )
        with torch.no_grad(), autocast(device, precision):
            scored = completion_logprobs(policy.model, batch)
        for i, row in enumerate(chosen):
            logprobs = scored.logprob[scored.sequence == i].tolist()
            yield {**row, "logprobs": logprobs, "logprob_sum": sum(logprobs)}


def _commit(store: Store, rows: list[dict], producer: str) -> None:
    if rows:
        store.append_next(
            "reference_scores",
            pl.DataFrame(rows, schema=ReferenceScores.create_empty().schema),
            producer=producer,
        )
