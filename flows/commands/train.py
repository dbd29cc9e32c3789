"""`spo train` and `spo weights`: a run from its configuration, and its mixture while it goes on."""

from __future__ import annotations

import difflib
import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from flows.commands.common import JsonOption, finish
from flows.display.terminal import echo

ConfigArgument = Annotated[
    Path, typer.Argument(help="TOML file (example: trainer/README.md), or the folder of a run to resume.")
]


def train(
    config: ConfigArgument,
    resume: Annotated[bool, typer.Option("--resume", help="Fail if there is no run to go on with.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show mixture, counts and cost, and stop.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Train a policy on a mixture, with SPO or another objective. A run whose folder exists goes on where it
    was.

    Examples: `spo train run.toml --dry-run` -- `spo train run.toml` -- `torchrun --nproc-per-node 8 -m flows
    train run.toml`
    """
    from flows.commands.common import open_store
    from trainer.distributed import ranks_of_environment
    from trainer.run import ConfigError, load_config, plan, resumes, run

    chosen = load_config(config)
    open_store(chosen.store)
    step = resumes(chosen)
    if resume and step is None:
        raise ConfigError(
            f"{config}: --resume, but there is no run in {chosen.run}; leave it out to begin one"
        )
    if dry_run:
        return show_plan(plan(chosen), as_json)
    ranks = ranks_of_environment()
    try:
        if ranks.rank == 0 and step is not None:
            done = (chosen.run / "final" / "config.json").exists()
            echo(f"{chosen.run} " + ("is done" if done else f"exists and goes on from step {step}"), err=True)
        final = train_with_progress(run, chosen, ranks)
    finally:
        ranks.close()
    if ranks.rank == 0:
        echo(f"policy: {final}", err=True)
        finish({"run": str(chosen.run), "policy": str(final), "steps": chosen.training.steps}, as_json)


def train_with_progress(run, chosen, ranks) -> Path:
    from flows.display.training import watched

    if ranks.rank:
        return run(chosen, ranks=ranks)
    headline = chosen.objective.build().headline
    with watched(chosen.run_id, chosen.training.steps, chosen.training.gate_nats, headline) as on_step:
        return run(chosen, on_step=on_step, ranks=ranks)


def show_plan(found, as_json: bool) -> None:
    from dataclasses import asdict

    from flows.display.terminal import show_table

    if as_json:
        return typer.echo(json.dumps(asdict(found)))
    rows = [
        {
            "source": s.source,
            "rows": s.rows,
            "tokens": s.tokens,
            "successes": f"{s.success:.1%}",
            "share": f"{s.share:.1%}",
            "rows drawn": s.drawn,
            "epochs": f"{s.epochs:.2f}",
            **({"problems without Q0": s.without_q0} if found.needs.reference_rewards else {}),
            **({"too long": s.too_long} if any(one.too_long for one in found.sources) else {}),
        }
        for s in found.sources
    ]
    echo(needs_line(found.objective, found.needs))
    show_table(f"Mixture over {found.steps:,} steps, as the store is now", rows, file=sys.stdout)
    for source in found.sources:
        if source.dry_at_step is not None:
            echo(
                f"{source.source} runs dry about step {source.dry_at_step:,}, unless fresh rows come: see uses and when_empty"
            )
    echo(
        f"per step: {found.sequences_per_step:.1f} sequences, {found.tokens_per_step:,.0f} tokens;"
        f" timed micro-batch: {found.tokens_per_s:,.0f} tokens/s; all steps: about {duration(found.hours)},"
        " fresh data not counted"
    )


def needs_line(objective: str, needs) -> str:
    """What the objective needs of the rows, and what it does without."""
    names = {
        "reference scores (with the gate at step 0)": needs.reference_logprob,
        "samples of the reference policy for Q0": needs.reference_rewards,
        "behaviour log-probabilities": needs.behaviour_logprob,
    }
    needed = [name for name, is_needed in names.items() if is_needed]
    without = [name for name, is_needed in names.items() if not is_needed]
    line = f"objective {objective}: needs {', '.join(['judged rows', *needed])}"
    return line + (f"; not needed: {', '.join(without)}" if without else "")


def duration(hours: float) -> str:
    """In the unit in which it is neither tiny nor huge."""
    if hours < 1 / 60:
        return f"{hours * 3600:.2g} s"
    return f"{hours * 60:.0f} min" if hours < 1 else f"{hours:.1f} h"


def weights(
    run: Annotated[Path, typer.Argument(help="Folder of the run.")],
    changes: Annotated[
        list[str], typer.Argument(help="NAME=WEIGHT, or NAME=schedule to go back to the configuration.")
    ],
) -> None:
    """Change the weights of sources while a run goes on, from its next step; logged there and replayed.

    Example: `spo weights data/runs/mine online=0.8 human=0.2`
    """
    from trainer.run import SAVED, ConfigError, change_weights

    if not (run / SAVED).exists():
        raise ConfigError(
            f"no run in {run}: it has no {SAVED}; name the folder that `run` names in the configuration"
        )
    known = [source["name"] for source in json.loads((run / SAVED).read_text())["source"]]
    change_weights(run, dict(parsed(change, known) for change in changes))


def parsed(change: str, known: list[str]) -> tuple[str, float | None]:
    from trainer.run import ConfigError

    name, equals, value = change.rpartition("=")
    if not equals or name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        meant = f"; did you mean {near[0]}?" if near else ""
        raise ConfigError(f"{change}: not NAME=WEIGHT with one of the sources {', '.join(known)}{meant}")
    if value == "schedule":
        return name, None
    try:
        weight = float(value)
    except ValueError:
        weight = -1.0
    if not 0 <= weight < float("inf"):
        raise ConfigError(f"{change}: the weight must be a number, 0 or more, or `schedule`")
    return name, weight
