"""Input and output of the judge: plain frozen records, with their units."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, get_args

from sandbox.verdicts import Verdict

CheckerKind = Literal[
    "tokens", "exact", "lines", "float", "code_contests", "sandbox_fusion", "livecodebench", "testlib",
    "kattis",
]  # fmt: skip

MIB = 1 << 20


# What any program may be given; each fits into the system calls that enforce it.
LARGEST: dict[str, tuple[tuple[type, ...], float]] = {
    "time_s": ((int, float), 86_400.0),
    "memory_mb": ((int,), 1 << 20),
    "output_bytes": ((int,), 1 << 30),
    "processes": ((int,), 10_000),
    "wall_limit_s": ((int, float), 10 * 86_400.0),
}
MAX_FILES, MAX_ARGUMENTS = 500, 500  # of a checker
PLAIN_NAME = re.compile(r"[A-Za-z0-9_$][A-Za-z0-9_$.+\-]{0,200}")


def is_number(value: Any, kinds: tuple[type, ...]) -> bool:
    """Whether it is one of these kinds of number, of which a truth value is none."""
    return isinstance(value, kinds) and not isinstance(value, bool)


def is_plain_name(name: str) -> bool:
    """Whether it names a file in a folder and nothing outside it."""
    return PLAIN_NAME.fullmatch(name) is not None


def shown(value: object) -> str:
    """A value for a message: cut, because numbers and names from outside may be of any length."""
    text = (
        f"a number of {value.bit_length()} bits"
        if isinstance(value, int) and abs(value) >> 64
        else repr(value)
    )
    return text if len(text) <= 80 else text[:77] + "..."


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
                raise ValueError(
                    f"Limits.{field} must be {kind} above 0, {largest:g} at most; not {shown(value)}"
                )

    @property
    def wall_s(self) -> float:
        """The wall-clock limit that applies."""
        return 4.0 * self.time_s + 6.0 if self.wall_limit_s is None else self.wall_limit_s


@dataclass(frozen=True)
class Checker:
    """How an output is compared with the expected one.

    tokens, exact, lines, float: see `judging/compare.py`. code_contests, sandbox_fusion, livecodebench: as
    those graders do it, see `judging/compatibility.py`. testlib, kattis: by a program with that calling
    convention, see `judging/checker_programs.py`; `program` is its source, `files` are (name, text) beside
    it, by plain names without a folder, `arguments` come last on its command line, and an `interactive` one
    talks to the program under judgement.
    """

    kind: CheckerKind = "tokens"
    case_sensitive: bool = True
    float_tol: float = 1e-6
    program: str = ""
    language: str = "cpp"
    files: tuple[tuple[str, str], ...] = ()
    arguments: tuple[str, ...] = ()
    interactive: bool = False

    def __post_init__(self) -> None:
        if self.kind not in get_args(CheckerKind):
            raise ValueError(
                f"Checker.kind must be one of {', '.join(get_args(CheckerKind))}, not {self.kind!r}"
            )
        if self.is_program != bool(self.program):
            raise ValueError(f"Checker.program is for testlib and kattis checkers only (kind {self.kind!r})")
        if self.interactive and not self.is_program:
            raise ValueError(f"Checker.interactive needs a testlib or kattis program (kind {self.kind!r})")
        if isinstance(self.float_tol, bool) or not 0 <= self.float_tol < math.inf:
            raise ValueError(f"Checker.float_tol must be a number from 0 on, not {shown(self.float_tol)}")
        if len(self.files) > MAX_FILES or len(self.arguments) > MAX_ARGUMENTS:
            raise ValueError(f"a checker has {MAX_FILES} files and {MAX_ARGUMENTS} arguments at most")
        for name, _ in self.files:
            if not is_plain_name(name):
                raise ValueError(f"Checker.files: {shown(name)} is not a plain file name")
        if any("\0" in word for word in self.arguments):
            raise ValueError("Checker.arguments: a word holds a NUL")

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
    """

    __test__ = False  # pytest would otherwise take the name for a test class

    test_id: str
    mode: Literal["stdin", "assert", "check", "call"]
    input: str
    expected_output: str | None = None

    def __post_init__(self) -> None:
        if self.mode not in ("stdin", "assert", "check", "call"):
            raise ValueError(
                f"Test.mode must be stdin, assert, check or call, not {self.mode!r} (test {self.test_id!r})"
            )
        if self.mode == "call" and self.expected_output is None:
            raise ValueError(f"a call test needs expected_output (test {self.test_id!r})")


@dataclass(frozen=True)
class Submission:
    """A program and the tests it is judged on. `key` is the caller's; it comes back on the judgement.

    The first `keep_bytes` of standard output and of standard error come back, too; without it only a digest
    and the first characters of standard output.
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

    def __post_init__(self) -> None:
        if isinstance(self.keep_bytes, bool) or not 0 <= self.keep_bytes <= LARGEST["output_bytes"][1]:
            raise ValueError(
                f"Submission.keep_bytes must be a number of bytes from 0 on, not {shown(self.keep_bytes)}"
            )


@dataclass(frozen=True)
class TestResult:
    """The outcome of one test.

    `output_digest` is BLAKE2b-128 (hex) of standard output, `output_head` its beginning.
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


@dataclass(frozen=True)
class Output:
    """What a test's run wrote, as much as the submission asked for; bytes that are not UTF-8 are replaced."""

    test_id: str
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Judgement:
    """A submission's outcome: the verdict of its first failing test, in the order of the tests.

    `tests` holds the tests that ran (up to the first failure, unless all were asked for); `total` counts all
    of them. `cpu_s` and `memory_mb` are the largest of any test. `outputs` are there for submissions that
    keep them. `isolated_check`, of function tests: whether each was checked where the program cannot reach;
    null for other tests.
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


def first_failing(results: Iterable[TestResult]) -> TestResult | None:
    """The first result that is not accepted, or None."""
    return next((result for result in results if result.verdict != "accepted"), None)
