"""Time limits of problems whose package states none: derived from the package's accepted submissions.

Problem packages may leave the limit to the judge: the slowest accepted submission times a factor, rounded up
to a multiple of a resolution (https://www.kattis.com/problem-package-format/, "Problem timing"). So the
accepted submissions are judged first, within MEASURING_LIMIT_S; the others get the limit that follows. From
version 2025-09 on, a rule names its submissions: all that may not be too slow, also wrong ones.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable

from pipeline.store import Store

MEASURING_LIMIT_S = 60.0
# Which submissions set the limit of their problem: t is `trajectories`, p is `problems`.
SETS_LIMIT = (
    "(p.time_limit_s is null and p.time_limit_rule is not null and t.batch_id = p.batch_id"
    " and t.origin = 'human' and case when json_exists(p.time_limit_rule, '$.submissions')"
    " then list_contains(json_extract_string(p.time_limit_rule, '$.submissions[*]'), t.source_key)"
    " else t.claimed_verdict is not distinct from 'accepted' end)"
)
SLOWEST = f"""
select p.problem_id, p.time_limit_rule, max(v.cpu_s) as slowest_s
from problems p
join trajectories t using (problem_id)
join verdicts v using (trajectory_id)
where {SETS_LIMIT} and (v.verdict = t.claimed_verdict or list_contains(t.claimed_verdicts, v.verdict))
  and v.test_set_hash = p.test_set_hash
  and list_contains($problem_ids, p.problem_id)
group by all
"""


def derived_limits(store: Store, problem_ids: Iterable[str]) -> dict[str, float]:
    """{problem_id: CPU seconds per test} of the problems whose limit follows from stored verdicts."""
    # Imported here: most problems state their limit, and `spo judge` then runs no query.
    from pipeline.store import connect_for, query

    with connect_for(store, SLOWEST) as connection:
        rows = query(connection, SLOWEST, {"problem_ids": list(problem_ids)})
    return {name: limit_s(slowest_s, rule) for name, rule, slowest_s in rows.iter_rows()}


def limit_s(slowest_s: float, rule: str) -> float:
    """The smallest multiple of the rule's resolution that is its factor times `slowest_s`, or more."""
    values = json.loads(rule)
    resolution = values["resolution_s"]
    return float(max(1, math.ceil(slowest_s * values["factor"] / resolution)) * resolution)
