"""`spo`: the command line. Heavy modules are imported inside the commands, so that `spo --help` answers at once."""

from __future__ import annotations

import atexit
import json
import os
import shlex
import sys
import traceback
from pathlib import Path
from typing import Annotated, Literal

import typer

from flows.commands import (
    corpus,
    decontaminate,
    evaluate,
    judge,
    maintain,
    quarantine,
    rollout,
    serve,
    sql,
    store,
    train,
)
from flows.commands.common import (
    DATA,
    STORE,
    FollowOption,
    JsonOption,
    StoreOption,
    TimeFactorOption,
    UntilOption,
    assignments,
    finish,
    open_store,
    show_next,
    use_server,
)
from pipeline.adapters import BUILT_IN, find

MAP = """
Store, judge and trainer for off-policy RL on programming contests.

The way through the house: `ingest` -> `deduplicate` -> `label` -> `score` -> `corpus publish` -> `train` -> `eval` -> `report`;
`serve` does it by schedule, `sql` asks at any time. Every command has examples: `spo COMMAND --help`.
"""
EXIT_CODES = """
**Exit codes**: 0 done; 1 an error, in one line, its traceback in `data/spo-error.log` (also `judge`: not accepted, `doctor`: no
sandbox); 2 wrong use; 130 interrupted, the same command goes on where it was.

**For scripts**: `--json` ends the output with one JSON line on stdout; everything for people goes to stderr.
**Completion**: `spo --install-completion`. **Places**: `SPO_DATA_DIR` (default `data`), `PREFECT_API_URL`, `SPO_TASK_RUNNER`.
"""

app = typer.Typer(
    help=MAP,
    epilog=EXIT_CODES,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)

ADAPTERS = "\n\n".join(f"* `{name}` {what}" for name, what in BUILT_IN.items())
INTERRUPTED = 130
# The panels of `spo --help`, in the order of the job.
START, DATA_IN, ASK, LEARN, SERVE = "Start here", "Data in", "Look and choose", "Learn", "Run"


@app.command(rich_help_panel=START)
def demo(
    data: Annotated[
        Path | None, typer.Option(help="Folder of real contests, in the layout of the `bundle` adapter.")
    ] = None,
    hub: Annotated[
        str | None, typer.Option(help="DeepMind CodeContests: a Hub name or local parquet files.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Problems taken of each real data set.")] = 350,
    everything: Annotated[bool, typer.Option("--everything", help="Take real data sets whole.")] = False,
    model: Annotated[
        str | None, typer.Option(help="Causal model: a folder, a Hub name or a .gguf file.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="SPO runs from the same reference.")] = 3,
    settings: Annotated[
        Path | None, typer.Option(help="JSON file with more settings of `flows/demo.py:DemoSettings`.")
    ] = None,
    store: StoreOption = STORE,
    as_json: JsonOption = False,
) -> None:
    """The whole job, from contest data to a report with pass@k before and after SPO.

    Examples: `spo demo` (the starter set, nothing else needed) -- `spo demo --data FOLDER --everything` --
    `spo demo --model HuggingFaceTB/SmolLM2-135M-Instruct --seeds 1`
    """
    if data is not None and not data.is_dir():
        raise typer.BadParameter(f"no folder {data}", param_hint="--data")
    use_server()
    from flows.demo import DemoSettings, demo_flow

    given = json.loads(settings.read_text()) if settings else {}
    chosen = DemoSettings(
        **{
            "data": str(data.resolve()) if data else None,
            "hub": hub,
            "limit": None if everything else limit,
            "model": model,
            "seeds": seeds,
            **given,
        }
    )
    found = demo_flow(
        chosen.model_dump(mode="json"), str(store), str(DATA), shlex.join(["spo", *sys.argv[1:]])
    )
    typer.echo(f"report: {found['report']}", err=True)
    if as_json:
        typer.echo(json.dumps(found))


@app.command(
    rich_help_panel=DATA_IN,
    epilog=f"**Adapters**\n\n{ADAPTERS}\n\n* `FILE.py:NAME` one of your own, see pipeline/adapters/README.md",
)
def ingest(
    adapter: Annotated[str, typer.Argument(help="What the source is: one of the adapters below.")],
    source: Annotated[str, typer.Argument(help="File, folder or Hub name.")],
    limit: Annotated[int | None, typer.Option(min=1, help="Problems at most, chosen by hash.")] = None,
    said: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="COLUMN=VALUE of all its trajectories: origin, policy_id, run_id, temperature, ..."
        ),
    ] = None,
    store: StoreOption = STORE,
    as_json: JsonOption = False,
) -> None:
    """Bring a source into the store; a finished one costs a look-up.

    Examples: `spo ingest plain my-solutions.jsonl.gz` -- `spo ingest verl runs/a/rollouts --set policy_id=qwen3-8b`
    """
    columns = assignments(said, "--set")
    find(adapter)  # a mistyped name is told at once, not after a server has started
    use_server()
    from flows.stages.ingest import ingest_flow

    rows = ingest_flow(str(store), adapter, source, limit, columns)
    if any(row["quarantined"] for row in rows):
        show_next(
            store,
            "spo quarantine show    # the refused rows",
            "spo quarantine retry    # after a fix",
            "spo deduplicate",
        )
    else:
        show_next(store, "spo deduplicate")
    finish(rows, as_json)


