"""What a run is given: the program behind its preamble, the files of a test, and how many tests at a time."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from sandbox.bounds import MIB
from sandbox.building import encoded
from sandbox.contracts import Test, TestResult
from sandbox.isolation import protocol, sealed
from sandbox.judging.functions import Job

FUTURE = re.compile(r"^from[ \t]+__future__[ \t]+import[ \t]*(?:\([^()]*\)|[^\n;#]*)", re.MULTILINE)

# Tests are sent to the supervisor in batches: they share the cost of a message, and few runs are wasted after
# a failure.
BATCH_CPU_S = 0.1
BATCH_BYTES = 8 * MIB

Surroundings = tuple[tuple[str, ...], tuple[tuple[str, str], ...]]


def with_preamble(preamble: str, program: str) -> str:
    """The program behind the problem's own code. Its `from __future__ import ...` must come first."""
    program = program.removeprefix("\ufeff")
    if not preamble:
        return program
    features = "".join(f"{statement[0]}\n" for statement in FUTURE.finditer(program))
    preamble += "" if preamble.endswith("\n") else "\n"
    return (
        features + preamble + FUTURE.sub(lambda statement: "pass" + "\n" * statement[0].count("\n"), program)
    )


def surroundings(test: Test) -> Surroundings:
    """What a test puts around the program, beside its input."""
    return test.arguments, test.files


def take_batch(tests: Sequence[Test], start: int, size: int) -> Sequence[Test]:
    """At most `size` tests of one kind from `start` on, one at least, as far as their files are small."""
    first = tests[start]
    held, end = 0, start
    while end < len(tests) and end - start < size:
        test = tests[end]
        held += len(test.input) + len(test.expected_output or "")
        if end > start and (held > BATCH_BYTES or (test.mode == "stdin") != (first.mode == "stdin")):
            break
        end += 1
    return tests[start:end]


def next_size(results: Sequence[TestResult]) -> int:
    """Twice as many tests as the last time, if that does not take too long or hold too many descriptors."""
    mean_cpu_s = sum(result.cpu_s for result in results) / len(results)
    return max(
        1, min(2 * len(results), protocol.MAX_DESCRIPTORS // 5, int(BATCH_CPU_S / (mean_cpu_s + 1e-6)))
    )


def descriptors(test: Test, job: Job | None, keeps_errors: bool) -> tuple[int, ...]:
    """Standard input, output and error of a run, and for functions job and result."""
    files = standard_files(encoded(test.input) if job is None else b"", keeps_errors)
    return files if job is None else (*files, sealed(job.request), os.memfd_create("result"))


def standard_files(stdin: bytes, keeps_errors: bool = True) -> tuple[int, ...]:
    errors = os.memfd_create("stderr") if keeps_errors else os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    return sealed(stdin), os.memfd_create("stdout"), errors
