"""One record of the store by its id, with what belongs to it: for the pages and for `spo show`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flows.view.connections import row, rows
from pipeline.store import judged_of, view_of

if TYPE_CHECKING:
    import duckdb

Record = dict[str, Any]
# Kind -> table and id column, in the order in which an id is looked up.
RECORD_KINDS = {
    "problem": ("problems", "problem_id"),
    "trajectory": ("trajectories", "trajectory_id"),
    "policy": ("policies", "policy_id"),
    "corpus": ("corpora", "corpus_id"),
    "batch": ("batches", "batch_id"),
    "refused row": ("quarantine", "quarantine_id"),
}
MOST_TRAJECTORIES = 200
MOST_TESTS = 60
TEXT_CHARACTERS = 4_000  # of a test's input and output

# The rows of a corpus are read by its own page.
CORPUS_COLUMNS = """
corpus_id, name, description, query, parameters, reward, pins, len(rows) AS rows, statistics, published_at
"""
TESTS = f"""
SELECT test_id, kind, mode, left(input, {TEXT_CHARACTERS}) AS input, length(input) AS input_characters,
    left(expected_output, {TEXT_CHARACTERS}) AS expected_output,
    length(expected_output) AS output_characters, origin
FROM tests WHERE problem_id = $id ORDER BY position, test_id LIMIT {MOST_TESTS}
"""
# The views below are those of one problem: of all, `judged` alone would sort every verdict of the store.
THEIRS = "problem_id = $id"
RATES = f"""
SELECT policy_id, origin, samples, successes, rate FROM {view_of("problem_success", THEIRS, THEIRS)}
ORDER BY rate DESC, samples DESC, policy_id, origin LIMIT 200
"""
# Programs of one cluster stand together, the cluster with most successes first.
OF_PROBLEM = f"""
WITH chosen AS (
    SELECT trajectory_id, origin, policy_id, policy_step, language, length(program) AS characters,
        claimed_verdict, created_at
    FROM trajectories WHERE problem_id = $id
),
latest AS (
    SELECT trajectory_id, arg_max(cluster_id, pass_number) AS cluster_id, arg_max(level, pass_number) AS level
    FROM duplicates WHERE problem_id = $id GROUP BY trajectory_id
)
SELECT c.*, l.cluster_id, l.level, j.verdict, j.passed, j.total,
    count(*) OVER (PARTITION BY coalesce(l.cluster_id, c.trajectory_id)) AS members
FROM chosen c
LEFT JOIN latest l USING (trajectory_id)
LEFT JOIN {judged_of(THEIRS, THEIRS)} j USING (trajectory_id)
ORDER BY members DESC, coalesce(l.cluster_id, c.trajectory_id), j.verdict IS DISTINCT FROM 'accepted',
    c.trajectory_id
LIMIT {MOST_TRAJECTORIES}
"""
VERDICTS = """
SELECT v.*, v.test_set_hash IS NOT DISTINCT FROM p.test_set_hash AS current
FROM verdicts v LEFT JOIN problems p USING (problem_id) WHERE v.trajectory_id = $id
ORDER BY current DESC, judged_at DESC, attempt DESC LIMIT 20
"""
HUMAN = "problem_id = $problem AND origin = 'human' AND language = $language"
QUALITY = f"SELECT * FROM {view_of('problem_quality', THEIRS, THEIRS)} WHERE problem_id = $id"
NEAREST = f"""
SELECT t.trajectory_id, t.program, t.policy_id, t.language
FROM {judged_of(HUMAN, "problem_id = $problem")} t
WHERE t.verdict = 'accepted' AND t.trajectory_id <> $id
    AND length(t.program) BETWEEN 1 AND 20000
