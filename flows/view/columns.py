"""What the explorer knows of columns: which to show at first, count, and search, and where a value leads."""

from __future__ import annotations

from typing import Any

# The columns of wide tables that are shown at first, in this order.
SHORT = {
    "problems": [
        "problem_id",
        "title",
        "source",
        "split",
        "input_mode",
        "checker",
        "difficulty",
        "tags",
        "test_count",
    ],
    "tests": ["problem_id", "test_id", "position", "kind", "mode", "input", "expected_output"],
    "trajectories": [
        "trajectory_id",
        "problem_id",
        "origin",
        "policy_id",
        "policy_step",
        "language",
        "program",
        "finish_reason",
        "claimed_verdict",
        "created_at",
    ],
    "judged": [
        "trajectory_id",
        "verdict",
        "passed",
        "total",
        "problem_id",
        "policy_id",
        "origin",
        "policy_step",
        "language",
        "program",
        "first_failure",
        "cpu_s",
    ],
    "verdicts": [
        "trajectory_id",
        "problem_id",
        "verdict",
        "passed",
        "total",
        "first_failure",
        "cpu_s",
        "memory_mb",
        "judge_version",
        "judged_at",
    ],
    "quarantine": ["quarantine_id", "adapter", "source_file", "source_line", "field", "reason", "raw"],
    "corpora": ["corpus_id", "name", "description", "reward", "rows", "statistics", "published_at"],
}
# Columns of few values, in the order in which their counts are shown.
FACETS = tuple(
    [
        "verdict",
        "origin",
        "policy_id",
        "language",
        "source",
        "split",
        "claimed_verdict",
        "finish_reason",
        "kind",
        "mode",
        "input_mode",
        "checker",
        "difficulty",
        "level",
        "tie",
        "evidence",
        "adapter",
        "field",
        "reason",
        "reference",
        "judge_version",
        "tier",
        "flag",
        "in_table",
    ]
)
# Texts that the search looks at.
SEARCHED = [
    "title",
    "statement",
    "program",
    "completion",
    "input",
    "expected_output",
    "reason",
    "raw",
    "name",
    "description",
]
# Long texts, which sorted pages of large tables leave out.
TEXTS = frozenset({"statement", "program", "completion", "prompt", "input", "expected_output", "raw", "rows"})
# Views in which these columns identify a row.
UNIQUE = {
    **{name: ["trajectory_id"] for name in ("judged", "clusters", "deduplicated", "representatives")},
    **{name: ["problem_id"] for name in ("problem_quality", "problem_properties")},
    "clean_trajectories": ["trajectory_id"],
}
CELL_CHARACTERS = 160
CELL_ITEMS = 12
NUMERIC = frozenset({"INTEGER", "BIGINT", "UBIGINT", "HUGEINT", "FLOAT", "DOUBLE"})
NUMBERS = ("INTEGER[]", "BIGINT[]", "FLOAT[]", "DOUBLE[]")
# The page of a value, by column: path and parameter.
PAGES = {
    "problem_id": "problem",
    "evaluation_problem_id": "problem",
    "trajectory_id": "trajectory",
    "representative_id": "trajectory",
    "corpus_id": "corpus",
    "policy_id": "policy",
    "parent_id": "policy",
    "batch_id": "batch",
    "quarantine_id": "refused",
}


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def is_scalar(kind: str) -> bool:
    """Whether values of a type have an order that a page can follow."""
    return not kind.endswith("]") and not kind.startswith(("STRUCT", "MAP", "UNION")) and kind != "BLOB"


def is_numeric(kind: str) -> bool:
    """Whether values of a type are numbers, which a table aligns to the right."""
    return kind in NUMERIC


def shown_expression(name: str, kind: str) -> str:
    """SQL that shortens a value for a cell."""
    column = quoted(name)
    if kind in NUMBERS:
        return f"CASE WHEN {column} IS NOT NULL THEN len({column}) || ' numbers' END"
    if kind.endswith("]"):
        return f"left(CAST(to_json({column}[1:{CELL_ITEMS}]) AS VARCHAR), {CELL_CHARACTERS})"
    if kind == "VARCHAR":
        return f"left({column}, {CELL_CHARACTERS})"
    return column if is_scalar(kind) else f"left(CAST({column} AS VARCHAR), {CELL_CHARACTERS})"


def page_of(column: str, value: Any) -> tuple[str, str] | None:
    """The page that shows a value, and the id to give it; None for a value without a page.

    Clusters of programs and of problems have ids of the same name: only the former are trajectories, and no
    cell says which, so a cluster has none.
    """
    if not isinstance(value, str) or not value or column not in PAGES:
        return None
    if column == "policy_id" and value == "human":
        return None
    return PAGES[column], value
