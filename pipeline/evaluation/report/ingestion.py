"""What was ingested and refused: files, sources, and one refused row per kind of reason."""

from __future__ import annotations

from dataclasses import dataclass

import duckdb

from pipeline.evaluation.report.text import decoded
from pipeline.store import query

MOST_FILES, MOST_REASONS = 40, 20

SOURCES = """
SELECT
    p.source, count(*) AS problems, sum(p.test_count)::BIGINT AS tests,
    count(*) FILTER (p.split = 'train') AS train, count(*) FILTER (p.split = 'valid') AS valid,
    count(*) FILTER (p.split = 'test') AS test, count(*) FILTER (p.split = 'none') AS none,
    coalesce(sum(t.trajectories), 0)::BIGINT AS trajectories
FROM problems p
LEFT JOIN (
    SELECT problem_id, count(*) AS trajectories FROM trajectories GROUP BY problem_id
) t USING (problem_id)
GROUP BY p.source ORDER BY problems DESC, p.source
"""

# Reasons end with values and positions; the text before them is the kind.
REASONS = """
WITH kinds AS (
    SELECT *, coalesce(field || ': ', '') || split_part(split_part(reason, ', found ', 1), ': ', 1) AS kind
    FROM quarantine
)
SELECT
    q.source_file, q.kind, count(*) AS refused,
    arg_min(q.reason, q.source_line) AS reason, min(q.source_line) AS line,
    arg_min(q.raw, q.source_line) AS raw
FROM kinds q
GROUP BY q.source_file, q.kind ORDER BY refused DESC, q.source_file, q.kind
"""


@dataclass(frozen=True)
class Ingestion:
    """Rows of this section's tables, and their sums. `files_left` and `reasons_left` count rows that are not
    shown; `balanced`: in each file, accepted + present + quarantined = read.
    """

    files: list[dict]
    totals: dict[str, int]
    sources: list[dict]
    reasons: list[dict]
    files_left: int
    reasons_left: int
    balanced: bool


def ingestion(connection: duckdb.DuckDBPyConnection, rows_in_file: dict[str, int]) -> Ingestion:
    """What the store says about ingestion; `rows_in_file` has the rows of files that were read in part, by
    file name.
    """
    files = query(connection, "SELECT * FROM ingested").to_dicts()
    for file in files:
        whole = file["read"] if file["limit"] is None else None
        file["rows_in_file"] = rows_in_file.get(file["source_file"], whole)
    totals = {
        name: sum(file[name] for file in files) for name in ("read", "accepted", "present", "quarantined")
    }
    reasons = query(connection, REASONS).to_dicts()
    for reason in reasons:
        reason["example"] = decoded(reason.pop("raw"))
    return Ingestion(
        files[:MOST_FILES],
        totals,
        query(connection, SOURCES).to_dicts(),
        reasons[:MOST_REASONS],
        max(0, len(files) - MOST_FILES),
        max(0, len(reasons) - MOST_REASONS),
        all(file["balanced"] for file in files),
    )
