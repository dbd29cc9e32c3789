"""Kattis/ICPC problem packages: a package (a folder with problem.yaml) or a folder of packages. Each package
is one batch.

Format: the Problem Package Format, legacy and 2023-07-draft (https://www.kattis.com/problem-package-format/).
The adapter reads
* problem.yaml: name, licence, limits (memory and output in MiB, else 2048 and 8, the usual defaults;
  time_limit in seconds), validation and validator_flags, type; domjudge-problem.ini (timelimit) and
  `.timelimit` for the time, or else the multipliers with which it
  follows from the accepted submissions (`pipeline/labelling/time_limits.py`);
* the statement, preferably English: problem_statement/problem[.en].tex, .md or .txt (also statement/ and
  beside problem.yaml), TeX simplified. A problem without one, or with a PDF only, is read and judged, but not
  sampled (`problems.not_sampled`);
* data/sample/**/*.in and data/secret/**/*.in with their .ans, command lines and files (`kattis_tests.py`);
  the validator's flags in testdata.yaml, test_group.yaml and <test>.yaml of any folder below data/;
* submissions/<verdict>/<file or folder>: the folder, set by the judges, is the claimed verdict, unless
  submissions.yaml or `@EXPECTED_RESULTS@` says more (`kattis_claims.py`); for several files see
  `kattis_submissions.py`;
* output_validators/, output_validator/, input_validators/ and include/ into `problems.programs`;
* constants, for `{{name}}` in statement, programs and test_group.yaml (`kattis_constants.py`).

Outputs are compared as the package's default output validator does it (checker `default_validator`), with a
domjudge-problem.ini as DOMjudge's compare does it (`domjudge`). A
package with its own output validator, or an interactive one, gets the checker `custom`; an interactive one
has the role `interactor`. Multi-pass problems have `validation_passes`, problems that score `scoring`
(`kattis_scoring.py`). Submissions to a submit-answer problem are of the language `answer`. Refused are
drivers in include/, static validators, and words of `type` and `validation` that the formats do not have.
Links inside the source are followed. If the source policy (`source_policy.py`) does not read a file, its
submission is refused or, if the problem needs the file, the package with all its submissions; other files are
skipped and counted.
The problem_id is <name of the folder with the packages>/<path of the package below it>, without the suffix of
a .zip or .kpp file (`zipped_packages.py`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from yaml import YAMLError

from pipeline.adapters import ReadItem, ReadProblem, Refused, SourceFile, register
from pipeline.adapters.kattis_claims import SUBMISSIONS_FILE, Expectations, package_expectations
from pipeline.adapters.kattis_problem import ASKS_FOR_ANSWERS, NEEDED, problem_item
from pipeline.adapters.kattis_submissions import file_item, parts_of, submission_item
from pipeline.adapters.package_files import PackageFiles
from pipeline.adapters.packages import Packages
from pipeline.adapters.source_policy import printable


class Kattis(Packages):
    name = "kattis"
    markers = ("problem.yaml", "domjudge-problem.ini")
    needed = NEEDED

    def items(self, package: PackageFiles, file: SourceFile) -> Iterator[ReadItem]:
        """The problem of a package, and its submissions."""
        problem = problem_item(package)
        parts = parts_of(package.files_below("submissions"))
        expected = Expectations()
        try:
            expected = package_expectations(package)
        except (ValueError, YAMLError) as error:
            problem = Refused(1, package.listing, f"{SUBMISSIONS_FILE}: {error}"[:300])
        if isinstance(problem, ReadProblem):
            name_submissions(problem.row, expected, [part.name for part in parts])
        yield problem
        for part in parts:
            file.rows_in_file += 1
            item, size = submission_item(
                file.rows_in_file, part, package.roots, file.name, expected, is_for_answers(problem),
                package.constants,
            )  # fmt: skip
            file.bytes_read += size
            yield item

    def reread(self, raw: bytes, line: int, file: SourceFile) -> list[ReadItem]:
        """A submission. A refused problem cannot be retried: ingest its folder again after a change."""
        name, _, program = raw.partition(b"\n")
        if line == 1:
            return [
                Refused(line, raw, "a package is read from its folder: fix it there, and ingest it again")
            ]
        path = printable(name.decode(errors="replace"))
        return [file_item(line, program, path, file.name, Expectations())]


register(Kattis())


def name_submissions(row: dict[str, Any], expected: Expectations, names: list[str]) -> None:
    """Name the submissions that set a derived limit, where the version of the format or the package says more
    than that they are the accepted ones.
    """
    if not row["time_limit_rule"]:
        return
    rule = json.loads(row["time_limit_rule"])
    by_rules = rule.pop("by_rules")
    lower_bounds = [name for name in names if expected.sets_limit(name)]
    if lower_bounds and (by_rules or expected.says_what_sets_limit):
        rule["submissions"] = lower_bounds
    row["time_limit_rule"] = json.dumps(rule)


def is_for_answers(problem: ReadItem) -> bool:
    """Whether the submissions of a problem are answers, not programs."""
    return isinstance(problem, ReadProblem) and problem.row.get("not_sampled") == ASKS_FOR_ANSWERS
