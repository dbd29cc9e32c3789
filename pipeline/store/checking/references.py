"""References between the tables of a store."""

from __future__ import annotations

from pipeline.store.checking.report import CheckReport, Finding
from pipeline.store.ledger import ledger_of
from pipeline.store.sql import connect, query
from pipeline.store.store import Store
from pipeline.store.tables import TABLES

# A row of the first table names a row of the second one, which is committed before it.
REFERENCES = (
    ("trajectories", "problem_id", "problems", "problem_id"),
    ("verdicts", "problem_id", "problems", "problem_id"),
    ("duplicates", "trajectory_id", "trajectories", "trajectory_id"),
    ("duplicates", "representative_id", "trajectories", "trajectory_id"),
)


def check_references(store: Store, report: CheckReport) -> None:
    """Keys that two rows share, rows that name a missing row, and batches with fewer rows than they count."""
    findings = faulty_references(store)
    if findings:
        # A writer may have committed between two looks of the first pass; what is wrong stays wrong.
        again = {(one.table, one.where) for one in faulty_references(store)}
        findings = [one for one in findings if (one.table, one.where) in again]
    report.findings += findings


def faulty_references(store: Store) -> list[Finding]:
    # Later tables name rows of earlier ones: their versions are read first, so that no row is newer than what
    # it names.
    pins = {name: store.version(name) for name in reversed(TABLES)}
    with connect(store, pins) as connection:
        counts = ledger_of(store, connection).details
        findings = [Finding("", "rows", what, f"{count} rows") for what, count in counts.items()]
        for name, column, other, key in REFERENCES:
            missing = query(
                connection,
                f"select count(*) as rows, min(t.{column}) as example from {name} t"
                f" where not exists (select 1 from {other} o where o.{key} = t.{column})",
            )
            if missing["rows"][0]:
                where = f"{column} {missing['example'][0]}"
                what = f"is not in {other}: {missing['rows'][0]} rows"
                findings.append(Finding(name, "reference", where, what))
    return findings
