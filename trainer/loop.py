"""The training loop: stream -> SPO step -> log line, with checkpoints that a killed run goes on from.

A run is a folder: `metrics.jsonl` (a line a step: the watermark and the figures to watch), `checkpoint-<step>/` (policy,
optimiser, stream state; the newest two are kept) and `final/` once it is done.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from trainer.logprobs import completion_logprobs, length_buckets, sequence_logprob, token_batch
from trainer.objective import FAILURE_WEIGHT_CAP, Loss, Sequences, Shape, importance_weight, spo_loss
from trainer.policy import Policy, load_policy
from trainer.stream import Row, Stream


class TrainSettings(BaseModel):
    """Settings of one SPO run."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    steps: int = Field(200, ge=1)
    beta: float = Field(0.1, gt=0, description="temperature of the KL regularisation, in units of reward")
    shape: Shape = "cross_entropy"
    failure_weight_cap: float = Field(FAILURE_WEIGHT_CAP, gt=0, description="cross-entropy: largest weight of a failure")
    learning_rate: float = Field(3e-4, gt=0)
    warmup_steps: int = Field(10, ge=0)
    clip_norm: float = Field(1.0, gt=0)
    importance_cap: float | None = Field(None, gt=0, description="truncated weights min(pi/mu, cap); null: off")
    batch_tokens: int = Field(16384, ge=1, description="padded tokens of a micro-batch; changes memory, not the result")
    checkpoint_every: int = Field(50, ge=1)
    gate_nats: float = Field(0.05, gt=0, description="largest |log pi - log pi_ref| of a sequence allowed at step 0")


class TrainingError(RuntimeError):
    """Training stopped; the message names the rows at fault."""


def train(
    policy: Policy,
    stream: Stream,
    settings: TrainSettings,
    folder: Path,
    *,
    before_step: Callable[[int, Policy], bool] | None = None,
    on_step: Callable[[dict], None] | None = None,
) -> Policy:
    """Run or resume training in `folder` and return the final policy.

    `policy` is the reference itself at step 0. `before_step(step, policy)` may add fresh rows to the store and says whether
    it did; the stream then moves to a new watermark, which is logged. Raises TrainingError on a failed gate or a loss that
    is not finite.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / "final" / "config.json").exists():
        return load_policy(folder / "final")
    policy, optimiser, first, logged = start_or_resume(policy, stream, settings, folder)
    with open(folder / "metrics.jsonl", "a") as log:
        for step in range(first, settings.steps):
            started = time.monotonic()
            if step in logged:
                move_to(stream, logged[step])
            elif (before_step and before_step(step, policy)) or not stream.watermark:
                stream.advance()
            rows = stream.batch(step)
            waited = time.monotonic() - started
            figures = training_step(policy, optimiser, rows, settings, step)
            figures |= {"data_seconds": waited, "seconds": time.monotonic() - started, "watermark": stream.watermark}
            log.write(json.dumps(figures) + "\n")
            log.flush()
            if on_step:
                on_step(figures)
            if (step + 1) % settings.checkpoint_every == 0 and step + 1 < settings.steps:
                save_checkpoint(policy, optimiser, stream, folder, step + 1)
    publish_atomically(folder / "final", policy.save)
    return policy


def training_step(policy: Policy, optimiser: torch.optim.Optimizer, rows: list[Row], settings: TrainSettings, step: int) -> dict:
    """One optimiser step on a global batch, cut into micro-batches of like length; returns its figures."""
    policy.model.train()
    set_learning_rate(optimiser, settings, step)
    losses: list[tuple[list[Row], Loss, Tensor]] = []
    for group in length_buckets([len(r.prompt_ids) + len(r.completion_ids) for r in rows], settings.batch_tokens):
        part = [rows[i] for i in group]
        loss, log_ratio = micro_batch_loss(policy, part, settings, len(rows))
        check_finite(loss, part, step)
        loss.value.backward()
        losses.append((part, loss, log_ratio))
    if step == 0:
        check_gate(losses, settings.gate_nats)
    norm = torch.nn.utils.clip_grad_norm_(policy.model.parameters(), settings.clip_norm)
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    tokens = sum(len(r.prompt_ids) + len(r.completion_ids) for r in rows)
    drawn = hashlib.blake2b(" ".join(row.trajectory_id for row in rows).encode(), digest_size=8).hexdigest()
    moved = {"rows_digest": drawn, "tokens": tokens, "gradient_norm": float(norm)}
    return {"step": step, **moved, **figures_of(losses, settings.beta)}


def micro_batch_loss(policy: Policy, rows: list[Row], settings: TrainSettings, batch_sequences: int) -> tuple[Loss, Tensor]:
    """The loss of some of a batch's rows, and log pi - log pi_ref of each, detached: [N]."""
    device = policy.device
    batch = token_batch([r.prompt_ids for r in rows], [r.completion_ids for r in rows]).to(device)
    values, sequence = completion_logprobs(policy.model, batch)
    policy_logprob = sequence_logprob(values, sequence, len(rows))

    def column(name: str) -> Tensor:
        return torch.tensor([getattr(row, name) for row in rows], dtype=torch.float32, device=device)

    weight = torch.ones_like(policy_logprob)
    if settings.importance_cap is not None:
        weight = importance_weight(policy_logprob, column("behaviour_logprob"), settings.importance_cap)
    sequences = Sequences(policy_logprob, column("reference_logprob"), column("soft_value"), column("reward"), weight)
    loss = spo_loss(
        sequences,
        beta=settings.beta,
        shape=settings.shape,
        batch_sequences=batch_sequences,
        failure_weight_cap=settings.failure_weight_cap,
    )
    return loss, (policy_logprob - sequences.reference_logprob).detach()


