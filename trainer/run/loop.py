"""The training loop: stream -> SPO step -> log line, with checkpoints that a killed run goes on from.

A run is a folder: `metrics.jsonl` (a line a step: the watermark, the weights and the figures to watch), `checkpoint-<step>/`
(policy, optimiser, stream state; the newest two are kept) and `final/` once it is done.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from trainer.data import Row, Stream
from trainer.distributed import SINGLE, Ranks, checkpoint, publish_atomically
from trainer.objectives import (
    FAILURE_WEIGHT_CAP,
    DualTemperature,
    Loss,
    Sequences,
    Shape,
    importance_weight,
    spo_loss,
)
from trainer.policies import (
    EntropyProbe,
    Head,
    LoraSettings,
    Policy,
    Precision,
    Publisher,
    TokenBatch,
    autocast,
    completion_logprobs,
    has_fused_head,
    length_buckets,
    load_policy,
    merge_adapter,
    pack_groups,
    packed_batch,
    prepare,
    sequence_logprob,
    token_batch,
)
from trainer.run.metrics import Scored, figures_of, speed_figures
from trainer.run.optim import Optimiser, Schedule, new_optimiser, rate_at, set_learning_rate

__all__ = ["TrainSettings", "TrainingError", "new_optimiser", "publish_atomically", "train", "training_step"]


class TrainSettings(BaseModel):
    """Settings of one SPO run."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    steps: int = Field(200, ge=1)
    beta: float = Field(0.1, gt=0, description="temperature of the KL regularisation, in units of reward")
    target_kl: float | None = Field(
        None, gt=0, description="nats a sequence: beta then follows KL(pi || pi_ref) by dual ascent"
    )
    beta_rate: float = Field(0.05, gt=0, description="target_kl: rate of the ascent on log beta")
    beta_floor: float = Field(1e-2, gt=0, description="target_kl: beta goes no lower")
    shape: Shape = "cross_entropy"
    failure_weight_cap: float = Field(
        FAILURE_WEIGHT_CAP, gt=0, description="cross-entropy: largest weight of a failure"
    )
    learning_rate: float = Field(3e-4, gt=0)
    warmup_steps: int = Field(10, ge=0)
    schedule: Schedule = Field("cosine", description="course of the learning rate after the warm-up")
    final_share: float = Field(
        0.1, ge=0, le=1, description="share of the learning rate at the end of the schedule"
    )
    optimiser: Optimiser = Field(
        "adamw", description="adamw8bit: moments in 8 bits, needs the extra `adam8bit`"
    )
    lora: LoraSettings | None = Field(
        None, description="train low-rank adapters only, needs the extra `lora`"
    )
    clip_norm: float = Field(1.0, gt=0)
    importance_cap: float | None = Field(
        None, gt=0, description="truncated weights min(pi/mu, cap); null: off"
    )
    batch_tokens: int = Field(
        16384, ge=1, description="padded tokens of a micro-batch; changes memory, not the result"
    )
    layout: Literal["padded", "packed"] = Field(
        "padded", description="packed: sequences end to end in rows, kept apart"
    )
    row_tokens: int = Field(2048, ge=1, description="packed: tokens of a row; a longer sequence widens it")
    head: Head = Field(
        "chunked", description="fused: torch's own linear_cross_entropy, where this torch has it"
    )
    precision: Precision = Field(
        "fp32", description="bf16: autocast; the reference must be scored with bf16 too"
    )
    activation_checkpointing: bool = Field(
        False, description="recompute each layer in the backward pass: less memory"
    )
    entropy_tokens: int = Field(
        64, ge=0, description="places a micro-batch at which token entropy is looked at; 0: none"
    )
    checkpoint_every: int = Field(50, ge=1)
    publish_every: int = Field(
        0, ge=0, description="steps between policies published for rollout workers; 0: only the last"
    )
    publish_keep: int = Field(
        3, ge=1, description="weights of published policies that are kept, beside evaluated and pinned ones"
    )
    gate_nats: float = Field(
        0.05, gt=0, description="largest |log pi - log pi_ref| of a sequence allowed at step 0"
    )
    max_log_ratio: float | None = Field(
        None, gt=0, description="a row whose |log pi - log pi_ref| is larger stops the run"
    )
    max_loss: float | None = Field(None, gt=0, description="a row whose loss is larger stops the run")
    peak_flops: float | None = Field(
        None, gt=0, description="FLOP/s for MFU; null: from the GPU's name, none on a CPU"
    )
    tensorboard: bool = Field(
        False, description="event files beside metrics.jsonl, needs the extra `tensorboard`"
    )


