"""Section [training] of a run: what belongs to the loop, whatever is trained and by whichever objective."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from trainer.policies import Head, Precision

LoggerName = Literal["tensorboard", "trackio", "wandb"]


class TrainingSettings(BaseModel):
    """Steps and batches, what is saved and logged, and what stops a run."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    steps: int = Field(200, ge=1, description="optimiser steps of the whole run")
    layout: Literal["padded", "packed"] = Field(
        "padded", description="packed: sequences end to end in rows, kept apart"
    )
    batch_tokens: int = Field(
        16384, ge=1, description="padded tokens of a micro-batch; changes memory, not the result"
    )
    row_tokens: int = Field(2048, ge=1, description="packed: tokens of a row; a longer sequence widens it")
    head: Head = Field(
        "chunked", description="fused: torch's own linear_cross_entropy, where this torch has it"
    )
    precision: Precision = Field(
        "fp32",
        description="bf16: autocast; bf16-weights: weights and moments in bfloat16, needs the extra"
        " `adam8bit`; a reference must be scored with the same",
    )
    activation_checkpointing: bool = Field(
        False, description="recompute each layer in the backward pass: less memory"
    )
    entropy_tokens: int = Field(
        64, ge=0, description="positions per micro-batch at which token entropy is measured; 0: none"
    )
    checkpoint_every: int = Field(50, ge=1, description="steps between checkpoints")
    publish_every: int = Field(
        0, ge=0, description="steps between policies published for rollout workers; 0: only the last"
    )
    publish_keep: int = Field(
        3, ge=1, description="published policies whose weights are kept, beside evaluated and pinned ones"
    )
    gate_nats: float = Field(
        0.05, gt=0, description="largest |log pi - log pi_ref| of a sequence allowed at step 0"
    )
    max_log_ratio: float | None = Field(
        None, gt=0, description="a row whose |log pi - log pi_ref| is larger stops the run; null: none does"
    )
    max_loss: float | None = Field(
        None, gt=0, description="a row whose loss is larger stops the run; null: none does"
    )
    peak_flops: float | None = Field(
        None, gt=0, description="FLOP/s for MFU; null: from the GPU's name, none on a CPU"
    )
    loggers: tuple[LoggerName, ...] = Field(
        (), description="where figures go beside metrics.jsonl; each needs the extra of its name"
    )
