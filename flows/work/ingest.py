"""Ingestion: add the rows of a source to the store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flows.display.terminal import progress, show_table
from flows.runtime.turns import done, in_run, turn
from flows.work.artifacts import SHOWN_ROWS, query_rows, table_artifact
from pipeline.ingest import BatchSummary, ingest
from pipeline.store import Store

# In a folder of problem packages, each package is a batch. Only the first ones get an artifact of their own.
BATCH_ARTIFACTS = 50


def ingest_source(
    store: str,
    adapter: str,
    source: str,
    limit: int | None = None,
    columns: dict[str, str] | None = None,
    mapping: dict[str, str] | None = None,
    *,
    read: Callable[..., list[BatchSummary]] | None = None,
) -> Any:
    """Ingest a source, show its counts and refused rows; one dict per file.

    `read`: what replaces `read_source`, a task in a Prefect run.
    """
    with turn(store, "ingest"):
        summaries = (read or read_source)(store, adapter, source, limit, columns, mapping)
    rows = [ingest_row(summary) for summary in summaries]
    show_ingested(source, summaries)
    if rows:
        table_artifact("ingest", rows, f"Ingested {source}")
    for summary in [summary for summary in summaries if not summary.was_finished][:BATCH_ARTIFACTS]:
        report_batch(summary)
    report_refused(store, summaries)
    return done(rows, ingest_message(summaries), cached=all(summary.was_finished for summary in summaries))


def show_ingested(source: str, summaries: list[BatchSummary]) -> None:
    """Show how many rows of each file were accepted or refused, and why rows were refused."""
    names = ("read", "accepted", "present", "quarantined")
    rows = [
        {
            "file": Path(s.source_file).name,
            **{name: getattr(s, name) for name in names},
            "seconds": None if s.was_finished else s.seconds,
            "state": "known" if s.was_finished else "new",
        }
        for s in summaries
    ]
    if len(rows) > 1:
        rows = rows[:BATCH_ARTIFACTS]
        sums = {name: sum(getattr(s, name) for s in summaries) for name in names}
        rows.append(
            {
                "file": f"all {len(summaries):,} files",
                **sums,
                "seconds": sum(s.seconds for s in summaries if not s.was_finished) or None,
                "state": "",
            }
        )
    show_table(
        f"Ingested {source}",
        [{("refused" if k == "quarantined" else k): v for k, v in row.items()} for row in rows],
    )
    skipped = sum((Counter(s.skipped) for s in summaries), Counter())
    if skipped:
        rows = [{"kind": kind, "count": count} for kind, count in skipped.most_common()]
        show_table("Skipped, not read", rows)
    notes = sum((Counter(s.notes) for s in summaries), Counter())
    if notes:
        show_table("Guessed, or not used", [{"rows": n, "note": note} for note, n in notes.most_common()])
    refused = [
        (count, Path(s.source_file).name, reason) for s in summaries for reason, count in s.reasons.items()
    ]
    if refused:
        most = sorted(refused, key=lambda row: -row[0])[:SHOWN_ROWS]
        show_table(
            "Refused, and kept in quarantine",
            [{"rows": n, "file": file, "reason": reason} for n, file, reason in most],
        )


def ingest_message(summaries: list[BatchSummary]) -> str:
    read, accepted, refused = (
        sum(getattr(s, name) for s in summaries) for name in ("read", "accepted", "quarantined")
    )
    reasons = sum((Counter(s.reasons) for s in summaries), Counter())
    why = "; ".join(f"{count:,} {reason}" for reason, count in reasons.most_common(3))
    before = sum(s.was_finished for s in summaries)
    message = f"{read:,} rows read, {accepted:,} accepted, {refused:,} in quarantine" + (
        f" ({why})" if why else ""
    )
    return message + (f"; {before:,} of {len(summaries):,} files were finished before" if before else "")


def report_batch(summary: BatchSummary) -> None:
    """Create an artifact for one batch: counts of its rows, and why rows were refused."""
    counts = [
        {"what": name, "rows": getattr(summary, name)}
        for name in ("read", "accepted", "present", "quarantined")
    ]
    counts += [{"what": f"accepted into {table}", "rows": count} for table, count in summary.rows.items()]
    counts += [{"what": f"refused: {reason}", "rows": count} for reason, count in summary.reasons.items()]
    title = f"{summary.adapter} {summary.source_file}, batch {summary.batch_id}"
    table_artifact(f"ingest-{summary.batch_id}", counts, title)


def report_refused(store: str, summaries: list[BatchSummary]) -> None:
    """Create an artifact with the first refused rows of this ingestion: file, line, field, reason."""
    batches = [summary.batch_id for summary in summaries if summary.quarantined and not summary.was_finished]
    if batches and in_run():
        refused = query_rows(
            store,
            "select source_file as file, source_line as line, coalesce(field, '') as field, reason"
            " from quarantine where list_contains($batches, batch_id) order by all limit $shown",
            {"batches": batches, "shown": SHOWN_ROWS},
        )
        title = f"The first {len(refused)} rows in quarantine; list all with: spo quarantine list"
        table_artifact("ingest-refused", refused, title)


def read_source(
    store: str,
    adapter: str,
    source: str,
    limit: int | None,
    columns: dict[str, str] | None = None,
    mapping: dict[str, str] | None = None,
) -> list[BatchSummary]:
    with progress(f"ingest {Path(source).name}", "kB") as update:
        return ingest(
            Store(store),
            adapter,
            source,
            limit=limit,
            columns=columns,
            mapping=mapping,
            on_progress=lambda p: update(p.bytes_read // 1000, p.bytes_total // 1000),
        )


def ingest_row(summary: BatchSummary) -> dict:
    counts = {name: getattr(summary, name) for name in ("read", "accepted", "present", "quarantined")}
    reasons = ", ".join(f"{reason}: {n}" for reason, n in sorted(summary.reasons.items())) or "-"
    name, state = Path(summary.source_file).name, "finished before" if summary.was_finished else "read"
    return {
        "file": name,
        **counts,
        "refused because": reasons,
        "seconds": round(summary.seconds, 1),
        "batch": state,
    }
