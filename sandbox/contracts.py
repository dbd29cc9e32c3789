"""Input and output of the judge: plain frozen records, with their units."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from sandbox.bounds import (
    LARGEST,
    MAX_ARGUMENTS,
    MAX_LEVELS,
    MAX_PASSES,
    MIB,
    Files,
    check_arguments,
    check_files,
    is_data_path,
    is_number,
    shown,
)
from sandbox.scoring import Scoring
from sandbox.verdicts import Verdict

CheckerKind = Literal[
    "tokens", "exact", "lines", "float", "code_contests", "sandbox_fusion", "livecodebench", "testlib",
    "kattis", "default_validator", "domjudge", "rcmp", "rcmp4", "rcmp6", "rcmp9", "wcmp", "lcmp", "fcmp",
    "ncmp", "icmp", "hcmp", "yesno", "nyesno",
]  # fmt: skip


class SandboxUnavailable(RuntimeError):
    """This machine cannot isolate programs.

    The message is one line: what is missing, and the command that fixes it.
    """


@dataclass(frozen=True)
class Limits:
    """What one test may use. `time_s` is CPU time, summed over all processes of the program. Raises
    ValueError outside LARGEST.

    `wall_limit_s` is the wall-clock limit, which ends programs that sleep; the default suits an overloaded
    machine.
    """

    time_s: float = 2.0
    memory_mb: int = 512
    output_bytes: int = 16 * MIB
    processes: int = 64
    wall_limit_s: float | None = None

    def __post_init__(self) -> None:
        for field, (kinds, largest) in LARGEST.items():
            value = getattr(self, field)
            if value is None and field == "wall_limit_s":
                continue
            if not is_number(value, kinds) or not 0 < value <= largest:
                kind = "a whole number" if float not in kinds else "a number"
                bounds = f"{kind} above 0, {largest:g} at most"
                raise ValueError(f"Limits.{field} must be {bounds}; not {shown(value)}")

    @property
    def wall_s(self) -> float:
        """The wall-clock limit that applies."""
        return 4.0 * self.time_s + 6.0 if self.wall_limit_s is None else self.wall_limit_s


@dataclass(frozen=True)
class Checker:
    """How an output is compared with the expected one.

    tokens, exact, lines, float: see `judging/compare.py`. code_contests, sandbox_fusion, livecodebench: as
    those graders do it, see `judging/compatibility.py`. testlib, kattis: by a program with that calling
    convention, see `judging/checker_programs.py`; `program` is its source (with `language` build or run the
    script of that name), `files` are (path, text) beside it, `arguments` come last on its command line, and
    an `interactive` one talks to the program under judgement. default_validator: as Kattis' default output
    validator, see `judging/default_validator.py`; `arguments` are its flags (`validator_flags.py`). domjudge:
    as DOMjudge's compare, with the same flags. rcmp4 and so on: as testlib's standard checkers, see
    `judging/testlib_standard.py`.

    `float_tol` is both tolerances of a float checker. Where `float_abs_tol` or `float_rel_tol` is given, they
    replace it, and the one that is None allows nothing. In function tests, `unordered_levels` says how many
    levels of lists, from the outermost on, may have their items in any order. A kattis program may ask for
    up to `passes` runs per test, and `scores` says that it may write a score (`judging/feedback.py`).
    Where an interactive testlib program accepts, `then` judges the OUTPUT that it has written, as for
    Codeforces. `time_s` (CPU seconds per test) and `memory_mb` are the limits of a program.
    """

    kind: CheckerKind = "tokens"
    case_sensitive: bool = True
    float_tol: float = 1e-6
    program: str = ""
    language: str = "cpp"
    files: tuple[tuple[str, str], ...] = ()
    arguments: tuple[str, ...] = ()
    interactive: bool = False
    float_abs_tol: float | None = None
    float_rel_tol: float | None = None
    unordered_levels: int = 0
    passes: int = 1
    scores: bool = False
    then: Checker | None = None
    time_s: float = 10.0
    memory_mb: int = 1024

    def __post_init__(self) -> None:
        if self.kind not in get_args(CheckerKind):
            raise ValueError(
                f"Checker.kind must be one of {', '.join(get_args(CheckerKind))}, not {self.kind!r}"
            )
        if self.is_program != bool(self.program):
            raise ValueError(f"Checker.program is for testlib and kattis checkers only (kind {self.kind!r})")
        if self.interactive and not self.is_program:
            raise ValueError(f"Checker.interactive needs a testlib or kattis program (kind {self.kind!r})")
        for name in ("float_tol", "float_abs_tol", "float_rel_tol"):
            number = getattr(self, name)
            if number is None and name != "float_tol":
                continue
            if not is_number(number, (int, float)) or not 0 <= number < math.inf:
                raise ValueError(f"Checker.{name} must be a number from 0 on, not {shown(number)}")
        levels = self.unordered_levels
        if not is_number(levels, (int,)) or not 0 <= levels <= MAX_LEVELS:
            raise ValueError(f"Checker.unordered_levels must be 0 to {MAX_LEVELS}, not {shown(levels)}")
        if not is_number(self.passes, (int,)) or not 1 <= self.passes <= MAX_PASSES:
            raise ValueError(f"Checker.passes must be 1 to {MAX_PASSES}, not {shown(self.passes)}")
        if self.leaves_feedback and self.kind != "kattis":
            raise ValueError(f"Checker.passes and scores need a kattis program (kind {self.kind!r})")
        if self.then and not (self.kind == "testlib" and self.interactive and not self.then.interactive):
            raise ValueError("Checker.then is for an interactive testlib program, and not interactive itself")
        check_files("Checker", self.files)
        check_arguments(self.kind, self.arguments)
        try:
            Limits(time_s=self.time_s, memory_mb=self.memory_mb)
        except ValueError as error:
            raise ValueError(f"Checker: {error}") from error

    @property
    def tolerances(self) -> tuple[float | None, float | None]:
        """The absolute and the relative tolerance; None: there is none of that kind."""
        if self.float_abs_tol is None and self.float_rel_tol is None:
            return self.float_tol, self.float_tol
        return self.float_abs_tol, self.float_rel_tol

    @property
    def leaves_feedback(self) -> bool:
        """Whether the files that the program leaves are looked at: a score, or the input of another pass."""
        return self.scores or self.passes > 1

    @property
    def is_program(self) -> bool:
        """Whether a program of its own compares the outputs."""
        return self.kind in ("testlib", "kattis")


@dataclass(frozen=True)
class Test:
    """One test. What `input` and `expected_output` hold depends on `mode`.

    stdin: standard input and the expected standard output (None: the program need only exit normally).
    assert: `input` is Python code such as `assert candidate(nums=[1]) == 3`.
    check: `input` is Python code that defines `check(candidate)`.
    call: `input` is a Python expression, `expected_output` the Python literal it must equal.
    `checker_arguments`, if not None, replace `arguments` of the checker for this test. Whole programs get
    `arguments` on their command line, and find `files`, (path, text), in their working folder.
    """

    __test__ = False  # pytest would otherwise take the name for a test class

    test_id: str
    mode: Literal["stdin", "assert", "check", "call"]
    input: str
    expected_output: str | None = None
    checker_arguments: tuple[str, ...] | None = None
    arguments: tuple[str, ...] = ()
    files: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        check_files("Test", self.files)
        if len(self.arguments) > MAX_ARGUMENTS or any("\0" in word for word in self.arguments):
            raise ValueError(
                f"Test.arguments: {MAX_ARGUMENTS} words without NUL at most (test {self.test_id!r})"
            )
        if (self.arguments or self.files) and self.mode != "stdin":
            raise ValueError(f"only a stdin test may have arguments and files (test {self.test_id!r})")
        if self.mode not in ("stdin", "assert", "check", "call"):
            raise ValueError(
                f"Test.mode must be stdin, assert, check or call, not {self.mode!r} (test {self.test_id!r})"
            )
        if self.mode == "call" and self.expected_output is None:
            raise ValueError(f"a call test needs expected_output (test {self.test_id!r})")


@dataclass(frozen=True)
class Submission:
    """A program and the tests it is judged on. `key` is the caller's; it comes back on the judgement.

    With `scoring`, all tests run that the score depends on, and the judgement has the score.
    `files` are beside the program: its compiler finds them, and its working folder has them. `fetch_files`
    are paths in that folder that come back with the outputs as the program has left them.
    With the language `build` or `run`, the program is the script of that name in a problem package.

    The first `keep_bytes` of standard output and of standard error come back, too; without it only a digest
    and the first characters of standard output. The compiler gets `compile_time_s` seconds of CPU time, and
    never more than any other.
    """

    program: str
    language: str
    tests: tuple[Test, ...]
    limits: Limits = Limits()
    checker: Checker = Checker()
    preamble: str = ""
    entry_point: str = ""
    stop_at_first_failure: bool = True
    key: str = ""
    keep_bytes: int = 0
    files: Files = ()
    scoring: Scoring | None = None
    fetch_files: tuple[str, ...] = ()
    compile_time_s: float | None = None

    def __post_init__(self) -> None:
        check_files("Submission", self.files, is_data_path)
        check_files("Submission.fetch", tuple((path, "") for path in self.fetch_files), is_data_path)
        seconds = self.compile_time_s
        if seconds is not None and not (is_number(seconds, (int, float)) and 0 < seconds < math.inf):
            raise ValueError(f"Submission.compile_time_s must be seconds above 0, not {shown(seconds)}")
        if isinstance(self.keep_bytes, bool) or not 0 <= self.keep_bytes <= LARGEST["output_bytes"][1]:
            raise ValueError(
                f"Submission.keep_bytes must be a number of bytes from 0 on, not {shown(self.keep_bytes)}"
            )
        for arguments in {test.checker_arguments for test in self.tests} - {None}:
            check_arguments(self.checker.kind, arguments or ())


@dataclass(frozen=True)
class TestResult:
    """The outcome of one test.

    `output_digest` is BLAKE2b-128 (hex) of standard output, `output_head` its beginning. `score` and
    `multiplier` are what its checker wrote (`judging/feedback.py`).
    """

    __test__ = False

    test_id: str
    verdict: Verdict
    cpu_s: float = 0.0
    wall_s: float = 0.0
    memory_mb: float = 0.0
    exit_code: int | None = None
    signal: int | None = None
    output_digest: str = ""
    output_head: str = ""
    detail: str = ""
    score: float | None = None
    multiplier: float | None = None


@dataclass(frozen=True)
class Output:
    """What a test's run wrote, as much as the submission asked for; bytes that are not UTF-8 are replaced.

    `files`: (path, contents) of those that were to be fetched, as far as the run left them as plain files.
    `files_complaint` is the reason where none of them are there: they were too large.
    """

    test_id: str
    stdout: str
    stderr: str
    files: tuple[tuple[str, bytes], ...] = ()
    files_complaint: str = ""


@dataclass(frozen=True)
class Judgement:
    """A submission's outcome: the verdict of its first failing test, in the order of the tests.

    `tests` holds the tests that ran (up to the first failure, unless all were asked for); `total` counts all
    of them. `cpu_s` and `memory_mb` are the largest of any test. `outputs` are there for submissions that
    keep them. `isolated_check`, of function tests: whether each was checked where the program cannot reach;
    null for other tests. `score`: of submissions with `scoring`; None where the rules give none. `compile_s`
    is the wall time of its compilation, also where that was an earlier one of the same program.
    """

    key: str
    verdict: Verdict
    passed: int
    total: int
    first_failure: str | None
    tests: tuple[TestResult, ...]
    cpu_s: float
    memory_mb: float
    compile_output: str
    tier: str
    judge_version: str
    toolchain: str
    outputs: tuple[Output, ...] = ()
    isolated_check: bool | None = None
    score: float | None = None
    compile_s: float = 0.0


def first_failing(results: Iterable[TestResult]) -> TestResult | None:
    """The first result that is not accepted, or None."""
    return next((result for result in results if result.verdict != "accepted"), None)
