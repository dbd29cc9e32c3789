"""lm-evaluation-harness: `samples_<task>_<time>.jsonl`, as `--log_samples` writes them (0.4.13).

A line is a document and a filter: {doc_id, doc, target, arguments: {gen_args_0: {arg_0: prompt, arg_1:
settings}}, resps: [[answer of each repeat]], filtered_resps, filter, metrics: [names], <value of each
metric>}. Every answer is a trajectory. Lines of other filters have the same answers, and add nothing. The
claim is the first metric, if there is one answer. The policy is the folder, where `/` in the model's name is
`__`. The aggregated `results_<time>.json` beside them are not read.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from pipeline.adapters import ReadItem, SourceError, SourceFile, register
from pipeline.adapters.lines import SUFFIXES, JsonRow
from pipeline.adapters.rollouts import first_metric, path_name, problem_id_of, prompt_sample_key, sample
from pipeline.adapters.rows import RowAdapter, source_files
from pipeline.adapters.sample import SampleKey, bounded_sample


class LmEval(RowAdapter):
    name = "lm_eval"
    suffixes = SUFFIXES

    def files(self, source: str, limit: int | None) -> list[SourceFile]:
        files = source_files(source, self.suffixes)
        samples = [file for file in files if PurePosixPath(file.name).name.startswith("samples_")]
        if not samples:
            raise SourceError(f"no samples_*.jsonl in {source}: run lm_eval with --log_samples")
        samples[0].skipped = files[0].skipped
        return samples if limit is None else bounded_sample(samples, limit, self._sample_key)

    def sample_key(self, row: JsonRow) -> SampleKey:
        return prompt_sample_key(row, request_of(row.value)[0], "lm_eval")

    def items(self, row: JsonRow, file: SourceFile) -> Iterator[ReadItem]:
        value = row.value
        prompt, settings = request_of(value)
        answers = [answer for repeats in value["resps"] for answer in as_list(repeats)]
        many = len(answers) > 1
        policy = path_name(file).replace("__", "/")
        metrics = {name: value.get(name) for name in value.get("metrics") or []}
        claim = {} if many else first_metric(metrics, "lm-evaluation-harness", file)
        for index, answer in enumerate(answers):
            item = sample(
                row,
                prompt,
                answer,
                problem_id=problem_id_of(value["doc"]),
                origin="other_policy",
                policy_id=policy,
                source_key=f"{file.name}#{value['doc_id']}#{index}",
                sample_index=index if many else None,
                temperature=settings.get("temperature"),
                top_p=settings.get("top_p"),
                **claim,
            )
            # Documents of HumanEval: the answer continues the prompt.
            item.continues = {"entry_point", "prompt"} <= value["doc"].keys()
            yield item


register(LmEval())


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def request_of(value: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """(prompt, sampling settings) of a line; chat templates leave a prompt as text. Raises KeyError."""
    arguments = value["arguments"]["gen_args_0"]
    settings = arguments.get("arg_1")
    return arguments["arg_0"], settings if isinstance(settings, dict) else {}
