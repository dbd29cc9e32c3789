"""Grader programs of problem packages: from the results in a group of tests to the result of the group.

`grader FLAGS`, with a line `verdict score` per result on standard input; it prints one such line. Verdicts
are AC, WA, TLE, RTE and JE. https://www.kattis.com/problem-package-format/spec/legacy.html#graders
"""

from __future__ import annotations

import os
import re

from sandbox.building import (
    Builder,
    CompileError,
    LanguageUnavailable,
    Program,
    require_usable,
    with_neighbours,
    with_run_time,
)
from sandbox.contracts import Limits
from sandbox.isolation import JailDied, sealed
from sandbox.judging.checker_programs import CheckerFailed, message
from sandbox.scoring import Graded, GraderProgram

LIMITS = Limits(time_s=10.0, memory_mb=1024)
LINE = re.compile(rb"\s*(AC|WA|TLE|RTE|JE)\s+([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*")
LONGEST_ANSWER = 4096


class Grader:
    """A grader program, built once for each list of flags. It is asked once for the same results. Raises
    CheckerFailed where it is broken.
    """

    def __init__(self, grader: GraderProgram, builder: Builder) -> None:
        self.grader, self.builder = grader, builder
        self.known: dict[tuple[tuple[str, ...], tuple[Graded, ...]], Graded] = {}

    def __call__(self, flags: tuple[str, ...], results: tuple[Graded, ...]) -> Graded:
        """The result of a group with these results in it."""
        if (flags, results) not in self.known:
            self.known[flags, results] = self._ask(flags, results)
        return self.known[flags, results]

    def _ask(self, flags: tuple[str, ...], results: tuple[Graded, ...]) -> Graded:
        try:
            program = self._program(flags)
        except (CompileError, LanguageUnavailable) as error:
            raise CheckerFailed(f"the grader cannot be built: {error}") from error
        text = "".join(f"{verdict} {score:g}\n" for verdict, score in results)
        files = sealed(text.encode()), os.memfd_create("stdout"), os.memfd_create("stderr")
        try:
            run = program.session().run(files, program.limits.time_s, program.limits.wall_s)
            answer, said = os.pread(files[1], LONGEST_ANSWER, 0), message(files[2])
        except JailDied as error:
            raise CheckerFailed(f"the grader's jail broke: {error}") from error
        except CompileError as error:
            raise CheckerFailed(f"the grader does not compile: {error}") from error
        finally:
            program.close()
            for file in files:
                os.close(file)
        if run.ending or run.status:
            raise CheckerFailed(f"the grader ended with wait status {run.status}; {said}".strip("; "))
        if not (match := LINE.fullmatch(answer)):
            shown = answer.decode("utf-8", "replace")[:80]
            raise CheckerFailed(f"the grader printed {shown!r}, not a verdict and a score")
        return match[1].decode(), float(match[2])

    def _program(self, flags: tuple[str, ...]) -> Program:
        language, _ = require_usable(self.grader.language, self.builder.isolation.kind)
        files = dict(self.grader.files)
        if files:
            language = with_neighbours(language)
        return Program(
            language, self.grader.program, with_run_time(LIMITS, language), LIMITS.memory_mb, self.builder,
            group=None, arguments=flags, files=files, scratch_files=files,
        )  # fmt: skip