def figures_of(losses: list[tuple[list[Row], Loss, Tensor]], beta: float) -> dict:
    """What to watch (method, section 9), over the batch and for every source of the mixture separately."""
    rows = [row for part, _, _ in losses for row in part]
    columns = {
        "loss": torch.cat([loss.per_sequence for _, loss, _ in losses]),
        "terminal_q": torch.cat([loss.terminal_q for _, loss, _ in losses]),
        "residual": torch.cat([loss.residual for _, loss, _ in losses]),
        "log_ratio": torch.cat([ratio for _, _, ratio in losses]),
    }
    success = torch.tensor([row.reward >= 0 for row in rows], device=columns["loss"].device)

    def summary(chosen: Tensor) -> dict:
        means = {name: float(values[chosen].mean()) for name, values in columns.items()}
        q = columns["terminal_q"]
        return means | {
            "rows": int(chosen.sum()),
            "success_share": float(success[chosen].float().mean()),
            "q_success": mean_or_none(q[chosen & success]),
            "q_failure": mean_or_none(q[chosen & ~success]),
            "q_above_zero": float((q[chosen] > 0).float().mean()),
        }

    by_source = {}
    for name in sorted({row.source for row in rows}):
        by_source[name] = summary(torch.tensor([row.source == name for row in rows], device=success.device))
    return summary(torch.ones_like(success)) | {"beta": beta, "sources": by_source}


def mean_or_none(values: Tensor) -> float | None:
    return float(values.mean()) if len(values) else None


def check_finite(loss: Loss, rows: list[Row], step: int) -> None:
    bad = [row.trajectory_id for row, value in zip(rows, loss.per_sequence.tolist(), strict=True) if not math.isfinite(value)]
    if bad:
        raise TrainingError(f"step {step}: the loss of {len(bad)} rows is not finite; trajectories {', '.join(bad[:5])}")


def check_gate(losses: list[tuple[list[Row], Loss, Tensor]], gate_nats: float) -> None:
    """At step 0 the policy is the reference: stored scores that differ mean another model, tokenizer, template or code path."""
    ratios = torch.cat([ratio.abs() for _, _, ratio in losses])
    worst = int(ratios.argmax())
    if float(ratios[worst]) > gate_nats:
        row = [row for part, _, _ in losses for row in part][worst]
        raise TrainingError(
            f"step 0: |log pi - log pi_ref| is {float(ratios[worst]):.3f} nat on trajectory {row.trajectory_id},"
            f" above the gate of {gate_nats}: the stored reference scores are not this policy's; score again with `spo score`"
        )


def set_learning_rate(optimiser: torch.optim.Optimizer, settings: TrainSettings, step: int) -> None:
    """Linear warm-up, then a cosine to a tenth."""
    warmup = min(1.0, (step + 1) / max(1, settings.warmup_steps))
    cosine = 0.55 + 0.45 * math.cos(math.pi * step / settings.steps)
    for group in optimiser.param_groups:
        group["lr"] = settings.learning_rate * warmup * cosine


def move_to(stream: Stream, watermark: dict[str, int]) -> None:
    if stream.watermark != watermark:
        stream.advance(watermark)


def start_or_resume(
    policy: Policy, stream: Stream, settings: TrainSettings, folder: Path
) -> tuple[Policy, torch.optim.Optimizer, int, dict[int, dict[str, int]]]:
    """Policy, optimiser, first step, and the watermarks logged for steps that will be run again: a replay keeps to them."""
    log = folder / "metrics.jsonl"
    saved = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    if not saved:
        return policy, new_optimiser(policy), 0, truncate_log(log, 0)
    policy = load_policy(saved[-1])
    optimiser = new_optimiser(policy)
    state = torch.load(saved[-1] / "trainer.pt", weights_only=True)
    optimiser.load_state_dict(state["optimiser"])
    stream.restore(json.loads(state["stream"]))
    return policy, optimiser, state["step"], truncate_log(log, state["step"])


def new_optimiser(policy: Policy) -> torch.optim.Optimizer:
    return torch.optim.AdamW(policy.model.parameters(), lr=0.0, betas=(0.9, 0.95), weight_decay=0.0)


def save_checkpoint(policy: Policy, optimiser: torch.optim.Optimizer, stream: Stream, folder: Path, step: int) -> None:
    def write(target: Path) -> None:
        policy.save(target)
        state = {"optimiser": optimiser.state_dict(), "stream": json.dumps(stream.state), "step": step}
        torch.save(state, target / "trainer.pt")

    publish_atomically(folder / f"checkpoint-{step}", write)
    for old in sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))[:-2]:
        shutil.rmtree(old)


def publish_atomically(target: Path, write: Callable[[Path], None]) -> None:
    """Write into a folder beside the target and rename: a kill leaves the target whole or absent."""
    partial = target.parent / f".{target.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    write(partial)
    os.replace(partial, target)


def truncate_log(path: Path, steps: int) -> dict[int, dict[str, int]]:
    """Drop the lines from step `steps` on, and one that a kill cut short; returns the watermarks that were dropped."""
    kept, dropped = [], {}
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            break
        if entry["step"] < steps:
            kept.append(line)
        else:
            dropped[entry["step"]] = entry["watermark"]
    path.write_text("".join(line + "\n" for line in kept))
    return dropped
