"""Reference scores: log pi_ref of stored completions, computed once by the trainer's own forward pass and
kept in the store.

A reference is named by the fingerprint of its weights, tokenizer, template and dtype and of the scoring code,
so scores of several references live side by side and none can be taken for another's.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import torch

from pipeline.store import ReferencePolicies, ReferenceScores, Store, connect, predicate, query
from trainer.policies.batching import length_buckets, token_batch
from trainer.policies.logprobs import Precision, autocast, completion_logprobs
from trainer.policies.policy import Policy
from trainer.policies.publishing import digest

# Part of a reference's fingerprint: raise it whenever scoring changes any number.
SCORING_CODE = "padded-1"
COMMIT_ROWS = 2000

PENDING = """
select t.trajectory_id, t.problem_id, p.statement, t.program, t.token_ids, q.details
from trajectories t
join problems p using (problem_id)
left join policies q using (policy_id)
where t.language = 'python3'
  and exists (select 1 from judged j where j.trajectory_id = t.trajectory_id)
  and not exists (select 1 from reference_scores s where s.trajectory_id = t.trajectory_id and s.reference = $reference)
  and {where}
order by t.trajectory_id
"""


@dataclass
class ScoreSummary:
    """What one scoring pass did."""

    scored: int = 0
    tokens: int = 0
    too_long: int = 0  # longer than `max_tokens`, prompt included; not scored, so never trained on
    seconds: float = 0.0


class ReferenceChanged(ValueError):
    """A reference is not what was scored under it; the message says which parts changed, from what to what."""


def reference_parts(policy: Policy, precision: Precision = "fp32") -> dict[str, str]:
    """All that the scores of a reference depend on, by name: the columns of `reference_policies`."""
    return {**policy.fingerprint(), "precision": precision, "code": SCORING_CODE}


def reference_fingerprint(policy: Policy, precision: Precision = "fp32") -> str:
    """The name of a reference's scores; in bf16 they are other numbers, and have another name."""
    return name_of(reference_parts(policy, precision))


def name_of(parts: dict[str, str]) -> str:
    computed = {} if parts["precision"] == "fp32" else {"precision": parts["precision"]}
    policy = {name: value for name, value in parts.items() if name not in ("precision", "code")}
    return digest({**policy, "scoring": parts["code"], **computed})


def changes(before: dict[str, str], now: dict[str, str]) -> str:
    """`weights (1a2b -> 3c4d), precision (fp32 -> bf16)`: the parts that differ."""
    named = {"template": "chat template", "code": "scoring code"}
    return ", ".join(
        f"{named.get(name, name)} ({before[name]} -> {now[name]})"
        for name in now
        if before[name] != now[name]
    )


def scored_references(store: Store) -> list[dict]:
    """References that were ever scored, latest first."""
    return store.read("reference_policies").sort("begun_at", "reference", descending=True).to_dicts()


def record_reference(store: Store, parts: dict[str, str], folder: Path, *, changed: bool) -> None:
    """Note what is scored from a folder. Raises ReferenceChanged if it held another policy before and
    `changed` is not said.
    """
    place, name = str(folder.resolve()), name_of(parts)
    here = [
        row
        for row in scored_references(store)
        if row["folder"] == place and row["precision"] == parts["precision"]
    ]
    if any(row["reference"] == name for row in here):
        return
    if here and not changed:
        raise ReferenceChanged(
            f"{folder}: the reference changed since it was scored: {changes(here[0], parts)}; put it back, or give the new one a"
            " folder of its own, or score it beside the old one with `spo score --changed`"
        )
    row = {"reference": name, "folder": place, **parts, "begun_at": datetime.now(UTC)}
    rows = pl.DataFrame([row], schema=ReferencePolicies.create_empty().schema)
    store.append(
        "reference_policies",
        rows,
        producer=f"reference/{digest({'reference': name, 'folder': place})}",
        sequence=0,
    )


def check_scored(store: Store, parts: dict[str, str], folder: Path) -> None:
    """Raise ReferenceChanged where nothing is scored under a reference, and say how it differs from the
    nearest that was.
    """
    name, place = name_of(parts), str(folder.resolve())
    known = scored_references(store)
    if any(row["reference"] == name for row in known) or has_scores(store, name):
        return
    precision = "" if parts["precision"] == "fp32" else f" --precision {parts['precision']}"
    mend = f"score it with `spo score {folder}{precision}`"
    if not known:
        raise ReferenceChanged(f"{folder}: no trajectory is scored under this reference; {mend}")
    same = {row["reference"]: sum(row[part] == value for part, value in parts.items()) for row in known}
    nearest = max(known, key=lambda row: (row["folder"] == place, same[row["reference"]]))
    raise ReferenceChanged(
        f"{folder}: no trajectory is scored under this reference; what was scored from {nearest['folder']} has another"
        f" {changes(nearest, parts)}; put that back, or {mend}"
    )


def has_scores(store: Store, reference: str) -> bool:
    with connect(store) as connection:
        found = query(
            connection,
            "select 1 from reference_scores where reference = $reference limit 1",
            {"reference": reference},
        )
    return found.height > 0


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
    on_progress: Callable[[int, int], None] | None = None,
) -> ScoreSummary:
    """Score the judged Python trajectories that lack a score and that `where` selects (SQL over t:
    trajectories, p: problems).

    `parameters` has a value for each `$name` in `where`. `folder` is where the policy lies. Raises
    ReferenceChanged if another was scored from there, unless `changed`.
    """
    started = time.monotonic()
    parts = reference_parts(policy, precision)
    reference = name_of(parts)
    if folder is not None:
        record_reference(store, parts, folder, changed=changed)
    with connect(store) as connection:
        chosen = PENDING.format(where=predicate(where, parameters, taken=("reference",)))
        pending = query(connection, chosen, {**(parameters or {}), "reference": reference})
    rows, summary = [], ScoreSummary()
    producer = f"score/{uuid.uuid4().hex}"
    encoded = [encode(policy, row, parts["tokenizer"]) for row in pending.to_dicts()]
    fitting = [row for row in encoded if len(row["prompt_ids"]) + len(row["completion_ids"]) <= max_tokens]
    summary.too_long = len(encoded) - len(fitting)
    for scored in score_rows(policy, fitting, batch_tokens, precision):
        rows.append({**scored, "reference": reference, "scored_at": datetime.now(UTC)})
        summary.scored += 1
        summary.tokens += len(scored["prompt_ids"]) + len(scored["completion_ids"])
        if len(rows) >= COMMIT_ROWS:
            commit(store, rows, producer)
            rows = []
        if on_progress:
            on_progress(summary.scored, len(fitting))
    commit(store, rows, producer)
    summary.seconds = time.monotonic() - started
    return summary


def encode(policy: Policy, row: dict, tokenizer: str) -> dict:
    """Prompt and completion in the policy's own format: sampled tokens where its own tokenizer made them,
    else the program.
    """
    own = row["details"] and json.loads(row["details"])["fingerprint"]["tokenizer"] == tokenizer
    if own and row["token_ids"] is not None:
        completion = row["token_ids"]
    else:
        completion = policy.completion_ids(policy.completion_of_program(row["program"]))
    return {
        "trajectory_id": row["trajectory_id"],
        "problem_id": row["problem_id"],
        "prompt_ids": policy.prompt_ids(row["statement"]),
        "completion_ids": completion,
    }


def score_rows(
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


def commit(store: Store, rows: list[dict], producer: str) -> None:
    if rows:
        store.append_next(
            "reference_scores",
            pl.DataFrame(rows, schema=ReferenceScores.create_empty().schema),
            producer=producer,
        )
