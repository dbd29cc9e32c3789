"""Reference scores: log pi_ref of stored completions, computed once by the trainer's own forward pass and kept in the store.

A reference is named by the fingerprint of its weights, tokenizer, template and dtype and of the scoring code, so scores of
several references live side by side and none can be taken for another's.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import polars as pl
import torch

from pipeline.contracts import ReferenceScores
from pipeline.sql import connect, query
from pipeline.store import Store
from trainer.logprobs import Precision, autocast, completion_logprobs, length_buckets, token_batch
from trainer.policy import Policy
from trainer.rollout import digest

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
  and ({where})
order by t.trajectory_id
"""


@dataclass
class ScoreSummary:
    """What one scoring pass did."""

    scored: int = 0
    tokens: int = 0
    too_long: int = 0  # longer than `max_tokens`, prompt included; not scored, so never trained on
    seconds: float = 0.0


def reference_fingerprint(policy: Policy, precision: Precision = "fp32") -> str:
    """The name of a reference's scores; in bf16 they are other numbers, and have another name."""
    computed = {} if precision == "fp32" else {"precision": precision}
    return digest({**policy.fingerprint(), "scoring": SCORING_CODE, **computed})


def score(
    store: Store,
    policy: Policy,
    *,
    where: str = "p.split = 'train'",
    max_tokens: int = 2048,
    batch_tokens: int = 16384,
    precision: Precision = "fp32",
    on_progress: Callable[[int, int], None] | None = None,
) -> ScoreSummary:
    """Score the judged Python trajectories that lack a score and that `where` selects (SQL over t: trajectories, p: problems)."""
    started = time.monotonic()
    reference = reference_fingerprint(policy, precision)
    with connect(store) as connection:
        pending = query(connection, PENDING.format(where=where), {"reference": reference})
    rows, summary = [], ScoreSummary()
    producer = f"score/{uuid.uuid4().hex}"
    tokenizer = policy.fingerprint()["tokenizer"]
    encoded = [encode(policy, row, tokenizer) for row in pending.to_dicts()]
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
    """Prompt and completion in the policy's own format: sampled tokens where its own tokenizer made them, else the program."""
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


def score_rows(policy: Policy, rows: list[dict], batch_tokens: int, precision: Precision = "fp32") -> Iterator[dict]:
    """Add logprobs and their sum to rows that have prompt_ids and completion_ids. Order: by length."""
    policy.model.eval()
    device = next(policy.model.parameters()).device
    for group in length_buckets([len(r["prompt_ids"]) + len(r["completion_ids"]) for r in rows], batch_tokens):
        chosen = [rows[i] for i in group]
        batch = token_batch([r["prompt_ids"] for r in chosen], [r["completion_ids"] for r in chosen]).to(device)
        with torch.no_grad(), autocast(device, precision):
            values, sequence = completion_logprobs(policy.model, batch)
        for i, row in enumerate(chosen):
            logprobs = values[sequence == i].tolist()
            yield {**row, "logprobs": logprobs, "logprob_sum": sum(logprobs)}


def commit(store: Store, rows: list[dict], producer: str) -> None:
    if rows:
        store.append_next("reference_scores", pl.DataFrame(rows, schema=ReferenceScores.create_empty().schema), producer=producer)
