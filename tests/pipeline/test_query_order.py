"""Queries of corpora whose rows can differ from run to run are named, the others are not."""

from pathlib import Path

import pytest

from pipeline.corpora.publication import read_spec
from pipeline.store import SqlError, undetermined

CORPORA = Path(__file__).parents[2] / "data" / "corpora"
SELECT = "SELECT trajectory_id FROM judged"


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        (f"{SELECT} LIMIT 3", "LIMIT without ORDER BY"),
        (f"{SELECT} LIMIT 10%", "LIMIT without ORDER BY"),
        (f"SELECT trajectory_id FROM ({SELECT} LIMIT 3) ORDER BY 1", "LIMIT without ORDER BY"),
        (f"{SELECT} USING SAMPLE 10", "a sample"),
        (f"{SELECT} TABLESAMPLE 10%", "a sample"),
        ("SELECT any_value(trajectory_id) FROM judged GROUP BY problem_id", "any_value()"),
        (f"{SELECT} WHERE random() < 0.5", "random()"),
        (f"{SELECT} QUALIFY row_number() OVER (PARTITION BY problem_id) = 1", "row_number() over rows"),
        (f"{SELECT} QUALIFY lag(verdict) OVER () = 'accepted'", "lag() over rows"),
        ("SELECT DISTINCT ON (problem_id) trajectory_id FROM judged", "DISTINCT ON without ORDER BY"),
        (f"{SELECT} ORDER BY cpu_s LIMIT 3", "LIMIT with ORDER BY cpu_s"),
        (f"{SELECT} ORDER BY origin, cpu_s + 1 LIMIT 3", "LIMIT with ORDER BY origin, cpu_s"),
        ("SELECT DISTINCT ON (origin) trajectory_id FROM judged ORDER BY cpu_s", "DISTINCT ON with ORDER BY"),
    ],
)
def test_undetermined(query, reason):
    assert undetermined(query).startswith(reason)


@pytest.mark.parametrize(
    "query",
    [
        SELECT,
        f"{SELECT} ORDER BY trajectory_id LIMIT 3",
        "SELECT first(trajectory_id ORDER BY policy_step) FROM judged GROUP BY problem_id",
        "SELECT min(trajectory_id) FROM judged GROUP BY problem_id",
        "SELECT DISTINCT trajectory_id FROM judged",
        "SELECT DISTINCT ON (problem_id) trajectory_id FROM judged ORDER BY cpu_s, trajectory_id",
        f"{SELECT} QUALIFY row_number() OVER (PARTITION BY problem_id ORDER BY trajectory_id) = 1",
        f"{SELECT} QUALIFY count(*) OVER (PARTITION BY problem_id) > 1",
        f"{SELECT} ORDER BY hash(trajectory_id) LIMIT 3",
        f"{SELECT} ORDER BY ALL LIMIT 3",
        f"{SELECT} ORDER BY 1 LIMIT 3",
        *[read_spec(path).query for path in sorted(CORPORA.iterdir())],
    ],
)
def test_determined(query):
    assert undetermined(query) is None


def test_a_text_that_is_not_a_select():
    with pytest.raises(SqlError):
        undetermined("DELETE FROM judged")
