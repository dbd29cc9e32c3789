"""ATIF, the Agent Trajectory Interchange Format (v1.8; the models of `atif` 1.8.0, RFC 1 of Harbor).

One document {schema_version, session_id, trajectory_id, agent, steps, extra} per file (.json) or per line
(.jsonl).
The last step of the agent is the answer, with its reasoning and its tool calls; the steps before it are the
prompt.
Token ids are those of that step's metrics. A reward is `extra.reward` or `final_metrics.extra.reward`.
Documents that
`spo corpus export --format atif` wrote have all columns of the store in `extra.spo`, and are read without a
loss.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pipeline.adapters import ReadItem, ReadTrajectory, Refused, SourceFile, register
from pipeline.adapters.documents import whole_document
from pipeline.adapters.lines import SUFFIXES, JsonRow, json_rows
from pipeline.adapters.messages import call_text
from pipeline.adapters.own_part import own_columns
from pipeline.adapters.rollouts import path_name, problem_id_of, sample, score_claim
from pipeline.adapters.rows import DOCUMENTS, RowAdapter
from pipeline.adapters.sample import SampleKey
from pipeline.store import content_id

ROLES = {"agent": "assistant"}


class Atif(RowAdapter):
    name = "atif"
    suffixes = (*SUFFIXES, *DOCUMENTS)

    def _rows(self, file: SourceFile) -> Iterator[JsonRow | Refused]:
        return whole_document(file) if file.path.endswith(DOCUMENTS) else json_rows(file)

    def sample_key(self, row: JsonRow) -> SampleKey:
        columns = (row.value.get("extra") or {}).get("spo") or {}
        problem = columns.get("problem_id") or content_id(row.value["steps"][0]["message"])
        return SampleKey(row.line, problem, "", "atif", str(row.value.get("trajectory_id") or row.line))

    def items(self, row: JsonRow, file: SourceFile) -> Iterator[ReadItem]:
        value = row.value
        if not str(value["schema_version"]).startswith("ATIF-"):
            raise ValueError(f"schema_version is {value['schema_version']!r}")
        extra = value.get("extra") or {}
        answers = [n for n, step in enumerate(value["steps"]) if step["source"] == "agent"]
        answer = value["steps"][answers[-1]] if answers else {}
        if "spo" in extra:
            metrics = answer.get("metrics") or {}
            own = own_columns(extra["spo"], value["steps"][0]["message"], answer["message"])
            own["token_ids"], own["token_logprobs"] = (
                metrics.get("completion_token_ids"),
                metrics.get("logprobs"),
            )
            yield ReadTrajectory(row.line, row.raw, own, row.size)
            return
        agent = value["agent"]
        metrics = answer.get("metrics") or {}
        reward = extra.get("reward", ((value.get("final_metrics") or {}).get("extra") or {}).get("reward"))
        before = value["steps"][: answers[-1]] if answers else value["steps"]
        yield sample(
            row,
            [message_of(step) for step in before if not step.get("is_copied_context")],
            [message_of(answer)] if answer else None,
            problem_id=problem_id_of(extra),
            origin="other_policy",
            policy_id=answer.get("model_name")
            or agent.get("model_name")
            or agent.get("name")
            or path_name(file),
            source_key=str(
                value.get("trajectory_id") or value.get("session_id") or f"{file.name}#{row.line}"
            ),
            token_ids=metrics.get("completion_token_ids"),
            **score_claim(reward, "reward", "ATIF"),
        )


register(Atif())


def message_of(step: dict[str, Any]) -> dict[str, Any]:
    """A step as a chat message."""
    calls = "".join(
        call_text({"name": call["function_name"], "arguments": call["arguments"]})
        for call in step.get("tool_calls") or []
    )
    content = step["message"]
    if calls:
        content = [*(content if isinstance(content, list) else [{"type": "text", "text": content}]), calls]
    message = {"role": ROLES.get(step["source"], step["source"]), "content": content}
    reasoning = step.get("reasoning_content")
    return message | ({"reasoning_content": reasoning} if reasoning else {})
