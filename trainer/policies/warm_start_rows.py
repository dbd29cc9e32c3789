"""What a warm start trains on: correct programs of the store, with the problems that they solve."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.store import Store, connect, predicate, query
from trainer.policies.problems import Problem, in_language, read_problems

LANGUAGE = "python3"

SELECTED = """
with eligible as (select problem_id from problems where {problems}),
selected as (
    select problem_id from eligible
    order by md5(problem_id) limit (select round($share * count(*)) from eligible)
)
select j.problem_id, j.program
from judged j join selected using (problem_id)
where {where} and j.language = $language and j.verdict = 'accepted'
qualify row_number() over (partition by j.problem_id order by j.trajectory_id) <= $per_problem
order by j.problem_id, j.trajectory_id
"""

TEXTS = """
select statement as text from problems where {problems}
union all
select j.program from judged j
where {where} and j.language = $language and j.verdict = 'accepted'
    and j.problem_id in (select problem_id from problems where {problems})
"""


@dataclass(frozen=True)
class SolvedRows:
    """Which correct programs are taken: of at most a `share` of the problems, selected by hash, so that the
    others are left to RL; `per_problem` of each. `problems` is a condition on `problems`, `where` one on
    `judged` with the alias j.
    """

    problems: str = "split = 'train'"
    where: str = "true"
    share: float = 1.0
    per_problem: int = 2

    def pairs(self, store: Store) -> list[tuple[Problem, str]]:
        """(problem, program), in order of their ids. Raises SqlError for a wrong condition."""
        values = {"share": self.share, "per_problem": self.per_problem, "language": LANGUAGE}
        with connect(store) as connection:
            rows = query(connection, self._filled(SELECTED), values)
            problems = read_problems(connection, rows["problem_id"])
        asked = {name: in_language(problem, LANGUAGE) for name, problem in problems.items()}
        return [(asked[name], program) for name, program in rows.iter_rows()]

    def texts(self, store: Store) -> list[str]:
        """Statements of all eligible problems and their correct programs, sorted: what a tokenizer is made
        from.
        """
        with connect(store) as connection:
            return sorted(query(connection, self._filled(TEXTS), {"language": LANGUAGE})["text"].to_list())

    def _filled(self, text: str) -> str:
        return text.format(
            problems=predicate(self.problems, name="problems"), where=predicate(self.where, name="where")
        )
