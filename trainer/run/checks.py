"""What stops a run: settings that this machine does not support, needs that the store does not meet, the
gate, bad rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from torch import Tensor

from trainer.data import Row, Stream
from trainer.objectives import Needs
from trainer.policies import PACKING_TOLERANCE_NATS, Policy, has_fused_head, packing_gap
from trainer.run.metrics import StepRows
from trainer.run.settings import TrainingSettings


class TrainingError(RuntimeError):
    """Training stopped; the message names the rows at fault, or the setting."""


class UnmetNeed(ValueError):
    """The store lacks what the objective needs; the message says what, and how to add it."""


def check_settings(settings: TrainingSettings, needs: Needs) -> None:
    """Raises TrainingError for a setting that this torch does not support, or that has no meaning for the
    objective.
    """
    if settings.max_log_ratio is not None and not needs.reference_logprob:
        raise TrainingError(
            "max_log_ratio: this objective uses no reference log-probabilities; leave it out, or set max_loss"
        )
    if settings.head == "fused" and not has_fused_head():
        raise TrainingError("head = 'fused': this torch has no linear_cross_entropy; use head = 'chunked'")


def check_packing(settings: TrainingSettings, policy: Policy) -> None:
    """Raises TrainingError if rows are to be packed and the model reads from one into the next."""
    if settings.layout != "packed":
        return
    gap = packing_gap(policy.model)
    if not gap <= PACKING_TOLERANCE_NATS:
        raise TrainingError(
            f"layout = 'packed': this model ({policy.model.config.model_type}) does not keep packed sequences"
            f" apart: their log-probabilities change by {gap:.3g} nat; use layout = 'padded'"
        )


def check_needs(needs: Needs, stream: Stream, *, fresh_rows_come: bool) -> None:
    """Raises UnmetNeed if no row of a stream, at its watermark, has what an objective needs.

    Scores of the reference are checked when the stream is made. Fresh rows that are added during the run have
    their behaviour log-probability.
    """
    pools = [stream.pool(source.name) for source in stream.mixture.source]
    single = [source.name for source in stream.mixture.source if not source.group]
    if needs.groups and single:
        raise UnmetNeed(
            f"source {single[0]}: the objective compares rows of one problem with each other; set group = 8,"
            " or another number of rows per group"
        )
    if needs.reference_rewards and not any(pool.reference_rewards for pool in pools):
        raise UnmetNeed(
            f"the objective needs judged samples of the reference policy {stream.reference_policy} at"
            " temperature 1 and top_p 1, and the store has none: sample it with `spo rollout` and judge the"
            " samples with `spo label`"
        )
    knows_behaviour = any(bool(np.isfinite(pool.behaviour_logprob).any()) for pool in pools)
    if needs.behaviour_logprob and not knows_behaviour and not fresh_rows_come:
        raise UnmetNeed(
            "the objective needs rows whose behaviour log-probability is known (spo for target_kl and"
            " importance_cap only), and no source has one: add samples drawn here at temperature 1"
        )


def check_gate(step: StepRows, gate_nats: float) -> None:
    """At step 0 the policy is the reference: scores that differ mean another model, tokenizer, template or
    code path.

    Raises TrainingError that names the worst row.
    """
    difference = step.columns["log_ratio"].abs()
    worst = int(difference.argmax())
    if float(difference[worst]) > gate_nats:
        raise TrainingError(
            f"step 0: |log pi - log pi_ref| is {float(difference[worst]):.3f} nat on trajectory"
            f" {step.rows[worst].trajectory_id}, above the gate of {gate_nats}: the stored reference scores"
            " are not this policy's; score again with `spo score`"
        )


def check_rows(rows: list[Row], columns: dict[str, Tensor], settings: TrainingSettings, step: int) -> None:
    """Stop before a row whose loss is not finite, or that is beyond the limits of the settings, reaches the
    weights.

    Raises TrainingError that names the first five rows.
    """
    loss, log_ratio = columns["loss"], columns["log_ratio"]
    _refuse(rows, loss, lambda x: not math.isfinite(x), f"step {step}: the loss", "is not finite")
    most = settings.max_log_ratio
    if most is not None:
        what, limit = f"step {step}: |log pi - log pi_ref|", f"is above max_log_ratio = {most}"
        _refuse(rows, log_ratio, lambda x: abs(x) > most, what, limit)
    largest = settings.max_loss
    if largest is not None:
        limit = f"is above max_loss = {largest}"
        _refuse(rows, loss, lambda x: x > largest, f"step {step}: the loss", limit)


def _refuse(rows: list[Row], values: Tensor, is_bad: Callable[[float], bool], what: str, limit: str) -> None:
    bad = [(row, value) for row, value in zip(rows, values.tolist(), strict=True) if is_bad(value)]
    if bad:
        named = ", ".join(f"{row.trajectory_id} ({row.source}, {value:.4g})" for row, value in bad[:5])
        raise TrainingError(f"{what} of {len(bad)} rows {limit}; trajectories {named}")
