"""open-r1 Codeforces-CoTs: answers of DeepSeek-R1 to problems of `open-r1/codeforces`
(`open-r1/codeforces-cots`, Parquet).

Columns as in its card: `id` ("852/A"), `prompt`, `generation`, `finish_reason`, `messages`,
`api_metadata`, and those of the problem. The folders `solutions`, `solutions_py` and their variants have
attempts. Rows of `checker_interactor` are refused, because they are checkers. Ingest `codeforces` first: an
answer needs its problem. The card states no verdicts and no temperature.
"""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.adapters import ReadItem, Refused, SourceFile, register
from pipeline.adapters.codeforces import problem_id_of
from pipeline.adapters.lines import JsonRow
from pipeline.adapters.rollouts import finish_reason, sample
from pipeline.adapters.rows import RowAdapter
from pipeline.adapters.sample import SampleKey
from pipeline.store import content_id

POLICY = "deepseek-ai/DeepSeek-R1"


class CodeforcesCots(RowAdapter):
    name = "codeforces_cots"

    def sample_key(self, row: JsonRow) -> SampleKey:
        return SampleKey(row.line, problem_id_of(row.value), "", POLICY, content_id(row.value["generation"]))

    def items(self, row: JsonRow, file: SourceFile) -> Iterator[ReadItem]:
        value = row.value
        if "checker_interactor" in file.name:
            yield Refused(row.line, row.raw, "a checker or interactor, not a solution", size=row.size)
            return
        yield sample(
            row,
            value["prompt"],
            value["generation"],
            problem_id=problem_id_of(value),
            origin="other_policy",
            policy_id=POLICY,
            source_key=content_id(value["generation"]),
            finish_reason=finish_reason(value.get("finish_reason")),
            language="python3" if "solutions_py" in file.name else None,
        )


register(CodeforcesCots())
