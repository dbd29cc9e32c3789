"""Which problems a policy may be asked to solve: those that can be judged, without a reason in
`problems.not_sampled`.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from pipeline.later import later
from pipeline.store.sql import query

if TYPE_CHECKING:
    import duckdb
else:
    duckdb = later("duckdb")

# Why a problem is not sampled, in SQL on `problems`; null for one that may be.
REASON = """case
    when not_sampled is not null then split_part(not_sampled, ':', 1)
    when checker = 'custom' and programs is null then 'its source has no checker program'
    when problem_id not in (select problem_id from tests) then 'it has no tests'
end"""
MAY_BE_SAMPLED = f"({REASON}) is null"
MOST_REASONS = 3
logger = logging.getLogger(__name__)


def report_not_sampled(
    connection: duckdb.DuckDBPyConnection, condition: str, values: dict[str, Any] | None = None
) -> int:
    """Log how many problems a condition (SQL on `problems`) selects that may not be sampled, and why.

    Returns the number. `condition` has been through `predicate`.
    """
    reasons = query(
        connection,
        f"select {REASON} as reason, count(*) as problems from problems"
        f" where {condition} and not ({MAY_BE_SAMPLED}) group by reason order by problems desc, reason",
        values,
    )
    total = int(reasons["problems"].sum())
    if total:
        shown = ", ".join(f"{reason} ({count})" for reason, count in reasons.head(MOST_REASONS).iter_rows())
        logger.warning("%s problems are left out, because they are not sampled: %s", f"{total:,}", shown)
    return total
