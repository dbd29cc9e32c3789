"""How a store is: sizes, small files, judge errors, what waits, the last batch, free disk; and what
somebody should look at.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.store import COMPACT_AFTER_COMMITS, TABLES, Store, connect, query

FEW_FREE_GB = 5.0
MANY_JUDGE_ERRORS = 0.01  # share of all verdicts

FIGURES = """
select
    (select count(*) from verdicts) as verdicts,
    (select count(*) from verdicts where verdict = 'judge_error') as judge_errors,
    (select count(*) from quarantine) as in_quarantine,
    (select count(*) from trajectories t where not exists
        (select 1 from verdicts v where v.trajectory_id = t.trajectory_id and v.verdict <> 'judge_error')) as without_verdict,
    (select max(finished_at) from batches) as last_batch,
    (select arg_max(source_file, finished_at) from batches) as last_file
"""


def health_of(location: str) -> dict[str, Any]:
    """`tables`: a row a table; `figures`; `warnings`: lines that ask for somebody; `page`: all of it in
    Markdown.
    """
    store = Store(location)
    tables = [{"table": name, **asdict(store.statistics(name))} for name in TABLES]
    tables = [row for row in tables if row["version"] >= 0]
    with connect(store) as connection:
        figures = query(connection, FIGURES).row(0, named=True)
    figures["free_gb"] = free_gb(location)
    warnings = warnings_of(tables, figures)
    return {
        "tables": tables,
        "figures": {name: shown(value) for name, value in figures.items()},
        "warnings": warnings,
        "page": page(figures, warnings),
    }


def free_gb(location: str) -> float | None:
    """Free space where the store lies; None on object storage."""
    if "://" in location:
        return None
    place = next(
        folder for folder in [Path(location).resolve(), *Path(location).resolve().parents] if folder.exists()
    )
    return round(shutil.disk_usage(place).free / 1e9, 1)


def warnings_of(tables: list[dict], figures: dict[str, Any]) -> list[str]:
    found = []
    if figures["verdicts"] and figures["judge_errors"] / figures["verdicts"] > MANY_JUDGE_ERRORS:
        found.append(
            f"{figures['judge_errors']:,} of {figures['verdicts']:,} verdicts are judge errors: spo doctor"
        )
    found += [
        f"{row['table']} lies in {row['files']:,} files: spo store maintain {row['table']}"
        for row in tables
        if row["files"] > COMPACT_AFTER_COMMITS
    ]
    if figures["free_gb"] is not None and figures["free_gb"] < FEW_FREE_GB:
        found.append(
            f"{figures['free_gb']} GB of disk left: spo store maintain --retention-hours 24, or a larger disk"
        )
    return found


def page(figures: dict[str, Any], warnings: list[str]) -> str:
    rows = "\n".join(f"| {name.replace('_', ' ')} | {shown(value)} |" for name, value in figures.items())
    calls = "\n".join(f"* {line}" for line in warnings) or "Nothing asks for attention."
    return f"{calls}\n\n| what | now |\n|---|---|\n{rows}\n\nas of {datetime.now(UTC):%Y-%m-%d %H:%M} UTC\n"


def shown(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M} UTC"
    return f"{value:,}" if isinstance(value, int | float) else str(value)