RunnerOption = Annotated[
    str | None,
    typer.Option(help="threads (here), dask, ray, or dask@tcp://HOST:8786; else what SPO_TASK_RUNNER says."),
]
PartsOption = Annotated[int | None, typer.Option(min=1, help="Parts of the work on a cluster; default 8.")]


@app.command(rich_help_panel=DATA_IN)
def deduplicate(
    runner: RunnerOption = None,
    parts: PartsOption = None,
    store: StoreOption = STORE,
    as_json: JsonOption = False,
) -> None:
    """Mark equal and nearly equal programs; nothing is deleted.

    Examples: `spo deduplicate` -- `spo deduplicate --runner dask@tcp://10.0.0.1:8786 --store s3://bucket/store`
    """
    use_server()
    from flows.stages.deduplicate import deduplicate_flow

    found = deduplicate_flow(str(store), runner, parts)
    show_next(store, "spo decontaminate", "spo label")
    finish(found, as_json)


@app.command(rich_help_panel=DATA_IN)
def label(
    workers: Annotated[
        int | None, typer.Option(min=1, help="Sandbox workers; default: three for every two cores.")
    ] = None,
    time_factor: TimeFactorOption = 1.0,
    follow: FollowOption = False,
    until: UntilOption = None,
    runner: RunnerOption = None,
    parts: PartsOption = None,
    store: StoreOption = STORE,
    as_json: JsonOption = False,
) -> None:
    """Judge every program that has no verdict yet, in the sandbox.

    Examples: `spo label` -- `spo label --workers 4 --json` -- `spo label --follow` -- `spo label --runner dask`
    """
    if follow:
        from flows.serving.following import Grader, follow_aloud
        from sandbox import Pool

        with Pool(workers, time_factor=time_factor) as pool:
            return finish(follow_aloud("label", Grader(open_store(store), pool, until).work), as_json)
    use_server()
    from flows.stages.label import label_flow

    finish(label_flow(str(store), workers, runner, parts, time_factor), as_json)


app.command(rich_help_panel=DATA_IN)(decontaminate.decontaminate)
app.add_typer(quarantine.app, name="quarantine", rich_help_panel=DATA_IN)
app.command(rich_help_panel=ASK)(judge.judge)
app.command(rich_help_panel=ASK)(sql.sql)
app.add_typer(corpus.app, name="corpus", rich_help_panel=ASK)
app.add_typer(store.app, name="store", rich_help_panel=ASK)


