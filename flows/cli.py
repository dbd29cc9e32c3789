"""`spo`: the command line. Heavy modules are imported inside the commands, so that `spo --help` answers at
once.
"""

from __future__ import annotations

import atexit
import os
import sys
import traceback

import typer

from flows.commands import (
    corpus,
    decontaminate,
    deduplicate,
    demo,
    doctor,
    evaluate,
    ingest,
    judge,
    label,
    maintain,
    quarantine,
    report,
    rollout,
    score,
    search,
    serve,
    sql,
    store,
    train,
)
from flows.commands.common import DATA
from flows.display.terminal import echo

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

INTERRUPTED = 130
# The panels of `spo --help`, in the order of the job.
START, DATA_IN, ASK, LEARN, SERVE = "Start here", "Data in", "Look and choose", "Learn", "Run"


# Listed by `spo --help` in this order.
app.command(rich_help_panel=START)(demo.demo)
app.command(rich_help_panel=START)(doctor.doctor)

app.command(rich_help_panel=DATA_IN, epilog=ingest.ADAPTERS)(ingest.ingest)
app.command(rich_help_panel=DATA_IN)(deduplicate.deduplicate)
app.command(rich_help_panel=DATA_IN)(label.label)
app.command(rich_help_panel=DATA_IN)(decontaminate.decontaminate)
app.add_typer(quarantine.app, name="quarantine", rich_help_panel=DATA_IN)

app.command(rich_help_panel=ASK)(judge.judge)
app.command(rich_help_panel=ASK)(sql.sql)
app.add_typer(corpus.app, name="corpus", rich_help_panel=ASK)
app.add_typer(store.app, name="store", rich_help_panel=ASK)

app.command(rich_help_panel=LEARN)(score.score)
app.command(rich_help_panel=LEARN)(train.train)
app.command(rich_help_panel=LEARN)(train.weights)
app.command(rich_help_panel=LEARN)(rollout.rollout)
app.command(rich_help_panel=LEARN)(search.search)
app.command("eval", rich_help_panel=LEARN)(evaluate.evaluate)
app.command(rich_help_panel=LEARN)(report.report)

app.command("serve-judge", rich_help_panel=SERVE)(judge.serve_judge)
app.command(rich_help_panel=SERVE)(serve.up)
app.command(rich_help_panel=SERVE)(serve.ui)
app.command(rich_help_panel=SERVE)(serve.serve)
app.command(rich_help_panel=SERVE)(serve.deploy)
app.command(rich_help_panel=SERVE)(maintain.maintain)


def main() -> None:
    """Entry point: an error is one line with the next step, the traceback goes to `spo-error.log` in the
    data folder.
    """
    code = run()
    if code == INTERRUPTED:
        # What a Ctrl-C cut short (threads, database handles) is neither waited for nor complained about;
        # servers are ended.
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(INTERRUPTED)
    raise SystemExit(code)


def interrupted() -> int:
    echo("interrupted; the same command goes on where it was", err=True)
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
        echo(f"spo: {type(error).__name__}: {message[0]} (traceback: {log})", err=True)
        # Frames that outlive the interpreter keep database handles open, which then complain at length.
        traceback.clear_frames(error.__traceback__)
        return 1
    return 0
