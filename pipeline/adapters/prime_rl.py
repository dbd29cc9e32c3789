"""prime-rl: rollouts of its orchestrator, and evaluations of `verifiers`, which write the same rows.

There are three schemas, detected per row. An episode (verifiers 0.4.0, `verifiers/v1/episode.py`) has its
traces in `traces`, and the step in `run.work.policy.start`, else in `run.work.step`. A trace (verifiers
0.4.0, `verifiers/v1/trace.py`; `rollouts/step_<n>/train_rollouts.jsonl`, `traces.jsonl`): `task.data`,
`nodes` (messages with `parent`, `sampled`, `token_ids`, `mask`, `logprobs`), `calls` (`node`, `model`,
`sampling`, `finish_reason`), `rewards` {name: {score, weight}}. Older versions (verifiers 0.1; also
`results.jsonl`): `prompt` and `completion` (strings or messages), `reward`, `info`, `example_id`. The step is
that of the folder `step_<n>`. Of several turns the last answer is used, with the messages before it as its
prompt. A sample at temperature 1 has a behaviour log-probability if tokens are logged. A trace that ended by
a time-out without an answer is a sample without a program; one that ended by an error of the machinery is
none, and is refused with that error. Annotations of a run are merged into its traces:
`pipeline/adapters/prime_rl_updates.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from typing import Any

from pipeline.adapters import ReadItem, Refused, SourceFile, register
from pipeline.adapters.lines import SUFFIXES, JsonRow
from pipeline.adapters.prime_rl_updates import Updates, with_updates
from pipeline.adapters.rollouts import (
    finish_reason,
    problem_id_of,
    prompt_sample_key,
    run_columns,
    sample,
    score_claim,
)
from pipeline.adapters.rows import RowAdapter
from pipeline.adapters.sample import SampleKey
from pipeline.adapters.tables import json_bytes

STEP = re.compile(r"step_(\d+)")
BASIS = "prime-rl environment"


class PrimeRl(RowAdapter):
    name = "prime_rl"
    suffixes = SUFFIXES

    def files(self, source: str, limit: int | None) -> list[SourceFile]:
        return with_updates(super().files(source, limit))

    def _rows(self, file: SourceFile) -> Iterator[JsonRow | Refused]:
        """The rows, with what annotations say of their traces."""
        if not file.companions:
            yield from super()._rows(file)
            return
        with closing(Updates(file)) as updates:
            for row in super()._rows(file):
                if isinstance(row, JsonRow):
                    traces = row.value.get("traces") or [row.value]
                    for trace in traces if isinstance(traces, list) else []:
                        if isinstance(trace, dict):
                            updates.apply(trace)
                    row.raw = partial(json_bytes, row.value)
                yield row

    def sample_key(self, row: JsonRow) -> SampleKey:
        value = (row.value.get("traces") or [row.value])[0]
        return prompt_sample_key(
            row, trace_parts(value)[0] if "nodes" in value else value["prompt"], "prime_rl"
        )

    def items(self, row: JsonRow, file: SourceFile) -> Iterator[ReadItem]:
        match = STEP.search(file.name)
        work = (row.value.get("run") or {}).get("work") or {}
        step = policy_step(work, file)
        run = run_columns(file, step if step is not None else int(match[1]) if match else None)
        if "traces" in row.value:
            for trace in row.value["traces"]:
                timed_out = bool(row.value.get("is_timeout"))
                part = JsonRow(row.line, partial(json_bytes, trace), trace, row.size)
                yield from_trace(part, run, timed_out)
            return
        if "nodes" in row.value:
            yield from_trace(row, run, bool(row.value.get("is_timeout")))
            return
        value = row.value
        yield sample(
            row,
            value["prompt"],
            value["completion"],
            source_key=f"{value.get('example_id')}#{row.line}",
            finish_reason="length" if value.get("is_truncated") else None,
            **run,
            **score_claim(value["reward"], "reward", BASIS),
        )


register(PrimeRl())


def policy_step(work: dict[str, Any], file: SourceFile) -> Any:
    """The version of the policy that sampled an episode; the step of its dispatch where that is not known."""
    span = work.get("policy") or {}
    if span.get("start") != span.get("end"):
        file.notes["weights changed while the episode was sampled: the first version is its step"] += 1
    return span.get("start", work.get("step"))


def from_trace(row: JsonRow, run: dict[str, Any], timed_out: bool = False) -> ReadItem:
    value = row.value
    data = (value.get("task") or {}).get("data") or {}
    prompt, node, call = trace_parts(value)
    if node is None and not (timed_out or is_timeout(value)):
        errors = "; ".join(str(error.get("type")) for error in value.get("errors") or [])
        reason = f"the model gave no answer{': ' + errors if errors else ''}"
        return Refused(row.line, row.raw, reason, "errors" if errors else "nodes", row.size)
    rewards = [one for one in (value.get("rewards") or {}).values() if one is not None]
    score = sum(one["score"] * one.get("weight", 1.0) for one in rewards) if rewards else None
    sampling = call.get("sampling") or {}
    columns = run | {"temperature": sampling.get("temperature"), "top_p": sampling.get("top_p")}
    return sample(
        row,
        prompt,
        [node["message"]] if node else None,
        problem_id=problem_id_of(data)
        or problem_id_of(value.get("task") or {})
        or problem_id_of({"info": value.get("info")}),
        source_key=str(value["id"]),
        finish_reason="timeout"
        if timed_out or is_timeout(value)
        else finish_reason(call.get("finish_reason")),
        **(tokens(node, columns["temperature"]) if node else {}),
        **columns,
        **score_claim(score, "reward", BASIS),
    )


def is_timeout(value: dict[str, Any]) -> bool:
    """Whether a trace says that the policy ran out of time."""
    named = any("timeout" in str(error.get("type")).lower() for error in value.get("errors") or [])
    return bool(value.get("is_timeout")) or named


def trace_parts(value: dict[str, Any]) -> tuple[Any, dict[str, Any] | None, dict[str, Any]]:
    """(messages before the last answer, its node, its call); without an answer all messages, None and {}."""
    nodes = value["nodes"]
    answers = [number for number, node in enumerate(nodes) if node["sampled"]]
    if not answers:
        data = (value.get("task") or {}).get("data") or {}
        return [node["message"] for node in nodes] or data.get("prompt"), None, {}
    path: list[dict[str, Any]] = []
    parent = nodes[answers[-1]].get("parent")
    while parent is not None and len(path) <= len(nodes):
        path.append(nodes[parent]["message"])
        parent = nodes[parent].get("parent")
    call: dict[str, Any] = next(
        (call for call in value.get("calls") or [] if call.get("node") == answers[-1]), {}
    )
    return path[::-1], nodes[answers[-1]], call


def tokens(node: dict[str, Any], temperature: float | None) -> dict[str, Any]:
    """Sampled tokens of a node, and their log-probabilities if they are those at temperature 1."""
    sampled = [
        token
        for token, is_sampled in zip(node.get("token_ids") or [], node.get("mask") or [], strict=True)
        if is_sampled
    ]
    if not sampled:
        return {}
    logprobs = node.get("logprobs") or []
    known = temperature == 1 and len(logprobs) == len(sampled)
    return {
        "token_ids": sampled,
        "behaviour_logprob": float(sum(logprobs)) if known else None,
        "token_logprobs": logprobs if known else None,
    }
