"""What the judges of a package say about a submission: in submissions.yaml, in the source, or by its folder.

submissions.yaml (2023-07-draft and later) maps patterns of paths to `permitted` and `required` verdicts and
`entrypoint`; the comment `@EXPECTED_RESULTS@: WRONG-ANSWER, TIMELIMIT` is DOMjudge's. Several allowed
verdicts claim none.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from pipeline.adapters.kattis_tests import load_mapping, words_of
from pipeline.adapters.package_files import PackageFiles
from pipeline.adapters.trees import VERDICT_FOLDERS
from pipeline.text import VERDICT_NAMES

SUBMISSIONS_FILE = "submissions/submissions.yaml"
BASIS = "folder of the problem package (set by the judges)"
EXPECTED_RESULTS = re.compile(rb"@EXPECTED_RESULTS@:[ \t]*([A-Z_\-, \t]+)")
DOMJUDGE_RESULTS = {
    "CORRECT": "accepted",
    "WRONG-ANSWER": "wrong_answer",
    "TIMELIMIT": "time_limit_exceeded",
    "RUN-ERROR": "runtime_error",
    "COMPILER-ERROR": "compile_error",
    "NO-OUTPUT": "wrong_answer",
    "OUTPUT-LIMIT": "output_limit_exceeded",
    "CHECK-MANUALLY": None,
}
Claim = tuple[str | None, str]


@dataclass(frozen=True)
class Expectations:
    """{pattern of a path below submissions/: its entry} of submissions.yaml; empty without that file."""

    entries: dict[str, Any] = field(default_factory=dict)

    def claim(self, name: str, raw: bytes) -> Claim:
        """(claimed verdict or None, its basis) for a submission at a path below submissions/."""
        if words := self.verdicts(name):
            verdict = only_verdict([VERDICT_NAMES.get(word.lower()) for word in words])
            return verdict, f"{SUBMISSIONS_FILE}: {words}"
        if match := EXPECTED_RESULTS.search(raw):
            results = [word.strip().replace("_", "-") for word in match[1].decode().split(",")]
            verdict = only_verdict([DOMJUDGE_RESULTS.get(one) for one in results])
            return verdict, f"@EXPECTED_RESULTS@: {results}"
        return VERDICT_FOLDERS.get(name.partition("/")[0]), BASIS

    def verdicts(self, name: str) -> list[str]:
        """The verdicts that the entries for a submission allow. Raises ValueError."""
        words: list[str] = []
        for entry in self.matching(name):
            for key in ("permitted", "required"):
                words += words_of(entry.get(key), key)
        return words

    def entry_point(self, name: str) -> str | None:
        """The file or class that a submission begins in, where an entry names it."""
        names = [str(entry["entrypoint"]) for entry in self.matching(name) if entry.get("entrypoint")]
        return names[0] if names else None

    def matching(self, name: str) -> list[dict[str, Any]]:
        """The expectations for a submission: those of its own path, else of all patterns that match it.

        A pattern that names a folder matches what is below it.
        """
        if name in self.entries:
            return mappings(self.entries[name])
        return [
            one
            for pattern, entry in self.entries.items()
            if fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern.rstrip('/')}/*")
            for one in mappings(entry)
        ]


def package_expectations(package: PackageFiles) -> Expectations:
    """The expectations in submissions.yaml. Raises ValueError."""
    entries = {str(name): entry for name, entry in load_mapping(package, SUBMISSIONS_FILE).items()}
    expected = Expectations(entries)
    for name in entries:
        expected.verdicts(name)  # raises for a verdict of a wrong type
    return expected


def mappings(entry: Any) -> list[dict[str, Any]]:
    return [one for one in (entry if isinstance(entry, list) else [entry]) if isinstance(one, dict)]


def only_verdict(verdicts: list[str | None]) -> str | None:
    return verdicts[0] if len(set(verdicts)) == 1 else None
