"""What the judges of a package say about a submission: in submissions.yaml, in the source, or by its folder.

submissions.yaml (2025-09, https://www.kattis.com/problem-package-format/spec/2025-09.html#example-submissions)
maps patterns of paths to rules: the verdicts that tests may have (`permitted`) and that one of them must have
(`required`), the same for groups of tests, `language`, `entrypoint` and `use_for_time_limit`. All rules that
match a submission hold. The comment `@EXPECTED_RESULTS@: WRONG-ANSWER, TIMELIMIT` is DOMjudge's.

A claim is a set of verdicts for the submission, which are those of its first failing test. `claimed_verdict`
is the only one, `rejected` where there are several without accepted, and else null; `claimed_verdicts` has
the set.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from pipeline.adapters.kattis_tests import load_mapping, words_of
from pipeline.adapters.package_files import PackageFiles
from pipeline.adapters.source_policy import printable
from pipeline.adapters.trees import VERDICT_FOLDERS
from pipeline.text import VERDICT_NAMES
from sandbox.languages import require_language

SUBMISSIONS_FILE = "submissions/submissions.yaml"
BASIS = "folder of the problem package (set by the judges)"
EXPECTED_RESULTS = re.compile(rb"@EXPECTED_RESULTS@:[ \t]*([A-Z_\-, \t]+)")
DOMJUDGE_RESULTS = {
    "CORRECT": "accepted",
    "ACCEPTED": "accepted",
    "WRONG-ANSWER": "wrong_answer",
    "TIMELIMIT": "time_limit_exceeded",
    "TIME-LIMIT-EXCEEDED": "time_limit_exceeded",
    "RUN-ERROR": "runtime_error",
    "RUN-TIME-ERROR": "runtime_error",
    "COMPILER-ERROR": "compile_error",
    "NO-OUTPUT": "wrong_answer",
    "OUTPUT-LIMIT": "output_limit_exceeded",
    "CHECK-MANUALLY": None,
}
ACCEPTED, TIMEOUT = "accepted", "time_limit_exceeded"
VERDICTS = frozenset((ACCEPTED, "wrong_answer", TIMEOUT, "runtime_error"))
# Judging systems of packages have one verdict for these.
RUNTIME_ERRORS = ("runtime_error", "memory_limit_exceeded", "output_limit_exceeded")
USES_FOR_LIMIT = (True, False, "lower", "upper")
# https://www.kattis.com/problem-package-format/spec/2025-09.html#default-directories
DEFAULTS: dict[str, dict[str, Any]] = {
    "accepted": {"permitted": ["AC"]},
    "rejected": {"required": ["RTE", "TLE", "WA"]},
    "wrong_answer": {"permitted": ["AC", "WA"], "required": ["WA"]},
    "time_limit_exceeded": {"permitted": ["AC", "TLE"], "required": ["TLE"]},
    "run_time_error": {"permitted": ["AC", "RTE"], "required": ["RTE"]},
    "brute_force": {"permitted": ["AC", "RTE", "TLE"], "required": ["RTE", "TLE"]},
}
BRACES = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True)
class Rule:
    """What tests may give, and one of them must. `sets_limit` is `use_for_time_limit`, None without it."""

    permitted: frozenset[str] = VERDICTS
    required: frozenset[str] = VERDICTS
    sets_limit: str | bool | None = None

    def verdicts(self, of_all_tests: bool) -> frozenset[str]:
        """The verdicts that it allows a submission. A rule for some tests allows any failure of others."""
        others = self.permitted if of_all_tests else VERDICTS
        return others - {ACCEPTED} | (self.permitted & self.required & {ACCEPTED})

    @property
    def is_lower_bound(self) -> bool:
        """Whether the time limit must leave room for what it speaks of."""
        stated = self.sets_limit
        return stated == "lower" or (stated in (None, True) and TIMEOUT not in self.permitted)


@dataclass(frozen=True)
class Expectations:
    """{pattern of a path below submissions/: its entry} of submissions.yaml; empty without that file."""

    entries: dict[str, Any] = field(default_factory=dict)

    def claim(self, name: str, raw: bytes) -> dict[str, Any]:
        """The columns `claimed_...` of a submission at a path below submissions/."""
        folder = name.partition("/")[0]
        stated = [entry for pattern, entry in self.matching(name) if pattern != folder or has_rules(entry)]
        if any(map(has_rules, stated)):
            return self.claim_by_rules(name)
        if match := EXPECTED_RESULTS.search(raw):
            results = [word.strip().replace("_", "-") for word in match[1].decode().split(",")]
            known = [DOMJUDGE_RESULTS.get(one) for one in results]
            allowed = VERDICTS if None in known else frozenset(one for one in known if one)
            return claimed(allowed, f"@EXPECTED_RESULTS@: {results}")
        if folder == "brute_force":
            return claimed(allowed_by([rule_of(DEFAULTS[folder])], []), BASIS)
        verdict = VERDICT_FOLDERS.get(folder)
        return claimed(frozenset((verdict,)), BASIS) if verdict else claimed(VERDICTS, BASIS)

    def claim_by_rules(self, name: str) -> dict[str, Any]:
        """The claim of all rules; of those in the file alone where they contradict the folder's."""
        rules, of_groups = self.rules(name), self.group_rules(name)
        allowed = allowed_by(rules, of_groups)
        if not allowed:
            stated = [rule_of(entry) for _, entry in self.matching(name)]
            allowed = allowed_by(stated, of_groups)
        words = {pattern: entry for pattern, entry in self.matching(name) if has_rules(entry)}
        return claimed(allowed, f"{SUBMISSIONS_FILE}: {printable(str(words))[:200]}")

    def rules(self, name: str) -> list[Rule]:
        """The rules for all tests of a submission, also those that its folder has by default."""
        folder = name.partition("/")[0]
        own = {pattern: entry for pattern, entry in self.matching(name) if pattern != folder}
        default = DEFAULTS.get(folder, {}) | next(iter(mappings(self.entries.get(folder))), {})
        return [rule_of(default), *(rule_of(entry) for entry in own.values())]

    def group_rules(self, name: str) -> list[Rule]:
        """The rules for some tests of a submission."""
        return [rule for _, entry in self.matching(name) for rule in rules_of_groups(entry)]

    def sets_limit(self, name: str) -> bool:
        """Whether the time limit, where it is derived, leaves room for a submission."""
        return any(rule.is_lower_bound for rule in self.rules(name))

    @property
    def says_what_sets_limit(self) -> bool:
        return any("use_for_time_limit" in entry for one in self.entries.values() for entry in mappings(one))

    def entry_point(self, name: str) -> str | None:
        """The file or class that a submission begins in, where an entry names it."""
        return self.text(name, "entrypoint")

    def language(self, name: str) -> str | None:
        """The language of a submission, where an entry names it."""
        return self.text(name, "language")

    def text(self, name: str, key: str) -> str | None:
        """The value of a key in the entries for a submission, the first of several."""
        return next((str(entry[key]) for _, entry in self.matching(name) if entry.get(key)), None)

    def matching(self, name: str) -> list[tuple[str, dict[str, Any]]]:
        """The entries whose patterns match a submission or a folder above it."""
        return [
            (pattern, one)
            for pattern, entry in self.entries.items()
            if compiled(pattern).match(name)
            for one in mappings(entry)
        ]


