"""Health of a store: sizes, small files, judge errors, unjudged rows, last batch, free disk, and warnings."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.store import COMPACT_AFTER_COMMITS, TABLES, Store, connect, query

LOW_FREE_GB = 5.0
HIGH_JUDGE_ERROR_SHARE = 0.01  # of all verdicts

FIGURES = """
select
    (select count(*) from verdicts) as verdicts,
    (select count(*) from verdicts where verdict = 'judge_error') as judge_errors,
    (select count(*) from quarantine) as in_quarantine,
    (select count(*) from trajectories t where not exists (
        select 1 from verdicts v where v.trajectory_id = t.trajectory_id and v.verdict <> 'judge_error'
    )) as without_verdict,
    (select max(finished_at) from batches) as last_batch,
    (select arg_max(source_file, finished_at) from batches) as last_file
"""


def store_health(location: str) -> dict[str, Any]:
    """Examine a store. Returns `tables`, one row per table; `figures`; `warnings`, one line each; and `page`,
    a summary in Markdown.
    """
    store = Store(location)
    tables = [{"table": name, **asdict(store.statistics(name))} for name in TABLES]
    tables = [row for row in tables if row["version"] >= 0]
    with connect(store) as connection:
        figures = query(connection, FIGURES).row(0, named=True)
    figures["free_gb"] = free_gb(location)
    warnings = find_warnings(tables, figures)
    return {
        "tables": tables,
        "figures": {name: formatted(value) for name, value in figures.items()},
        "warnings": warnings,
        "page": health_page(figures, warnings),
    }


def free_gb(location: str) -> float | None:
    """Free disk space of the store's file system in GB; None on object storage."""
    if "://" in location:
        return None
    existing = next(
        folder for folder in [Path(location).resolve(), *Path(location).resolve().parents] if folder.exists()
    )
    return round(shutil.disk_usage(existing).free / 1e9, 1)


def find_warnings(tables: list[dict], figures: dict[str, Any]) -> list[str]:
    """One line per problem of a store, with the command that fixes it."""
    warnings = []
    if figures["verdicts"] and figures["judge_errors"] / figures["verdicts"] > HIGH_JUDGE_ERROR_SHARE:
        warnings.append(
            f"{figures['judge_errors']:,} of {figures['verdicts']:,} verdicts are judge errors: spo doctor"
        )
    warnings += [
        f"{row['table']} has {row['files']:,} files: spo store maintain {row['table']}"
        for row in tables
        if row["files"] > COMPACT_AFTER_COMMITS
    ]
    if figures["free_gb"] is not None and figures["free_gb"] < LOW_FREE_GB:
        warnings.append(
            f"{figures['free_gb']} GB of disk left: spo store maintain --retention-hours 24, or a larger disk"
        )
    return warnings


def health_page(figures: dict[str, Any], warnings: list[str]) -> str:
    rows = "\n".join(f"| {name.replace('_', ' ')} | {formatted(value)} |" for name, value in figures.items())
    lines = "\n".join(f"* {line}" for line in warnings) or "No warnings."
    time = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    return f"{lines}\n\n| figure | value |\n|---|---|\n{rows}\n\nas of {time}\n"


def formatted(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M} UTC"
    return f"{value:,}" if isinstance(value, int | float) else str(value)
