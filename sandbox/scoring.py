"""Scores of problems whose submissions earn points: from the results of tests to one number.

Two sets of rules (https://www.kattis.com/problem-package-format/): `grader` is the default grader of the
legacy format, in which every folder of tests is a group; `aggregation` is that of 2025-09, in which the
secret tests have groups with a largest score. A group is named after the folder of its tests; "" is all
tests. Groups of the legacy format may have a grader program of the package instead of the default grader.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

SCORE_MODES = ("sum", "avg", "min", "max")
VERDICT_MODES = ("worst_error", "no_errors", "first_error", "always_accept")
GRADER_FLAGS = (*SCORE_MODES, *VERDICT_MODES, "ignore_sample", "accept_if_any_accepted")
SECRET, SAMPLE = "secret", "sample"
# What graders call verdicts.
SHORT = {"accepted": "AC", "wrong_answer": "WA", "output_limit_exceeded": "WA", "time_limit_exceeded": "TLE"}
OTHERS = "RTE"
WORST_FIRST = ("JE", "RTE", "TLE", "WA")

Graded = tuple[str, float]  # a short verdict, and a score
# (flags, results of the tests and groups in a group) -> the result of the group
Grade = Callable[[tuple[str, ...], tuple[Graded, ...]], Graded]


class Scored(Protocol):
    """What scoring needs of a test's result: `score` and `multiplier` are what its validator wrote."""

    @property
    def verdict(self) -> str: ...
    @property
    def score(self) -> float | None: ...
    @property
    def multiplier(self) -> float | None: ...


@dataclass(frozen=True)
class Group:
    """The rules of one group. `grader` rules read the first six fields, `aggregation` rules the others.

    `custom`: the grader program decides, and `flags` are its own words. `max_score` None: unbounded.
    `require_pass`: groups whose tests must all be accepted before this one.
    """

    path: str
    on_reject: Literal["break", "continue"] = "break"
    flags: tuple[str, ...] = ()
    accept_score: float = 1.0
    reject_score: float = 0.0
    custom: bool = False
    aggregation: Literal["pass-fail", "sum", "min"] = "sum"
    max_score: float | None = None
    require_pass: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        unknown = [flag for flag in self.flags if flag not in GRADER_FLAGS and not self.custom]
        if unknown:
            raise ValueError(f"the default grader has no flag {unknown[0][:40]!r}; there are: {GRADER_FLAGS}")


