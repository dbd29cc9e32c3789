"""The view `judged` for a part of the store, and the verdict that holds for each trajectory.

The view decides which verdict of a trajectory holds before conditions on other columns apply, so each query
of it sorts all verdicts. `judged_of` gives the same rows for some trajectories and sorts their verdicts only;
`VERDICT_OF_EACH` sorts only the verdicts of trajectories that have several.
"""

from __future__ import annotations

from pathlib import Path

VIEWS = Path(__file__).parent / "views"
JUDGED = (VIEWS / "judged.sql").read_text()


def judged_of(condition: str, of_verdicts: str | None = None) -> str:
    """A query in brackets: rows of `judged` for the trajectories that fulfil an SQL condition on columns of
    `trajectories`. `of_verdicts`: a condition on columns of `verdicts` that all of theirs fulfil, such as one
    on `problem_id`, which spares looking for their ids among all.
    """
    chosen = f"(SELECT * FROM trajectories WHERE {condition}) t"
    theirs = of_verdicts or f"trajectory_id IN (SELECT trajectory_id FROM trajectories WHERE {condition})"
    query = JUDGED.replace("FROM trajectories t\n", f"FROM {chosen}\n")
    query = query.replace("FROM verdicts v\n", f"FROM (SELECT * FROM verdicts WHERE {theirs}) v\n")
    return f"({query})"


def view_of(name: str, condition: str, of_verdicts: str | None = None) -> str:
    """A query in brackets: the ready view of that name, of the trajectories that fulfil a condition alone."""
    text = (VIEWS / f"{name}.sql").read_text()
    before, found, after = text.partition("FROM judged\n")
    if not found:
        raise ValueError(f"{name} does not read judged")
    return f"({before}FROM {judged_of(condition, of_verdicts)}\n{after})"


# Columns trajectory_id and verdict, that of the program: `judged` has another one where the completion was
# cut (`CUT_VERDICT`). Trajectories that have several verdicts are known by a hash: where two share one, the
# view decides, which gives the same.
VERDICT_OF_EACH = f"""(
WITH several AS MATERIALIZED (
    SELECT hash(trajectory_id) AS id_hash FROM verdicts WHERE verdict <> 'judge_error'
    GROUP BY id_hash HAVING count(*) > 1
)
SELECT trajectory_id, verdict FROM verdicts ANTI JOIN several ON hash(trajectory_id) = id_hash
WHERE verdict <> 'judge_error'
UNION ALL
SELECT trajectory_id, program_verdict
FROM {judged_of("hash(trajectory_id) IN (SELECT id_hash FROM several)")}
)"""

# The verdict of `judged`, of a row of `trajectories` t and its program's verdict v.
CUT_VERDICT = (
    "CASE WHEN v.verdict = 'accepted' AND t.finish_reason = 'length' THEN 'wrong_answer' ELSE v.verdict END"
)