def package_expectations(package: PackageFiles) -> Expectations:
    """The expectations in submissions.yaml. Raises ValueError."""
    entries = {str(name): entry for name, entry in load_mapping(package, SUBMISSIONS_FILE).items()}
    for pattern, entry in entries.items():
        for one in mappings(entry):
            try:
                rule_of(one)
                list(rules_of_groups(one))
                if one.get("language"):
                    require_language(str(one["language"]))
            except ValueError as error:
                raise ValueError(f"{printable(pattern)[:60]}: {error}") from error
    return Expectations(entries)


def compiled(pattern: str) -> re.Pattern[str]:
    """A pattern of paths: `*` is any text without a slash, `{a,b}` one of some texts. One that matches a
    folder matches what is below it.
    """
    parts = BRACES.split(pattern.rstrip("/"))
    for at, part in enumerate(parts):
        choices = [
            re.escape(one.strip() if at % 2 else one) for one in (part.split(",") if at % 2 else [part])
        ]
        parts[at] = f"(?:{'|'.join(choices)})"
    return re.compile("".join(parts).replace(r"\*", "[^/]*") + "(?:/|$)")


def rule_of(entry: dict[str, Any]) -> Rule:
    """The rule in an entry. Raises ValueError."""
    use = entry.get("use_for_time_limit")
    if use is not None and use not in USES_FOR_LIMIT:
        raise ValueError(
            f"use_for_time_limit is {printable(str(use))[:40]!r}; known: true, false, lower, upper"
        )
    permitted, required = (verdicts_of(entry, key) for key in ("permitted", "required"))
    if use == "lower":
        permitted -= {TIMEOUT}
    if use == "upper":
        required &= {TIMEOUT}
    return Rule(permitted, required, use)


def rules_of_groups(entry: dict[str, Any]) -> Iterator[Rule]:
    return (rule_of(value) for value in entry.values() if isinstance(value, dict) and has_rules(value))


def verdicts_of(entry: dict[str, Any], key: str) -> frozenset[str]:
    """The verdicts in a list of an entry; all without it. Raises ValueError."""
    words = words_of(entry.get(key), key)
    recognised = {word: VERDICT_NAMES.get(word.lower()) for word in words}
    if unknown := [word for word, verdict in recognised.items() if verdict not in VERDICTS]:
        raise ValueError(
            f"{key} has the unknown verdict {printable(unknown[0])[:40]!r}; known: AC, WA, TLE, RTE"
        )
    return frozenset(one for one in recognised.values() if one) or VERDICTS


def has_rules(entry: dict[str, Any]) -> bool:
    """Whether an entry says anything of verdicts."""
    keys = ("permitted", "required", "use_for_time_limit")
    return any(key in entry for key in keys) or any(
        has_rules(value) for value in entry.values() if isinstance(value, dict)
    )


def allowed_by(rules: Iterable[Rule], of_groups: Iterable[Rule]) -> frozenset[str]:
    """The verdicts that all rules allow a submission."""
    sets = [rule.verdicts(True) for rule in rules] + [rule.verdicts(False) for rule in of_groups]
    return VERDICTS.intersection(*sets)


def claimed(verdicts: frozenset[str], basis: str) -> dict[str, Any]:
    """The columns `claimed_...`. Those who write packages know one kind of run-time error."""
    wide = verdicts | (frozenset(RUNTIME_ERRORS) if "runtime_error" in verdicts else frozenset())
    is_one, is_any = len(verdicts) == 1, not verdicts or verdicts >= VERDICTS
    several = None if is_any or len(wide) == 1 else sorted(wide)
    single = next(iter(verdicts)) if is_one else None
    verdict = single or (None if is_any or ACCEPTED in verdicts else "rejected")
    return {"claimed_verdict": verdict, "claimed_verdicts": several, "claimed_basis": basis}


def mappings(entry: Any) -> list[dict[str, Any]]:
    return [one for one in (entry if isinstance(entry, list) else [entry]) if isinstance(one, dict)]
