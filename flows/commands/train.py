"""`spo train` and `spo weights`: run a training configuration, and change its mixture while it runs."""

from __future__ import annotations

import difflib
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated

import typer

from flows.commands.common import JsonOption, finish
from flows.display.terminal import echo

ConfigArgument = Annotated[
    Path, typer.Argument(help="TOML file (example: trainer/README.md), or the folder of a run to resume it.")
]


def train(
    config: ConfigArgument,
    resume: Annotated[bool, typer.Option("--resume", help="Fail if there is no run to resume.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show mixture, counts and cost without training.")
    ] = False,
    live: Annotated[
        bool,
        typer.Option("--live", help="Start the explorer beside the run, and print the link to its page."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Train a policy on a mixture, with SPO or another objective. A run whose folder exists resumes.

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
        raise ConfigError(f"{config}: there is no run in {chosen.run} to resume; omit --resume to start one")
    if dry_run:
        return show_plan(plan(chosen), as_json)
    ranks = ranks_of_environment()
    try:
        if ranks.rank == 0 and step is not None:
            finished = (chosen.run / "final" / "config.json").exists()
            state = "is finished" if finished else f"exists and resumes at step {step}"
            echo(f"{chosen.run} {state}", err=True)
        with live_page(chosen) if live and ranks.rank == 0 else nullcontext(None) as link:
            final = train_with_progress(run, chosen, ranks, link)
    finally:
        ranks.close()
    if ranks.rank == 0:
        echo(f"policy: {final}", err=True)
        finish({"run": str(chosen.run), "policy": str(final), "steps": chosen.training.steps}, as_json)


@contextmanager
def live_page(chosen) -> Iterator[str]:
    """The address of the page of a run, in an explorer that ends with this context."""
    from urllib.parse import urlencode

    from flows.commands.common import DATA
    from flows.commands.serve_judge import generated_token
    from flows.commands.view import CACHE_NAME, TOKEN_NAME
    from flows.view import explorer_beside

    folder, runs = chosen.run.resolve(), (DATA / "runs").resolve()
    if not folder.is_relative_to(runs):
        runs = folder.parent
    token = generated_token(DATA / TOKEN_NAME)
    with explorer_beside(chosen.store, token, runs, DATA / CACHE_NAME) as address:
        yield f"{address}/run?{urlencode({'run': str(folder.relative_to(runs)), 'token': token})}"


def train_with_progress(run, chosen, ranks, link: str | None = None) -> Path:
    """Train; `link` is printed after the first step, when the run has a page."""
    from flows.display.training import training_display

    if ranks.rank:
        return run(chosen, ranks=ranks)
    headline = chosen.objective.build().headline
    steps, gate_nats = chosen.training.steps, chosen.training.gate_nats
    with training_display(chosen.run_id, steps, gate_nats, headline) as display:
        pending = [link] if link else []

        def on_step(figures) -> None:
            display(figures)
            if pending:
                echo(f"live: {pending.pop()}", err=True)

        return run(chosen, on_step=on_step, ranks=ranks)


def show_plan(run_plan, as_json: bool) -> None:
    """Print the plan of a run: its sources, tokens and estimated time."""
    from dataclasses import asdict

    from flows.display.terminal import show_table

    if as_json:
        return typer.echo(json.dumps(asdict(run_plan)))
    rows = [
        {
            "source": s.source,
            "rows": s.rows,
            "tokens": s.tokens,
            "successes": f"{s.success:.1%}",
            "share": f"{s.share:.1%}",
            "rows drawn": s.rows_drawn,
            "epochs": f"{s.epochs:.2f}",
            **({"problems without Q0": s.without_q0} if run_plan.needs.reference_rewards else {}),
            **({"too long": s.too_long} if any(one.too_long for one in run_plan.sources) else {}),
        }
        for s in run_plan.sources
    ]
    echo(needs_line(run_plan.objective, run_plan.needs))
    show_table(f"Mixture over {run_plan.steps:,} steps, from the current store", rows, file=sys.stdout)
    for source in run_plan.sources:
        if source.dry_at_step is not None:
            echo(
                f"{source.source} runs out of rows at about step {source.dry_at_step:,}"
                " unless new rows arrive; see `uses` and `when_empty`"
            )
    echo(
        f"per step: {run_plan.sequences_per_step:.1f} sequences, {run_plan.tokens_per_step:,.0f} tokens;"
        f" timed micro-batch: {run_plan.tokens_per_s:,.0f} tokens/s;"
        f" all steps: about {duration(run_plan.hours)}, without the time for fresh data"
    )


def needs_line(objective: str, needs) -> str:
    """One line with the data that the objective needs, and the data that it does not need."""
    names = {
        "reference scores (with the gate at step 0)": needs.reference_logprob,
        "samples of the reference policy for Q0": needs.reference_rewards,
        "behaviour log-probabilities": needs.behaviour_logprob,
        "rows in groups of one problem": needs.groups,
        "behaviour log-probabilities of tokens": needs.behaviour_tokens,
        "a value network": needs.value_network is not None,
    }
    needed = [name for name, is_needed in names.items() if is_needed]
    without = [name for name, is_needed in names.items() if not is_needed]
    line = f"objective {objective}: needs {', '.join(['judged rows', *needed])}"
    return line + (f"; not needed: {', '.join(without)}" if without else "")


def duration(hours: float) -> str:
    """A duration as text in seconds, minutes or hours."""
    if hours < 1 / 60:
        return f"{hours * 3600:.2g} s"
    return f"{hours * 60:.0f} min" if hours < 1 else f"{hours:.1f} h"


def weights(
    run: Annotated[Path, typer.Argument(help="Folder of the run.")],
    changes: Annotated[
        list[str],
        typer.Argument(help="NAME=WEIGHT, or NAME=schedule to use the configuration's schedule again."),
    ],
) -> None:
    """Change the weights of sources during a run, from its next step on. The run logs the change and replays
    it.

    Example: `spo weights data/runs/mine online=0.8 human=0.2`
    """
    from trainer.run import SAVED, ConfigError, change_weights

    if not (run / SAVED).exists():
        raise ConfigError(
            f"{run} is not a run: it has no {SAVED}; give the folder that `run` names in the configuration"
        )
    known = [source["name"] for source in json.loads((run / SAVED).read_text())["source"]]
    change_weights(run, dict(parsed(change, known) for change in changes))


def parsed(change: str, known: list[str]) -> tuple[str, float | None]:
    from trainer.run import ConfigError

    name, equals, value = change.rpartition("=")
    if not equals or name not in known:
        similar = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {similar[0]}?" if similar else ""
        raise ConfigError(f"{change}: not NAME=WEIGHT with one of the sources {', '.join(known)}{hint}")
    if value == "schedule":
        return name, None
    try:
        weight = float(value)
    except ValueError:
        weight = -1.0
    if not 0 <= weight < float("inf"):
        raise ConfigError(f"{change}: the weight must be a number of 0 or more, or `schedule`")
    return name, weight
