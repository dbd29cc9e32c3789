"""prime-rl: rollouts of its orchestrator, and evaluations of `verifiers`, which write the same rows.

Two schemas, told apart row by row. A trace (verifiers 0.4.0, `verifiers/v1/trace.py`;
`rollouts/step_<n>/train_rollouts.jsonl`, `traces.jsonl`): `task.data`, `nodes` (messages with `parent`,
`sampled`, `token_ids`, `mask`, `logprobs`), `calls` (`node`, `model`, `sampling`, `finish_reason`), `rewards`
{name: {score, weight}}. Before that (verifiers 0.1; also `results.jsonl`): `prompt` and `completion` (texts
or messages), `reward`, `info`, `example_id`. The step is that of the folder `step_<n>`. Of several turns the
last answer is taken, with what the model saw before it as its prompt. A sample drawn at temperature 1 has a
behaviour log-probability where tokens are logged.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from pipeline.adapters import ReadItem, SourceFile, register
from pipeline.adapters.lines import SUFFIXES, JsonRow
from pipeline.adapters.rollouts import (
    FINISH_REASONS,
    place_by_prompt,
    problem_id_of,
    run_columns,
    sample,
    scored,
)
from pipeline.adapters.rows import RowAdapter
from pipeline.adapters.sample import Place

STEP = re.compile(r"step_(\d+)")
BASIS = "prime-rl environment"


class PrimeRl(RowAdapter):
    name = "prime_rl"
    suffixes = SUFFIXES

    def place(self, row: JsonRow) -> Place:
        value = row.value
        return place_by_prompt(
            row, trace_parts(value)[0] if "nodes" in value else value["prompt"], "prime_rl"
        )

    def items(self, row: JsonRow, file: SourceFile) -> Iterator[ReadItem]:
        found = STEP.search(file.name)
        run = run_columns(file.name, int(found[1]) if found else None)
        if "nodes" in row.value:
            yield from_trace(row, run)
            return
        value = row.value
        yield sample(
            row,
            value["prompt"],
            value["completion"],
            source_key=f"{value.get('example_id')}#{row.line}",
            finish_reason="length" if value.get("is_truncated") else None,
            **run,
            **scored(value["reward"], "reward", BASIS),
        )


register(PrimeRl())


def from_trace(row: JsonRow, run: dict[str, Any]) -> ReadItem:
    value = row.value
    prompt, node, call = trace_parts(value)
    rewards = [one for one in value["rewards"].values() if one is not None]
    score = sum(one["score"] * one.get("weight", 1.0) for one in rewards) if rewards else None
    sampling = call.get("sampling") or {}
    columns = run | {"temperature": sampling.get("temperature"), "top_p": sampling.get("top_p")}
    data = value["task"]["data"]
    return sample(
        row,
        prompt,
        [node["message"]],
        problem_id=problem_id_of(data)
        or problem_id_of(value["task"])
        or problem_id_of({"info": value.get("info")}),
        source_key=str(value["id"]),
        finish_reason=FINISH_REASONS.get(call.get("finish_reason") or ""),
        **tokens(node, columns["temperature"]),
        **columns,
        **scored(score, "reward", BASIS),
    )


def trace_parts(value: dict[str, Any]) -> tuple[list[dict[str, Any]], dict[str, Any], dict[str, Any]]:
    """(messages the model saw, node of its last answer, the call that made it). Raises ValueError where it
    gave none.
    """
    nodes = value["nodes"]
    answers = [number for number, node in enumerate(nodes) if node["sampled"]]
    if not answers:
        errors = "; ".join(str(error.get("type")) for error in value.get("errors") or [])
        raise ValueError(f"the model gave no answer{': ' + errors if errors else ''}")
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
    """The sampled tokens of a node, and their log-probability where it is that of temperature 1."""
    sampled = [
        token
        for token, is_sampled in zip(node.get("token_ids") or [], node.get("mask") or [], strict=True)
        if is_sampled
    ]
    if not sampled:
        return {}
    logprobs = node.get("logprobs") or []
    known = temperature == 1 and len(logprobs) == len(sampled)
    return {"token_ids": sampled, "behaviour_logprob": float(sum(logprobs)) if known else None}
