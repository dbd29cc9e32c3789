"""lighteval: `details/<model>/<time>/details_<task>_<time>.parquet`, as `--save-details` writes them
(0.13.0).

A row is a document: {doc: {id, query, instruction}, model_response: {input, text: [answers], reasonings},
metric: {name: value}}. Every answer is a trajectory. The claim is the first metric, if there is one answer;
of several it is their mean. The policy is the model's folder below `details`, so that all its runs have one
name.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pipeline.adapters import ReadItem, SourceFile, register
from pipeline.adapters.lines import JsonRow
from pipeline.adapters.rollouts import first_metric, path_name, problem_id_of, prompt_sample_key, sample
from pipeline.adapters.rows import RowAdapter
from pipeline.adapters.sample import SampleKey

MARKERS = ("doc", "metric", "model_response")


class Lighteval(RowAdapter):
    name = "lighteval"
    suffixes = (".parquet", ".jsonl")

    def sample_key(self, row: JsonRow) -> SampleKey:
        return prompt_sample_key(row, row.value["doc"]["query"], "lighteval")

    def items(self, row: JsonRow, file: SourceFile) -> Iterator[ReadItem]:
        doc, metric, response = (row.value[key] for key in MARKERS)
        answers, reasonings = response["text"], response.get("reasonings") or []
        many = len(answers) > 1
        policy = model_of(file)
        for index, answer in enumerate(answers):
            reasoning = reasonings[index] if index < len(reasonings) else None
            yield sample(
                row,
                response.get("input") or doc["query"],
                [{"role": "assistant", "content": answer, "reasoning": reasoning}],
                problem_id=problem_id_of(doc),
                origin="other_policy",
                policy_id=policy,
                source_key=f"{file.name}#{row.line}#{index}",
                sample_index=index if many else None,
                **({} if many else first_metric(metric, "lighteval", file)),
            )


register(Lighteval())


def model_of(file: SourceFile) -> str:
    """The folders between `details` and the time of a run; else the nearest telling folder."""
    folders = Path(file.path).parts[:-1]
    if "://" in file.path or "details" not in folders[:-2]:
        return path_name(file)
    first = len(folders) - 1 - folders[::-1].index("details")
    name = "/".join(folders[first + 1 : -1])
    file.path_names[name] = str(Path(file.path).resolve().parents[1])
    return name