class TrainingError(RuntimeError):
    """Training stopped; the message names the rows at fault."""


Forward = Callable[[TokenBatch], tuple[Tensor, Tensor]]


def train(
    policy: Policy,
    stream: Stream,
    settings: TrainSettings,
    folder: Path,
    *,
    before_step: Callable[[int, Policy], bool] | None = None,
    on_step: Callable[[dict], None] | None = None,
    publisher: Publisher | None = None,
    ranks: Ranks = SINGLE,
) -> Policy:
    """Run or resume training in `folder` and return the final policy.

    `policy` is the reference itself at step 0. `before_step(step, policy)` may add fresh rows to the store and says whether
    it did; the stream then moves to a new watermark, which is logged. `publisher` records a policy every
    `publish_every` steps, once the steps before it stand in the log: a killed run repeats them to the bit. Raises TrainingError
    on a failed gate, an outlier or a loss that is not finite.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / "final" / "config.json").exists():
        return load_policy(folder / "final")
    check_settings(settings)
    policy, optimiser, first, temperature, logged = start_or_resume(policy, stream, settings, folder, ranks)
    probe = EntropyProbe(settings.entropy_tokens) if settings.entropy_tokens else None
    forward = ranks.forward(policy, settings.head, probe)
    with RunLog(folder, settings.tensorboard, first, ranks) as log:
        for step in range(first, settings.steps):
            started = time.monotonic()
            fresh = partial(before_step, step, policy) if before_step else None
            making = move_stream(stream, step, logged.get(step), folder, ranks, fresh)
            rows = stream.batch(step)
            waited = time.monotonic() - started
            beta = temperature.beta
            figures = training_step(
                policy, optimiser, rows, settings, step, beta=beta, forward=forward, probe=probe, ranks=ranks
            )
            adapt(temperature, settings, figures, stream)
            seconds = time.monotonic() - started
            figures |= speed_figures(
                policy.model, rows, seconds, policy.device, settings.peak_flops, ranks.world
            )
            figures |= {
                "data_seconds": waited,
                "fresh_seconds": making,
                "seconds": seconds,
                "watermark": stream.watermark,
            }
            figures |= {"weights": stream.effective_weights(step), "overrides": dict(stream.weights)}
            log.write(figures)
            if on_step:
                on_step(figures)
            # Published first: a run killed between the two repeats the step, and finds that it is published.
            if (
                publisher
                and settings.publish_every
                and (step + 1) % settings.publish_every == 0
                and step + 1 < settings.steps
            ):
                publish(policy, publisher, step + 1, folder, ranks)
            if (step + 1) % settings.checkpoint_every == 0 and step + 1 < settings.steps:
                ranks.save_checkpoint(policy, optimiser, stream, folder, step + 1, {"beta": temperature.beta})
    if ranks.rank == 0:
        (folder / checkpoint.REPLAY).unlink(missing_ok=True)
    return ranks.finish(policy, folder, merge_adapter)


def publish(policy: Policy, publisher: Publisher, step: int, folder: Path, ranks: Ranks) -> None:
    """Write the policy of a step and record it, unless that was done before this process was started again."""
    target = folder / f"policy-{step}"
    if ranks.agree(publisher.is_published(step)):
        return
    if not ranks.agree(target.exists()):
        ranks.write(policy, target, merge_adapter)
    if ranks.rank == 0:
        publisher.publish(step, target)


def move_stream(
    stream: Stream,
    step: int,
    logged: dict | None,
    folder: Path,
    ranks: Ranks,
    fresh: Callable[[], bool] | None,
) -> float:
    """Bring weights and watermark to where this step needs them: as they were logged, or as they are asked for now.

    Returns the seconds in which fresh rows were made.
    """
    if logged:
        stream.weights = dict(logged.get("overrides", {}))
        if stream.watermark != logged["watermark"]:
            stream.advance(logged["watermark"])
        return 0.0
    every, started = stream.mixture.follow_every, time.monotonic()
    made = fresh is not None and fresh()
    making = time.monotonic() - started if made else 0.0
    if made or not stream.watermark or (every and step % every == 0):
        stream.advance(ranks.agree(stream.latest()))
    stream.weights = ranks.agree(checkpoint.asked_weights(folder))
    return making


def training_step(
    policy: Policy,
    optimiser: torch.optim.Optimizer,
    rows: list[Row],
    settings: TrainSettings,
    step: int,
    *,
    beta: float | None = None,
    forward: Forward | None = None,
    probe: EntropyProbe | None = None,
    ranks: Ranks = SINGLE,
) -> dict:
    """One optimiser step on a global batch, cut into micro-batches of like length; returns its figures.

    `probe` is the one that `forward` fills, if any.
    """
    beta = settings.beta if beta is None else beta
    forward = forward or (lambda batch: completion_logprobs(policy.model, batch, head=settings.head))
    policy.model.train()
    rate = rate_at(
        step,
        steps=settings.steps,
        peak=settings.learning_rate,
        warmup_steps=settings.warmup_steps,
        schedule=settings.schedule,
        final_share=settings.final_share,
    )
    set_learning_rate(optimiser, rate)
    groups = micro_batches(rows, settings)
    found: dict[int, list[list[float]]] = {}
    for place, counts in ranks.share(len(groups)):
        part = [rows[i] for i in groups[place]]
        loss, log_ratio = micro_batch_loss(policy, part, settings, len(rows), beta, forward)
        check_rows(loss, log_ratio, part, settings, step)
        # FSDP takes the mean over ranks; a micro-batch that only keeps a rank in step with the others weighs nothing.
        (loss.value * (ranks.world if counts else 0.0)).backward()
        if counts:
            entropy = probe.take(len(part)) if probe else torch.full_like(log_ratio, math.nan)
            columns = (loss.per_sequence, loss.terminal_q, loss.residual, log_ratio, entropy)
            found[place] = [values.tolist() for values in columns]
    scored = gathered(ranks.gather(found), [rows[i] for group in groups for i in group])
    if step == 0:
        check_gate(scored, settings.gate_nats)
    norm = torch.nn.utils.clip_grad_norm_(
        [p for p in policy.model.parameters() if p.requires_grad], settings.clip_norm
    )
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    drawn = hashlib.blake2b(" ".join(row.trajectory_id for row in rows).encode(), digest_size=8).hexdigest()
    moved = {
        "rows_digest": drawn,
        "tokens": sum(row.tokens for row in rows),
        "gradient_norm": ranks.number(norm),
    }
    return {"step": step, "learning_rate": rate, **moved, **figures_of(scored, beta)}


def micro_batches(rows: list[Row], settings: TrainSettings) -> list[list[int]]:
    """The cut of a global batch, the same on every rank."""
    lengths = [row.tokens for row in rows]
    if settings.layout == "packed":
        return pack_groups(lengths, settings.row_tokens, settings.batch_tokens)
    return length_buckets(lengths, settings.batch_tokens)


def micro_batch_loss(
    policy: Policy,
    rows: list[Row],
    settings: TrainSettings,
    batch_sequences: int,
    beta: float,
    forward: Forward,
) -> tuple[Loss, Tensor]:
    """The loss of some of a batch's rows, and log pi - log pi_ref of each, detached: [N]."""
    device = policy.device
    prompts, completions = [r.prompt_ids for r in rows], [r.completion_ids for r in rows]
    if settings.layout == "packed":
        batch = packed_batch(prompts, completions, settings.row_tokens)
    else:
        batch = token_batch(prompts, completions)
    with autocast(device, settings.precision):
        values, sequence = forward(batch.to(device))
    policy_logprob = sequence_logprob(values, sequence, len(rows))

    def column(name: str) -> Tensor:
        return torch.tensor([getattr(row, name) for row in rows], dtype=torch.float32, device=device)

    weight = torch.ones_like(policy_logprob)
    if settings.importance_cap is not None:
        weight = importance_weight(policy_logprob, column("behaviour_logprob"), settings.importance_cap)
    sequences = Sequences(
        policy_logprob, column("reference_logprob"), column("soft_value"), column("reward"), weight
    )
    loss = spo_loss(
        sequences,
        beta=beta,
        shape=settings.shape,
        batch_sequences=batch_sequences,
        failure_weight_cap=settings.failure_weight_cap,
    )
    return loss, (policy_logprob - sequences.reference_logprob).detach()