@dataclass(frozen=True)
class GraderProgram:
    """A program that reads a line `verdict score` per test or group in a group, and prints one for it.
    `files` are (path, text) beside it; its language may be the script `build` or `run`.
    """

    program: str
    language: str
    files: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Scoring:
    """How a problem's tests become a score. `grade` of the methods runs the grader program."""

    rules: Literal["grader", "aggregation"]
    groups: tuple[Group, ...] = ()
    grader: GraderProgram | None = None

    def group(self, path: str) -> Group:
        return next((group for group in self.groups if group.path == path), Group(path))

    def score(
        self, test_ids: Sequence[str], results: Mapping[str, Scored], grade: Grade | None = None
    ) -> float | None:
        """The score of a submission with these results; None where it has none, also after a judge error."""
        if any(result.verdict == "judge_error" for result in results.values()):
            return None
        if self.rules == "aggregation":
            return self._aggregate(test_ids, results)
        verdict, score = self._grade("", test_ids, results, grade)
        return score if verdict == SHORT["accepted"] else None

    def skips(
        self,
        test_id: str,
        test_ids: Sequence[str],
        results: Mapping[str, Scored],
        grade: Grade | None = None,
    ) -> bool:
        """Whether a test need not run, after these results of the tests before it."""
        if self.rules == "aggregation":
            return self._requires_more(test_id, test_ids, results)
        parts = test_id.split("/")
        for depth in range(len(parts)):
            path = "/".join(parts[:depth])
            if self.group(path).on_reject == "break":
                before = children(path, test_ids)
                before = before[: before.index("/".join(parts[: depth + 1]))]
                grades = (self._result(child, test_ids, results, path, grade)[0] for child in before)
                if any(verdict != SHORT["accepted"] for verdict in grades):
                    return True
        return False

    def _grade(
        self, path: str, test_ids: Sequence[str], results: Mapping[str, Scored], grade: Grade | None
    ) -> Graded:
        """The result of a group by its grader."""
        group = self.group(path)
        grades: list[Graded] = []
        for child in children(path, test_ids):
            if child in test_ids and child not in results:
                break
            grades.append(self._result(child, test_ids, results, path, grade))
            if grades[-1][0] != SHORT["accepted"] and group.on_reject == "break":
                break
        if group.custom:
            if grade is None:
                raise ValueError(f"the group {path!r} has a grader program, which nobody runs")
            return grade(group.flags, tuple(grades))
        return graded_by_default(group, grades)

    def _result(
        self,
        child: str,
        test_ids: Sequence[str],
        results: Mapping[str, Scored],
        path: str,
        grade: Grade | None,
    ) -> Graded:
        if child not in test_ids:
            return self._grade(child, test_ids, results, grade)
        result = results.get(child)
        group = self.group(path)
        verdict = SHORT.get(result.verdict, OTHERS) if result is not None else OTHERS
        if result is not None and result.score is not None:
            return verdict, result.score
        return verdict, group.accept_score if verdict == SHORT["accepted"] else group.reject_score

    def _aggregate(self, test_ids: Sequence[str], results: Mapping[str, Scored]) -> float | None:
        groups = [group for group in self.groups if group.path.startswith(f"{SECRET}/")]
        secret = self.group(SECRET)
        if secret.aggregation == "pass-fail":
            return secret.max_score if self._passes(SECRET, test_ids, results) else 0.0
        if not groups:
            return self._of_tests(secret, test_ids, results)
        scores = [self._of_tests(group, test_ids, results) for group in groups]
        if any(score is None for score in scores):
            return None
        return combined([score or 0.0 for score in scores], secret.aggregation)

    def _of_tests(self, group: Group, test_ids: Sequence[str], results: Mapping[str, Scored]) -> float | None:
        own = below(group.path, test_ids)
        if not all(self._passes(name, test_ids, results) for name in group.require_pass):
            return 0.0
        if group.aggregation == "pass-fail":
            return group.max_score if self._passes(group.path, test_ids, results) else 0.0
        largest = group.max_score
        if largest is not None and group.aggregation == "sum":
            largest /= max(len(own), 1)
        scores = [points(results.get(name), largest) for name in own]
        if any(score is None for score in scores):
            return None
        return combined([score or 0.0 for score in scores], group.aggregation)

    def _requires_more(self, test_id: str, test_ids: Sequence[str], results: Mapping[str, Scored]) -> bool:
        groups = [group for group in self.groups if test_id.startswith(f"{group.path}/")]
        for group in groups:
            if not all(self._passes(name, test_ids, results) for name in group.require_pass):
                return True
            own = [results[name] for name in below(group.path, test_ids) if name in results]
            if group.aggregation == "pass-fail" and any(one.verdict != "accepted" for one in own):
                return True
        return False

    def _passes(self, path: str, test_ids: Sequence[str], results: Mapping[str, Scored]) -> bool:
        return all(name in results and results[name].verdict == "accepted" for name in below(path, test_ids))


def graded_by_default(group: Group, grades: list[Graded]) -> Graded:
    """The result of a group by the default grader with the group's flags."""
    if "ignore_sample" in group.flags and not group.path:
        grades = grades[-1:]
    failures = [verdict for verdict, _ in grades if verdict != SHORT["accepted"]]
    rule = next((flag for flag in reversed(group.flags) if flag in VERDICT_MODES), "worst_error")
    is_accepted = (
        rule == "always_accept"
        or not failures
        or ("accept_if_any_accepted" in group.flags and len(failures) < len(grades))
    )
    mode = next((flag for flag in reversed(group.flags) if flag in SCORE_MODES), "sum")
    if rule == "worst_error":
        failures.sort(key=WORST_FIRST.index)
    verdict = SHORT["accepted"] if is_accepted else failures[0]
    return verdict, combined([score for _, score in grades], mode)


def children(path: str, test_ids: Sequence[str]) -> list[str]:
    """The tests and groups directly in a group, in their order."""
    prefix = f"{path}/" if path else ""
    names = {prefix + name[len(prefix) :].split("/")[0] for name in test_ids if name.startswith(prefix)}
    return sorted(names)


def below(path: str, test_ids: Sequence[str]) -> list[str]:
    return [name for name in test_ids if name.startswith(f"{path}/")]


def points(result: Scored | None, largest: float | None) -> float | None:
    """The score of a test; None where its validator should have written one and did not."""
    if result is None or result.verdict != "accepted":
        return 0.0
    if result.multiplier is not None and largest is not None:
        return result.multiplier * largest
    return result.score if result.score is not None else largest


def combined(scores: Sequence[float], mode: str) -> float:
    if not scores:
        return 0.0
    if mode == "avg":
        return sum(scores) / len(scores)
    return float(sum(scores) if mode == "sum" else min(scores) if mode == "min" else max(scores))
