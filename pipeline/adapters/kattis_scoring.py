"""How a Kattis package scores submissions, for `problems.scoring`.

Legacy: `grader_flags`, `on_reject`, `accept_score` and `reject_score` of testdata.yaml, inherited by the
folders below, and `grading` of problem.yaml. Later versions: `score_aggregation`, `max_score` and
`require_pass` of test_group.yaml. A grader program (`grading: custom`) is in `problems.programs`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from pipeline.adapters.kattis_tests import Groups, words_of
from sandbox.scoring import SECRET, Group, Scoring

ON_REJECT = {"break": "break", "continue": "continue", "first_error": "break", "grade": "continue"}
AGGREGATIONS = ("pass-fail", "sum", "min")
LEGACY_KEYS = ("on_reject", "grading", "grader_flags", "accept_score", "reject_score")
GRADINGS = ("default", "custom")
LARGEST_SCORE = 100.0


def scoring_column(
    settings: dict[str, Any], groups: Groups, test_ids: list[str], has_grader: bool
) -> str | None:
    """`problems.scoring` of a package, which may bring a grader program; None if it does not score. Raises
    ValueError.
    """
    if "scoring" not in words_of(settings.get("type"), "type"):
        return None
    if is_legacy(settings):
        scoring = legacy_scoring(settings, groups, test_ids, has_grader)
    else:
        scoring = Scoring("aggregation", tuple(aggregation_groups(groups, test_ids)))
    return json.dumps(asdict(scoring))


def is_legacy(settings: dict[str, Any]) -> bool:
    return str(settings.get("problem_format_version", "legacy")).startswith("legacy")


def legacy_scoring(
    settings: dict[str, Any], groups: Groups, test_ids: list[str], has_grader: bool
) -> Scoring:
    """The rules for every folder of tests. Raises ValueError."""
    of_problem = settings.get("grading") or {}
    if not isinstance(of_problem, dict):
        raise ValueError("grading in problem.yaml is not a mapping")
    test_groups = []
    for path in folders_of(test_ids):
        config: dict[str, Any] = {}
        parts = path.split("/") if path else []
        for depth in range(len(parts) + 1):
            folder = "/".join(["data", *parts[:depth]])
            config |= groups.get(f"{folder}/testdata.yaml", {})
        config |= {key: of_problem[key] for key in LEGACY_KEYS if key in of_problem}
        grading = str(config.get("grading") or "default")
        if grading not in GRADINGS:
            raise ValueError(f"grading is {grading[:40]!r}; known: {', '.join(GRADINGS)}")
        if grading == "custom" and not has_grader:
            raise ValueError("its grading is custom, and graders/ has no program")
        is_custom = grading == "custom" or (has_grader and of_problem.get("custom_scoring") is True)
        on_reject = str(config.get("on_reject") or "break")
        if on_reject not in ON_REJECT:
            raise ValueError(f"on_reject is {on_reject!r}; known: break, continue")
        test_groups.append(
            Group(
                path,
                "break" if ON_REJECT[on_reject] == "break" else "continue",
                tuple(words_of(config.get("grader_flags"), "grader_flags")),
                number(config.get("accept_score", 1), "accept_score"),
                number(config.get("reject_score", 0), "reject_score"),
                custom=is_custom,
            )
        )
    return Scoring("grader", tuple(test_groups))


def aggregation_groups(groups: Groups, test_ids: list[str]) -> Iterable[Group]:
    """The groups of 2025-09: the secret tests, and each folder below them that has a test_group.yaml."""
    paths = sorted(
        name.removeprefix("data/").removesuffix("/test_group.yaml")
        for name in groups
        if name.startswith(f"data/{SECRET}/") and name.endswith("/test_group.yaml")
    )
    for path in dict.fromkeys([SECRET, *paths]):
        config = groups.get(f"data/{path}/test_group.yaml", {})
        is_secret = path == SECRET
        aggregation = str(config.get("score_aggregation", "sum" if is_secret else "pass-fail"))
        largest = config.get("max_score", LARGEST_SCORE if is_secret else "unbounded")
        if aggregation not in AGGREGATIONS:
            raise ValueError(
                f"score_aggregation of {path} is {aggregation!r}; known: {', '.join(AGGREGATIONS)}"
            )
        yield Group(
            path,
            aggregation="sum" if aggregation == "sum" else "min" if aggregation == "min" else "pass-fail",
            max_score=None if largest == "unbounded" else number(largest, f"max_score of {path}"),
            require_pass=tuple(words_of(config.get("require_pass"), "require_pass")),
        )


def folders_of(test_ids: Iterable[str]) -> list[str]:
    """All folders above some tests, "" for data/ itself."""
    folders = {""}
    for name in test_ids:
        parts = name.split("/")[:-1]
        folders |= {"/".join(parts[: depth + 1]) for depth in range(len(parts))}
    return sorted(folders)


def number(value: Any, name: str) -> float:
    try:
        parsed = float(value)
    except (TypeError, ValueError):
        parsed = math.nan
    if not math.isfinite(parsed):
        raise ValueError(f"{name} is not a number but {str(value)[:40]!r}")
    return parsed
