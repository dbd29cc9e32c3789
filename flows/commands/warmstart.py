"""`spo warmstart`: a first reference policy from the correct programs of a store."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.commands.common import STORE, JsonOption, StoreOption, finish, open_store

if TYPE_CHECKING:
    from pipeline.store import Store
    from trainer.policies import Policy, SolvedRows


ModelOption = Annotated[
    str | None,
    typer.Option(help="Model to train: a folder, a Hub name or a GGUF file; else a small new one."),
]
WhereOption = Annotated[
    str, typer.Option(help="SQL condition on judged (alias j): the correct programs that are used.")
]
ProblemsOption = Annotated[
    str, typer.Option(help="SQL condition on problems: those whose programs are used.")
]
ShareOption = Annotated[
    float, typer.Option(min=0.01, max=1, help="Share of these problems; the others are left to RL.")
]
RateOption = Annotated[
    float | None, typer.Option(min=0, help="Default: 3e-3 for a small new model, 2e-5 for --model.")
]


def warmstart(
    folder: Annotated[Path, typer.Argument(help="A new folder for the policy; its name is the policy_id.")],
    model: ModelOption = None,
    where: WhereOption = "j.origin = 'human'",
    problems: ProblemsOption = "split = 'train'",
    share: ShareOption = 0.5,
    per_problem: Annotated[int, typer.Option(min=1, help="Programs of a problem, at most.")] = 2,
    steps: Annotated[int, typer.Option(min=1, help="Optimiser steps.")] = 300,
    batch_tokens: Annotated[int, typer.Option(min=1, help="Tokens of a batch, at most.")] = 2048,
    learning_rate: RateOption = None,
    layers: Annotated[int, typer.Option(min=1, help="Layers of the small model.")] = 3,
    width: Annotated[int, typer.Option(min=4, help="Width of the small model, a multiple of 4.")] = 128,
    max_tokens: Annotated[int, typer.Option(min=2, help="Tokens of prompt and program, at most.")] = 1024,
    seed: Annotated[int, typer.Option(help="Seed of new weights and of the order of rows.")] = 0,
    store: StoreOption = STORE,
    as_json: JsonOption = False,
) -> None:
    """Make a first reference policy by supervised training on correct programs of the store, and publish it.

    Examples: `spo warmstart models/first` -- `spo warmstart models/sft --model Qwen/Qwen3-0.6B --steps 100`
    -- `spo warmstart models/first --where "j.origin = 'human' and j.source = 'mine'" --share 1`
    """
    from flows.display.terminal import echo
    from pipeline.store import publish_folder
    from trainer.policies import SolvedRows, load_policy, new_policy, publish_policy

    if width % 4:
        raise typer.BadParameter(f"{width} is not a multiple of 4", param_hint="--width")
    opened = open_store(store)
    check_new(opened, folder)
    rows = SolvedRows(problems, where, share, per_problem)
    if model:
        policy = load_policy(model)
    else:
        texts = rows.texts(opened)
        policy = new_policy(texts, layers=layers, width=width, max_positions=max_tokens, seed=seed)
    if learning_rate is None:
        learning_rate = 2e-5 if model else 3e-3
    settings = {"steps": steps, "batch_tokens": batch_tokens, "learning_rate": learning_rate, "seed": seed}
    figures = _train(policy, rows, opened, max_tokens, settings)
    publish_folder(folder, policy.save)
    details = {"warm_start": {"rows": vars(rows), "model": model, **settings}}
    publish_policy(opened, load_policy(folder), folder, policy_id=folder.name, details=details)
    echo(
        f"Policy {folder.name} in {folder}: {figures['programs']} programs, {steps} steps,"
        f" {figures['epochs']:g} passes over them, loss {figures['loss']:.3f} nats per token"
    )
    echo(f"next: spo rollout {folder} --samples 8    # then: spo label, spo score {folder}, spo init")
    finish({"policy": folder.name, "folder": str(folder), **figures}, as_json)


def check_new(store: Store, folder: Path) -> None:
    """Raises BadParameter, before anything is trained, if the folder or a policy of its name exists."""
    if os.path.lexists(folder):
        raise typer.BadParameter(f"{folder} exists; name a new folder", param_hint="FOLDER")
    if folder.name in store.read("policies", ["policy_id"])["policy_id"]:
        reason = f"policy {folder.name} is published already; give the folder another name"
        raise typer.BadParameter(reason, param_hint="FOLDER")


def _train(
    policy: Policy, rows: SolvedRows, store: Store, max_tokens: int, settings: dict[str, Any]
) -> dict[str, Any]:
    """Figures of the training. Raises BadParameter without a program that fits."""
    from flows.display.terminal import echo, progress
    from trainer.policies import fitting_pairs, warm_start

    pairs = rows.pairs(store)
    fitting = fitting_pairs(policy, pairs, max_tokens)
    too_long = f"{len(pairs) - len(fitting)} of {len(pairs)} programs are longer than {max_tokens} tokens"
    if not pairs:
        raise typer.BadParameter(
            "no correct Python program is selected: judge some first (spo label), or see --problems",
            param_hint="--where",
        )
    if not fitting:
        raise typer.BadParameter(too_long, param_hint="--max-tokens")
    if len(fitting) < len(pairs):
        echo(f"{too_long} and are left out", err=True)
    with progress("warm start", "steps") as update:
        report = warm_start(policy, fitting, on_progress=lambda p: update(p.step, p.steps), **settings)
    figures = {"steps": report.steps, "epochs": round(report.epochs, 2), "loss": round(report.loss, 4)}
    return {"programs": len(fitting), **figures}
