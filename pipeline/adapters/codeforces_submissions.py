"""Submissions to Codeforces by people: the Parquet files of `open-r1/codeforces-submissions` on the Hub.

Columns as in its card: `submission_id`, `source` (the program), `contestId`, `problem_index`, `problem_id`
("852/A"), `programmingLanguage`, `verdict`, `testset`, `passedTestCount`, `timeConsumedMillis`,
`memoryConsumedBytes`, `creationTimeSeconds`. Ingest `codeforces` first: a submission needs its problem. The
claim is the site's verdict; its basis has tests, time and memory. A submission that the site did not judge to
the end (skipped, hacked, still testing) has no claimed verdict.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pipeline.adapters import ReadItem, ReadTrajectory, SourceFile, register
from pipeline.adapters.io_tests import human_solution
from pipeline.adapters.lines import JsonRow
from pipeline.adapters.rows import RowAdapter
from pipeline.adapters.sample import SampleKey
from pipeline.text import language_name

# Verdicts of Codeforces' API (`Submission.verdict`); the others say nothing about the program.
VERDICTS = {
    "OK": "accepted",
    "PARTIAL": "partial",
    "COMPILATION_ERROR": "compile_error",
    "RUNTIME_ERROR": "runtime_error",
    "WRONG_ANSWER": "wrong_answer",
    "PRESENTATION_ERROR": "wrong_answer",
    "TIME_LIMIT_EXCEEDED": "time_limit_exceeded",
    "IDLENESS_LIMIT_EXCEEDED": "time_limit_exceeded",
    "MEMORY_LIMIT_EXCEEDED": "memory_limit_exceeded",
    "REJECTED": "rejected",
}
FACTS = {
    "passedTestCount": "tests passed",
    "timeConsumedMillis": "ms",
    "memoryConsumedBytes": "bytes",
    "testset": "test set",
}


class CodeforcesSubmissions(RowAdapter):
    name = "codeforces_submissions"

    def sample_key(self, row: JsonRow) -> SampleKey:
        return SampleKey(row.line, problem_id_of(row.value), "", "human", str(row.value["submission_id"]))

    def items(self, row: JsonRow, file: SourceFile) -> Iterator[ReadItem]:
        value = row.value
        word = value["verdict"]
        if word is not None and not isinstance(word, str):
            raise TypeError(f"verdict is {type(word).__name__}")
        if word and word not in VERDICTS:
            file.notes[f"verdict {word:.40}: without a claim"] += 1
        trajectory = human_solution(
            problem_id_of(value),
            str(value["submission_id"]),
            value["source"],
            language_name(value["programmingLanguage"]),
            VERDICTS.get(word or ""),
            basis_of(value),
        )
        yield ReadTrajectory(row.line, row.raw, trajectory, row.size)


register(CodeforcesSubmissions())


def problem_id_of(value: dict[str, Any]) -> str:
    """codeforces/<contest>/<index>, as in `codeforces`."""
    name = value.get("problem_id")
    if not name:
        name = f"{int(value['contestId'])}/{value['problem_index']}"
    return f"codeforces/{name}"


def basis_of(value: dict[str, Any]) -> str:
    facts = [f"{text_of(value[key])} {what}" for key, what in FACTS.items() if value.get(key) is not None]
    return f"Codeforces {value['verdict']}: {', '.join(facts)}"


def text_of(value: Any) -> str:
    """Whole numbers without a fraction: the card has counts as floats."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
