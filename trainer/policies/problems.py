"""Problems as a policy is asked them: the statement, and what else it has to know.

Most function problems name the callable that their tests use nowhere in the statement, and a program that is
judged by stdin looks different from one that is called. So a prompt is made from the whole problem.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import polars as pl

from pipeline.store import Store, connect_for, query

PYTHON = "python3"
MOST_SAMPLES = 3
LONGEST_SAMPLE = 1000  # characters of input and output together
NAMED_BY = 3  # tests that name what they call

PROBLEMS = """
with samples as (
    select problem_id, list({input: input, output: expected_output} order by position) as samples
    from tests
    where kind = 'public' and mode in ('stdin', 'assert') and problem_id in (select unnest($ids::varchar[]))
        and length(input) + coalesce(length(expected_output), 0) <= $longest
    group by problem_id
),
asserts as (
    select problem_id, list(input order by kind desc, position)[:$named_by] as asserts
    from tests where mode = 'assert' and problem_id in (select unnest($ids::varchar[]))
    group by problem_id
)
select p.problem_id, p.statement, p.input_mode, p.entry_point, p.starter_code, s.samples, a.asserts
from problems p left join samples s using (problem_id) left join asserts a using (problem_id)
where p.problem_id in (select unnest($ids::varchar[]))
"""


class Example(NamedTuple):
    """A test that may be shown: standard input and output, or the code of a function test."""

    input: str
    output: str


@dataclass(frozen=True)
class Judging:
    """How a problem is judged, beside its statement."""

    mode: Literal["stdin", "function"] = "stdin"
    entry_point: str = ""  # function problems: what the tests call, e.g. `Solution().twoSum`
    stub: str = ""  # function problems: the code that is to be completed
    samples: tuple[Example, ...] = ()  # public tests that the statement does not show itself
    language: str = PYTHON


@dataclass(frozen=True)
class Problem:
    """A statement, and how programs for it are judged: by stdin, if nothing else is said."""

    statement: str
    judging: Judging = Judging()


def as_problem(asked: Problem | str) -> Problem:
    """A statement alone as a problem that is judged by stdin."""
    return asked if isinstance(asked, Problem) else Problem(asked)


def read_problems(connection: Any, problem_ids: Sequence[str] | pl.Series) -> dict[str, Problem]:
    """The problems with these ids by id; those that the store lacks are missing."""
    values = {"ids": list(dict.fromkeys(problem_ids)), "longest": LONGEST_SAMPLE, "named_by": NAMED_BY}
    return {row["problem_id"]: _problem(row) for row in query(connection, PROBLEMS, values).to_dicts()}


def in_language(problem: Problem, language: str) -> Problem:
    """The problem as it is asked for a program in a language. Raises ValueError for a function problem in
    another language than Python, whose tests could not call it.
    """
    if problem.judging.mode == "function" and language != PYTHON:
        raise ValueError(
            f"a function problem is judged in Python, not in {language}; select problems with"
            " input_mode = 'stdin'"
        )
    return replace(problem, judging=replace(problem.judging, language=language))


def problems_of(store: Store, rows: pl.DataFrame, language: str = PYTHON) -> list[Problem]:
    """The problem of each row (columns problem_id, statement), or its statement alone if the store lacks the
    problem. Opens a connection: ask for all rows at once. Raises ValueError as `in_language`.
    """
    with connect_for(store, PROBLEMS) as connection:
        known = read_problems(connection, rows["problem_id"])
    asked = zip(rows["problem_id"].to_list(), rows["statement"].to_list(), strict=True)
    problems = [known.get(problem_id) or Problem(statement) for problem_id, statement in asked]
    return [in_language(problem, language) for problem in problems]


def _problem(row: dict[str, Any]) -> Problem:
    statement, shown = row["statement"], []
    for sample in row["samples"] or ():
        example = Example(sample["input"], sample["output"] or "")
        if example.input.strip() not in statement:
            shown.append(example)
    return Problem(
        statement,
        Judging(
            mode=row["input_mode"],
            entry_point=row["entry_point"] or called_name(row["asserts"] or ()),
            stub=row["starter_code"] or "",
            samples=tuple(shown[:MOST_SAMPLES]),
        ),
    )


def called_name(asserts: Sequence[str]) -> str:
    """The one function that all of these tests call; empty if that is not certain. Python's own functions
    count only where no other is called: some problems ask for one of that name.
    """
    try:
        calls = [_called_in(text) for text in asserts]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ""
    common = set.intersection(*calls) if calls else set()
    own = {name for name in common if not hasattr(builtins, name)}
    candidates = own or common
    return candidates.pop() if len(candidates) == 1 else ""


def _called_in(text: str) -> set[str]:
    return {
        node.func.id
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