@app.command(rich_help_panel=LEARN)
def score(
    policy: Annotated[Path, typer.Argument(help="Folder of the reference policy.")],
    max_tokens: Annotated[int, typer.Option(min=2, help="Longest prompt and completion.")] = 2048,
    precision: Annotated[
        Literal["fp32", "bf16"], typer.Option(help="That of the training to come.")
    ] = "fp32",
    changed: Annotated[
        bool, typer.Option("--changed", help="The folder holds another policy than it did; keep both.")
    ] = False,
    follow: FollowOption = False,
    until: UntilOption = None,
    runner: RunnerOption = None,
    parts: PartsOption = None,
    store: StoreOption = STORE,
    as_json: JsonOption = False,
) -> None:
    """Store reference log-probabilities of every judged training trajectory.

    Examples: `spo score data/runs/demo-1a2b3c4d/reference` -- `spo score models/qwen --precision bf16 --max-tokens 8192`
    """
    if follow:
        from flows.serving.following import Scorer, follow_aloud
        from trainer.policies import load_policy

        scorer = Scorer(open_store(store), load_policy(policy), max_tokens, policy, changed, precision, until)
        return finish(follow_aloud("score", scorer.work), as_json)
    use_server()
    from flows.stages.score import score_flow

    finish(score_flow(str(store), str(policy), max_tokens, precision, changed, runner, parts), as_json)


app.command(rich_help_panel=LEARN)(train.train)
app.command(rich_help_panel=LEARN)(train.weights)
app.command(rich_help_panel=LEARN)(rollout.rollout)
app.command(rich_help_panel=LEARN)(rollout.search)
app.command("eval", rich_help_panel=LEARN)(evaluate.evaluate)


@app.command(rich_help_panel=LEARN)
def report(
    run: Annotated[Path, typer.Argument(help="Run folder, e.g. data/runs/demo-1a2b3c4d.")],
    store: StoreOption = STORE,
) -> None:
    """Write the report of a run again: `data/reports/<run>/index.html`.

    Example: `spo report data/runs/demo-1a2b3c4d`
    """
    use_server()
    from flows.stages.report import report_flow

    typer.echo(report_flow(str(store), str(run), str(DATA / "reports" / run.name)))


@app.command(rich_help_panel=START)
def doctor(as_json: JsonOption = False) -> None:
    """Say what this machine offers: isolation, languages, torch, disk; exit code 1 where no sandbox can stand.

    Examples: `spo doctor` -- `spo doctor --json`
    """
    from flows.commands.examine import examine

    found = examine(DATA)
    typer.echo(
        json.dumps(found) if as_json else "\n".join(f"{name:<14} {value}" for name, value in found["lines"])
    )
    raise typer.Exit(0 if found["sandbox"] else 1)


app.command("serve-judge", rich_help_panel=SERVE)(judge.serve_judge)


app.command(rich_help_panel=SERVE)(serve.up)
app.command(rich_help_panel=SERVE)(serve.serve)
app.command(rich_help_panel=SERVE)(serve.deploy)
app.command(rich_help_panel=SERVE)(maintain.maintain)


def main() -> None:
    """Entry point: an error is one line with the next step, the traceback goes to `spo-error.log` in the data folder."""
    code = run()
    if code == INTERRUPTED:
        # What a Ctrl-C cut short (threads, database handles) is neither waited for nor complained about; servers are ended.
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(INTERRUPTED)
    raise SystemExit(code)


def interrupted() -> int:
    typer.echo("interrupted; the same command goes on where it was", err=True)
    return INTERRUPTED


def run() -> int | str | None:
    try:
        app()
    except KeyboardInterrupt:
        return interrupted()
    except SystemExit as end:  # typer turns Ctrl-C into its exit code, without a word
        return interrupted() if end.code == INTERRUPTED else end.code
    except Exception as error:
        DATA.mkdir(parents=True, exist_ok=True)
        log = DATA / "spo-error.log"
        log.write_text(traceback.format_exc())
        message = str(error).strip().splitlines() or ["no message"]
        typer.echo(f"spo: {type(error).__name__}: {message[0]} (traceback: {log})", err=True)
        # Frames that outlive the interpreter keep database handles open, which then complain at length.
        traceback.clear_frames(error.__traceback__)
        return 1
    return 0
