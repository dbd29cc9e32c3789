"""`spo`: the command line.

Heavy modules are imported inside the commands, so that `spo --help` starts fast.
"""

from __future__ import annotations

import atexit
import gc
import os
import sys
import traceback
from contextlib import suppress
from typing import Annotated, NoReturn

import typer

from flows.commands import (
    config,
    corpus,
    decontaminate,
    deduplicate,
    demo,
    doctor,
    evaluate,
    ingest,
    init,
    judge,
    label,
    maintain,
    plan,
    push,
    quarantine,
    report,
    rollout,
    score,
    search,
    serve,
    serve_judge,
    show,
    show_prompt,
    sql,
    store,
    store_check,
    train,
    view,
    warmstart,
)
from flows.commands.common import DATA as DATA_FOLDER
from flows.display.loading import announce_imports
from flows.display.terminal import echo

MAP = """
Store, judge and trainer for off-policy RL on programming contests.

The usual order: `ingest` -> `deduplicate` -> `label` -> `warmstart` -> `score` -> `corpus publish` ->
`train` -> `eval` -> `report`. `serve` runs these stages on a schedule; `sql` queries the store at any time.
Every command has examples: `spo COMMAND --help`.
"""
EXIT_CODES = """
**Exit codes**: 0 success; 1 an error, printed as one line, with its traceback in `data/spo-error.log` (also
`judge`: not accepted, `doctor`: no sandbox); 2 wrong usage; 3 `judge`: could not be judged; 130 interrupted,
the same command resumes.

**Scripts**: `--json` ends the output with one JSON line on stdout; messages for people go to stderr.
**Completion**: `spo --install-completion`.
**Environment**: `SPO_DATA_DIR` (default `data`), `PREFECT_API_URL`, `SPO_TASK_RUNNER`.
"""

app = typer.Typer(
    help=MAP,
    epilog=EXIT_CODES,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)

INTERRUPTED = 130
GARBAGE_THRESHOLD = 10_000  # new objects between two collections; the default is 700
# Libraries with threads of their own, which are waited for at the end of the process.
WITH_THREADS = {"prefect", "torch"}


def show_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        echo(f"spo {version('spo')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


# The panels of `spo --help`, in the order in which they are used.
START, DATA, INSPECT, TRAIN, SERVE = (
    "Start here",
    "Data",
    "Inspect and select",
    "Train and evaluate",
    "Operate",
)


# `spo --help` lists the commands in this order.
app.command(rich_help_panel=START)(demo.demo)
app.command(rich_help_panel=START)(doctor.doctor)
app.command(rich_help_panel=START)(init.init)

app.command(rich_help_panel=DATA, epilog=ingest.ADAPTERS)(ingest.ingest)
app.command(rich_help_panel=DATA)(deduplicate.deduplicate)
app.command(rich_help_panel=DATA)(label.label)
app.command(rich_help_panel=DATA)(decontaminate.decontaminate)
app.add_typer(quarantine.app, name="quarantine", rich_help_panel=DATA)

app.command(rich_help_panel=INSPECT)(judge.judge)
app.command(rich_help_panel=INSPECT)(sql.sql)
app.command(rich_help_panel=INSPECT)(view.view)
app.command(rich_help_panel=INSPECT)(show.show)
app.add_typer(corpus.app, name="corpus", rich_help_panel=INSPECT)
store.app.command()(store_check.check)
store.app.command()(store_check.repair)
store.app.command()(store_check.ledger)
app.add_typer(store.app, name="store", rich_help_panel=INSPECT)

app.command(rich_help_panel=TRAIN)(warmstart.warmstart)
app.command(rich_help_panel=TRAIN)(score.score)
app.command(rich_help_panel=TRAIN)(train.train)
app.command(rich_help_panel=TRAIN)(train.weights)
app.command(rich_help_panel=TRAIN)(show_prompt.prompt)
app.command(rich_help_panel=TRAIN)(rollout.rollout)
app.command(rich_help_panel=TRAIN)(search.search)
app.command("eval", rich_help_panel=TRAIN)(evaluate.evaluate)
app.command(rich_help_panel=TRAIN)(report.report)
app.command(rich_help_panel=TRAIN)(plan.plan)
app.command(rich_help_panel=TRAIN)(push.push)

app.command(rich_help_panel=TRAIN)(config.config)

app.command("serve-judge", rich_help_panel=SERVE)(serve_judge.serve_judge)
app.command(rich_help_panel=SERVE)(serve.up)
app.command(rich_help_panel=SERVE)(serve.ui)
app.command(rich_help_panel=SERVE)(serve.serve)
app.command(rich_help_panel=SERVE)(serve.deploy)
app.command(rich_help_panel=SERVE)(maintain.maintain)


def main() -> None:
    """Run a command. An error is printed as one line; its traceback goes to `spo-error.log` in the data
    folder.
    """
    # Imports create objects that stay; by default the garbage collector scans them hundreds of times.
    gc.set_threshold(GARBAGE_THRESHOLD, 10, 10)
    announce_imports()
    code = run()
    # Threads and database handles that Ctrl-C interrupted are neither waited for nor reported. Clearing all
    # modules of a small command takes a tenth of its time.
    if code == INTERRUPTED or (code in (None, 0, 1, 2, 3) and not WITH_THREADS & sys.modules.keys()):
        leave(int(code or 0))
    raise SystemExit(code)


def leave(code: int) -> NoReturn:
    """End the process. Exit handlers, which stop servers, still run."""
    atexit._run_exitfuncs()
    with suppress(BrokenPipeError):  # the reader has read enough
        sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def interrupted() -> int:
    """Report an interrupt. Returns its exit code."""
    echo("interrupted; the same command resumes", err=True)
    return INTERRUPTED


def run() -> int | str | None:
    """Run the command that `sys.argv` names. Returns the exit code."""
    try:
        app()
    except KeyboardInterrupt:
        return interrupted()
    except SystemExit as end:  # typer turns Ctrl-C into its exit code, without a message
        return interrupted() if end.code == INTERRUPTED else end.code
    except Exception as error:
        DATA_FOLDER.mkdir(parents=True, exist_ok=True)
        log = DATA_FOLDER / "spo-error.log"
        log.write_text(traceback.format_exc())
        message = str(error).strip().splitlines() or ["no message"]
        echo(f"spo: {type(error).__name__}: {message[0]} (traceback: {log})", err=True)
        # Frames that outlive the interpreter keep database handles open, which then print long warnings.
        traceback.clear_frames(error.__traceback__)
        return 1
    return 0