def gathered(found: dict[int, list[list[float]]], rows: list[Row]) -> Scored:
    """Micro-batches of all ranks put together again, in the order in which they were cut."""
    columns = [torch.tensor([x for place in sorted(found) for x in found[place][i]]) for i in range(5)]
    return Scored(rows, *columns)


def adapt(temperature: DualTemperature, settings: TrainSettings, figures: dict, stream: Stream) -> None:
    """Dual ascent on beta after a step whose KL could be estimated; Q0 follows from the stored rewards."""
    if settings.target_kl is None:
        return
    if figures["step"] == 0 and not stream.knows_behaviour():
        raise TrainingError(
            "target_kl needs rows whose behaviour log-probability is known (sampled here at temperature 1); none is"
        )
    if figures["kl"] is not None:
        stream.set_beta(temperature.update(figures["kl"]))


def check_settings(settings: TrainSettings) -> None:
    if settings.head == "fused" and not has_fused_head():
        raise TrainingError("head = 'fused': this torch has no linear_cross_entropy; use head = 'chunked'")


def check_rows(loss: Loss, log_ratio: Tensor, rows: list[Row], settings: TrainSettings, step: int) -> None:
    """Stop before a row that is not finite, or an outlier beyond the limits that were set, reaches the weights."""
    limits = [
        ("the loss", "is not finite", loss.per_sequence, lambda x: not math.isfinite(x)),
        (
            "|log pi - log pi_ref|",
            f"is above max_log_ratio = {settings.max_log_ratio}",
            log_ratio,
            lambda x: settings.max_log_ratio is not None and abs(x) > settings.max_log_ratio,
        ),
        (
            "the loss",
            f"is above max_loss = {settings.max_loss}",
            loss.per_sequence,
            lambda x: settings.max_loss is not None and x > settings.max_loss,
        ),
    ]
    for what, wrong, values, beyond in limits:
        bad = [(row, value) for row, value in zip(rows, values.tolist(), strict=True) if beyond(value)]
        if bad:
            named = ", ".join(f"{row.trajectory_id} ({row.source}, {value:.4g})" for row, value in bad[:5])
            raise TrainingError(f"step {step}: {what} of {len(bad)} rows {wrong}; trajectories {named}")


