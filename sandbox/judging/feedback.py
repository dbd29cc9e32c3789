"""What a Kattis output validator leaves in its feedback folder, beside its exit code.

`score.txt` and `score_multiplier.txt` are numbers, `nextpass.in` is the input of another pass. All other
files are there again in the next pass of the same test.
"""

from __future__ import annotations

import math
import os
import stat
from dataclasses import dataclass, field, replace

from sandbox.bounds import is_plain_name
from sandbox.contracts import TestResult
from sandbox.isolation import Session

NEXT_PASS, SCORE, MULTIPLIER = "nextpass.in", "score.txt", "score_multiplier.txt"
MAX_FILE_BYTES, MAX_TOTAL_BYTES = 16 << 20, 64 << 20
MAX_NUMBER_BYTES = 100


class FeedbackError(ValueError):
    """The validator left something that the format does not allow: one line."""


@dataclass(frozen=True)
class Feedback:
    """The files of a feedback folder by name."""

    files: dict[str, bytes] = field(default_factory=dict)

    @property
    def next_input(self) -> bytes | None:
        """The input of the next pass, if the validator asks for one."""
        return self.files.get(NEXT_PASS)

    @property
    def retained(self) -> dict[str, bytes]:
        """The files that the next pass finds."""
        return {name: contents for name, contents in self.files.items() if name != NEXT_PASS}

    @property
    def score(self) -> float | None:
        return self.number(SCORE)

    @property
    def multiplier(self) -> float | None:
        return self.number(MULTIPLIER)

    def number(self, name: str) -> float | None:
        """The number in a file; None without that file. Raises FeedbackError."""
        if name not in self.files:
            return None
        try:
            value = float(self.files[name][:MAX_NUMBER_BYTES])
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise FeedbackError(f"the validator wrote no number into {name}")
        return value


def collect(session: Session) -> Feedback:
    """The plain files in a validator's scratch folder. Raises FeedbackError if they are too large."""
    files: dict[str, bytes] = {}
    for name in session.list_files():
        descriptor = session.open_file(name) if is_plain_name(name) else None
        if descriptor is None:
            continue
        try:
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                files[name] = os.pread(descriptor, MAX_FILE_BYTES + 1, 0)
        finally:
            os.close(descriptor)
        if len(files.get(name, b"")) > MAX_FILE_BYTES or sum(map(len, files.values())) > MAX_TOTAL_BYTES:
            raise FeedbackError(f"the validator's feedback is larger than {MAX_FILE_BYTES >> 20} MiB")
    return Feedback(files)


def with_feedback(result: TestResult, feedback: Feedback) -> tuple[TestResult, str | None]:
    """A result with the score that its validator wrote, and the input of the next pass if there is one; a
    judge_error where the validator broke the rules of the format.
    """
    try:
        result = replace(result, score=feedback.score, multiplier=feedback.multiplier)
        if feedback.next_input is None:
            return result, None
        if result.verdict != "accepted":
            raise FeedbackError(f"the validator asks for another pass, but says {result.verdict}")
        return result, feedback.next_input.decode()
    except UnicodeDecodeError as error:
        return replace(
            result, verdict="judge_error", detail=f"{NEXT_PASS} is not UTF-8: {error.reason}"
        ), None
    except FeedbackError as error:
        return replace(result, verdict="judge_error", detail=str(error)), None
