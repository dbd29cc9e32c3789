"""`spo store check`, `repair` and `ledger`: damage to a store, missing rows, and what can be restored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.commands.common import STORE, JsonOption, StoreOption, open_store
from flows.display.terminal import console, echo

if TYPE_CHECKING:
    from pipeline.store import CheckReport, RepairStep, Store


def check(store: StoreOption = STORE, as_json: JsonOption = False) -> None:
    """Look for damage: log, files against the hashes of their commits, contracts, references, checkpoints,
    pins.

    Reads every byte and changes nothing. One line per fault; exit code 1 if there is one.

    Examples: `spo store check` -- `spo store check --store s3://bucket/store --json`
    """
    from pipeline.store import check_store

    with console.status("checking") as status:
        report = check_store(damaged_store(store), lambda table: status.update(f"checking {table}"))
    for finding in report.findings:
        echo(f"{finding.table or 'store'}: {finding.kind}: {finding.where}: {finding.what}", err=as_json)
    show(summary(report))
    if as_json:
        typer.echo(json.dumps(as_row(report), default=lambda one: vars(one)))
    raise typer.Exit(1 if report.findings else 0)


def repair(
    accept_loss: Annotated[
        bool, typer.Option("--accept-loss", help="Go on without what has no whole copy; it is listed.")
    ] = False,
    store: StoreOption = STORE,
    as_json: JsonOption = False,
) -> None:
    """Restore what can be restored, and list every row that cannot; nobody else may use the store meanwhile.

    Damaged files are moved to `_spo/set-aside` of their table. Exit code 1 while a fault remains
    or rows are lost.

    Examples: `spo store repair` -- `spo store repair --accept-loss --json`
    """
    from pipeline.store import repair_store

    steps = repair_store(damaged_store(store), accept_loss=accept_loss)
    for step in steps:
        echo(f"{step.table}: {'' if step.done else 'NOT REPAIRED: '}{step.what}", err=as_json)
        for key in step.lost_keys:
            echo(f"{step.table}: lost row: {key}", err=as_json)
    if not steps:
        show("nothing to repair")
    if as_json:
        typer.echo(json.dumps([vars(step) for step in steps]))
    raise typer.Exit(1 if any(is_bad(step) for step in steps) else 0)


def ledger(store: StoreOption = STORE, as_json: JsonOption = False) -> None:
    """Look for rows that are there twice, rows that a batch or a round of a worker counted and that are gone,
    and failures of the judge that have a reward.

    Exit code 1 if there is one.

    Example: `spo store ledger --json`
    """
    from pipeline.store import check_ledger

    counted = check_ledger(open_store(store))
    for what, rows in counted.details.items():
        echo(f"{what}: {rows:,} rows", err=as_json)
    if as_json:
        typer.echo(json.dumps(vars(counted)))
    elif not counted.details:
        show("every row is there once, and no failure of the judge has a reward")
    raise typer.Exit(1 if counted.details else 0)


def is_bad(step: RepairStep) -> bool:
    return not step.done or step.lost_rows != 0


def damaged_store(location: str) -> Store:
    """The store, which may be too damaged to open. Raises StoreError where there is none at all."""
    from pipeline.store import TABLES, Store

    store = Store(location)
    if "://" not in store.location and any(Path(store.location, name).is_dir() for name in TABLES):
        return store
    return open_store(location)


def show(text: str) -> None:
    console.print(text, highlight=False, markup=False)


def summary(report: CheckReport) -> str:
    size = (
        f"{report.entries} log entries, {report.files} files ({report.bytes:,} bytes), {report.rows:,} rows"
    )
    notes = [f"{report.without_hash} files have no hash"] if report.without_hash else []
    notes += [f"{report.uncommitted} files of no commit"] if report.uncommitted else []
    notes += [] if report.references_checked else ["references not checked: tables cannot be read"]
    faults = f"{len(report.findings)} faults" if report.findings else "no fault"
    return f"{faults}: {'; '.join([size, *notes])}"


def as_row(report: CheckReport) -> dict[str, Any]:
    return {"whole": not report.findings, **vars(report)}