def check_gate(scored: Scored, gate_nats: float) -> None:
    """At step 0 the policy is the reference: stored scores that differ mean another model, tokenizer, template or code path."""
    worst = int(scored.log_ratio.abs().argmax())
    if abs(float(scored.log_ratio[worst])) > gate_nats:
        raise TrainingError(
            f"step 0: |log pi - log pi_ref| is {abs(float(scored.log_ratio[worst])):.3f} nat on trajectory"
            f" {scored.rows[worst].trajectory_id}, above the gate of {gate_nats}: the stored reference scores are not this"
            " policy's; score again with `spo score`"
        )


def start_or_resume(
    policy: Policy, stream: Stream, settings: TrainSettings, folder: Path, ranks: Ranks
) -> tuple[Policy, torch.optim.Optimizer, int, DualTemperature, dict[int, dict]]:
    """Policy, optimiser, first step, temperature, and the lines of steps that will be run again: a replay keeps to them."""
    temperature = DualTemperature(
        settings.beta, settings.target_kl or 0.0, settings.beta_rate, settings.beta_floor
    )

    def made_ready(of: Policy) -> torch.optim.Optimizer:
        prepare(of, lora=settings.lora, activation_checkpointing=settings.activation_checkpointing)
        ranks.shard(of)
        return new_optimiser(of, settings.optimiser)

    saved = checkpoint.checkpoints(folder)
    if not saved:
        return policy, made_ready(policy), 0, temperature, ranks.truncate_log(folder, 0)
    policy, optimiser, found = ranks.load_checkpoint(saved[-1], policy, made_ready)
    stream.beta = temperature.beta = found["beta"]
    stream.restore(found["stream"])
    return policy, optimiser, found["step"], temperature, ranks.truncate_log(folder, found["step"])


class RunLog:
    """`metrics.jsonl`, and TensorBoard's event files where they are asked for; rank 0 writes."""

    def __init__(self, folder: Path, tensorboard: bool, first: int, ranks: Ranks):
        self.lines = open(folder / checkpoint.LOG, "a") if ranks.rank == 0 else None  # noqa: SIM115 (closed by __exit__)
        self.board = board_writer(folder, first) if tensorboard and ranks.rank == 0 else None

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, *_: object) -> None:
        for target in (self.lines, self.board):
            if target:
                target.close()

    def write(self, figures: dict) -> None:
        if self.lines:
            self.lines.write(json.dumps(figures) + "\n")
            self.lines.flush()
        if self.board:
            for name, value in numbers(figures):
                self.board.add_scalar(name, value, figures["step"])


def board_writer(folder: Path, first: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise TrainingError(
            f"tensorboard needs the extra `tensorboard` ({error.name} is missing): pip install 'spo[tensorboard]'"
        ) from error
    return SummaryWriter(str(folder / "tensorboard"), purge_step=first)


def numbers(figures: dict, prefix: str = "") -> list[tuple[str, float]]:
    """The numbers of a log line under names with slashes; versions of tables are no quantities."""
    found = []
    for name, value in figures.items():
        if isinstance(value, dict) and name != "watermark":
            found += numbers(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and name != "step":
            found.append((prefix + name, float(value)))
    return found
