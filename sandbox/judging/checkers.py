"""The checkers of one submission: the comparison or the programs that judge its outputs."""

from __future__ import annotations

from dataclasses import replace

from sandbox.building import Builder, encoded
from sandbox.contracts import Checker, Test, Verdict
from sandbox.judging.checker_programs import CheckerFailed, CheckerProgram
from sandbox.judging.compare import first_difference, outputs_match
from sandbox.judging.testlib_standard import AnswerRefused


class Checkers:
    """A submission's checker, built once for each list of arguments. Raises CheckerFailed where it cannot
    be.
    """

    def __init__(self, checker: Checker, builder: Builder) -> None:
        self.checker, self.builder = checker, builder
        self.programs: dict[tuple[str, ...], CheckerProgram] = {}  # by their arguments
        if checker.is_program:
            self.program(checker)
        self.then = Checkers(checker.then, builder) if checker.then else None

    def close(self) -> None:
        """End the jails of the programs."""
        for program in self.programs.values():
            program.close()
        if self.then:
            self.then.close()

    def of(self, test: Test) -> Checker:
        """The checker with the arguments of this test."""
        if test.checker_arguments is None:
            return self.checker
        return replace(self.checker, arguments=test.checker_arguments)

    def program(self, checker: Checker) -> CheckerProgram:
        """The built checker with these arguments. Raises CheckerFailed."""
        if checker.arguments not in self.programs:
            self.programs[checker.arguments] = CheckerProgram(checker, self.builder)
        return self.programs[checker.arguments]

    def compare_written(self, test: Test, written: bytes) -> tuple[Verdict, str]:
        """The verdict on what an interactor that accepts has written, and a line of detail."""
        if self.then is None:
            return "accepted", ""
        return self.then.compare(replace(test, checker_arguments=None), written)

    def compare(self, test: Test, output: bytes) -> tuple[Verdict, str]:
        """The verdict on an output, and a line of detail."""
        checker = self.of(test)
        if checker.is_program:
            return self._ask_program(checker, test, output)
        if test.expected_output is None:
            return "accepted", ""
        expected = encoded(test.expected_output)
        try:
            right = outputs_match(output, expected, checker)
        except AnswerRefused as error:
            return "judge_error", str(error)
        return ("accepted", "") if right else ("wrong_answer", first_difference(output, expected, checker))

    def _ask_program(self, checker: Checker, test: Test, output: bytes) -> tuple[Verdict, str]:
        stdin, answer = encoded(test.input), encoded(test.expected_output or "")
        try:
            right, said = self.program(checker).judge(stdin, output, answer)
        except CheckerFailed as error:
            return "judge_error", str(error)
        return ("accepted", "") if right else ("wrong_answer", said)