ORDER BY t.trajectory_id LIMIT 200
"""
DUPLICATES = """
WITH latest AS (
    SELECT trajectory_id, arg_max(cluster_id, pass_number) AS cluster_id, arg_max(level, pass_number) AS level
    FROM duplicates WHERE problem_id = $problem GROUP BY trajectory_id
)
SELECT l.trajectory_id, l.level, t.origin, t.policy_id
FROM latest l JOIN trajectories t USING (trajectory_id)
WHERE l.cluster_id = (SELECT cluster_id FROM latest WHERE trajectory_id = $id) AND l.trajectory_id <> $id
ORDER BY l.trajectory_id LIMIT 100
"""
IN_CORPORA = """
SELECT corpus_id, name, published_at FROM corpora WHERE list_contains(rows, $id)
ORDER BY published_at LIMIT 50
"""


def read_record(connection: duckdb.DuckDBPyConnection, identity: str) -> tuple[str, Record] | None:
    """The first kind of record that has this id, and its columns; None if no table has it."""
    for kind in RECORD_KINDS:
        if record := read_one(connection, kind, identity):
            return kind, record
    return None


def read_one(connection: duckdb.DuckDBPyConnection, kind: str, identity: str) -> Record | None:
    """The columns of a record of a known kind; of a corpus the number of its rows instead of them."""
    table, key = RECORD_KINDS[kind]
    columns = CORPUS_COLUMNS if kind == "corpus" else "*"
    return row(connection, f"SELECT {columns} FROM {table} WHERE {key} = $id LIMIT 1", {"id": identity})


def read_problem(connection: duckdb.DuckDBPyConnection, identity: str) -> Record | None:
    """A problem with its tests, pass rates and trajectories; None if the store has no such problem.

    Keys: `problem`, `tests` (the first ones), `rates` (one per policy and origin), `quality`,
    `trajectories` (clusters of duplicates are adjacent).
    """
    problem = read_one(connection, "problem", identity)
    if problem is None:
        return None
    wanted = {"id": identity}
    return {
        "problem": problem,
        "tests": rows(connection, TESTS, wanted),
        "rates": rows(connection, RATES, wanted),
        "quality": row(connection, QUALITY, wanted),
        "trajectories": rows(connection, OF_PROBLEM, wanted),
        "count": row(connection, "SELECT count(*) AS n FROM trajectories WHERE problem_id = $id", wanted),
    }


def read_trajectory(connection: duckdb.DuckDBPyConnection, identity: str) -> Record | None:
    """A trajectory with its verdicts, duplicates and lineage; None if the store has no such trajectory.

    Keys: `trajectory`, `problem`, `verdicts` (the current one first), `failure` (of the first verdict, with
    the test's input and expected output), `duplicates`, `lineage`, `corpora`.
    """
    trajectory = read_one(connection, "trajectory", identity)
    if trajectory is None:
        return None
    wanted = {"id": identity}
    of_problem = wanted | {"problem": trajectory["problem_id"]}
    verdicts = rows(connection, VERDICTS, wanted)
    return {
        "trajectory": trajectory,
        "problem": row(
            connection,
            "SELECT problem_id, title, source, split FROM problems WHERE problem_id = $id",
            {"id": trajectory["problem_id"]},
        ),
        "verdicts": verdicts,
        "failure": first_failure(connection, verdicts),
        "duplicates": rows(connection, DUPLICATES, of_problem),
        "batch": read_one(connection, "batch", trajectory["batch_id"]),
        "corpora": rows(connection, IN_CORPORA, wanted),
    }


def first_failure(connection: duckdb.DuckDBPyConnection, verdicts: list[Record]) -> Record | None:
    """The first failed test of the current verdict: its result, input and expected output. None where no test
    failed.

    `expected_output` is None where the test set has changed since, because the test may be another one.
    """
    if not verdicts or not verdicts[0]["first_failure"]:
        return None
    verdict = verdicts[0]
    results = {one["test_id"]: one for one in verdict["tests"] or []}
    result = results.get(verdict["first_failure"])
    test = row(
        connection,
        f"SELECT * FROM ({TESTS.partition('ORDER BY')[0]}) WHERE test_id = $test",
        {"id": verdict["problem_id"], "test": verdict["first_failure"]},
    )
    if not verdict["current"]:
        test = None
    return {"test_id": verdict["first_failure"], "result": result, "test": test}
