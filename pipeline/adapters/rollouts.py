"""What samples of language models have in common, whatever program wrote them down: prompts, answers, scores,
problems.

A prompt or an answer is a text or a list of chat messages ({role, content}, content a text or a list of
parts). A prompt in messages is stored as their JSON, for no template was applied to it yet. Dumps seldom name
a problem as the store does: where none of `ID_KEYS` holds `<source>/<id>`, admission looks for the problem
whose statement stands in the prompt.
"""

from __future__ import annotations

import json
import math
from pathlib import PurePosixPath
from typing import Any

from pipeline.adapters import ReadTrajectory
from pipeline.adapters.lines import JsonRow
from pipeline.adapters.sample import Place
from pipeline.store import content_id
from pipeline.text import detect_language, extract_program, language_name, verdict_name

ID_KEYS = ("problem_id", "task_id", "question_id", "custom_id", "id", "example_id")
NESTED = ("extra_info", "info", "metadata")
FINISH_REASONS = {
    "stop": "stop",
    "eos": "stop",
    "end_turn": "stop",
    "length": "length",
    "max_tokens": "length",
}


def text_of(prompt: Any) -> str:
    """The words of a text or of messages. Raises TypeError for anything else."""
    if isinstance(prompt, str):
        return prompt
    if not isinstance(prompt, list):
        raise TypeError(f"expected a text or messages, found {type(prompt).__name__}")
    return "\n".join(content_of(message) for message in prompt)


def content_of(message: Any) -> str:
    content = message["content"]
    if isinstance(content, list):
        return "".join(part.get("text") or "" for part in content)
    if content is not None and not isinstance(content, str):
        raise TypeError(f"content of a message is {type(content).__name__}")
    return content or ""


def stored_prompt(prompt: Any) -> str:
    return prompt if isinstance(prompt, str) else json.dumps(prompt, ensure_ascii=False)


def answer_of(completion: Any) -> str:
    """The text of an answer: of messages that of the last one, by the assistant. Raises ValueError where
    there is none.
    """
    if isinstance(completion, str):
        return completion
    if not completion or completion[-1].get("role", "assistant") != "assistant":
        raise ValueError("the completion does not end with an answer of the assistant")
    return content_of(completion[-1])


def problem_id_of(value: dict[str, Any]) -> str | None:
    """The `<source>/<id>` that a row names, or one of the objects inside it; `#3` at its end counts samples."""
    for held in (value, *(value[key] for key in NESTED if isinstance(value.get(key), dict))):
        for key in ID_KEYS:
            name = held.get(key)
            if isinstance(name, str) and all(name.partition("/")) and not any(c.isspace() for c in name):
                return name.partition("#")[0]
    return None


def claim(score: Any) -> str | None:
    """The verdict that a score claims: 1 or more accepted, 0 or less rejected, in between partial; null is
    no claim.
    """
    if score is None or (isinstance(score, float) and math.isnan(score)):
        return None
    if not isinstance(score, int | float):
        raise TypeError(f"score is {type(score).__name__}")
    return "accepted" if score >= 1 else "partial" if score > 0 else "rejected"


def scored(score: Any, key: str, program: str) -> dict[str, Any]:
    """The columns of a claim that rests on a score."""
    verdict = claim(score)
    return {"claimed_verdict": verdict, "claimed_basis": f"{program}: {key} = {score}"} if verdict else {}


def sample(row: JsonRow, prompt: Any, completion: Any, **columns: Any) -> ReadTrajectory:
    """A sample of a policy as a trajectory; `columns` says the rest (origin, policy_id, source_key and
    what is known).
    """
    answer, asked = answer_of(completion), text_of(prompt) if prompt is not None else None
    expected = language_name(columns.pop("language", None))
    program, rule, fenced = extract_program(answer, expected if isinstance(expected, str) else None)
    columns = {
        "problem_id": problem_id_of(row.value),
        "prompt": stored_prompt(prompt) if prompt is not None else None,
        "completion": answer,
        "program": program,
        "extraction": rule,
        "language": expected or fenced or detect_language(program),
        **columns,
    }
    if columns["problem_id"] is None and asked is None:
        raise ValueError("it names no problem, and has no prompt to find one by")
    columns["claimed_verdict"] = verdict_name(columns.get("claimed_verdict"))
    return ReadTrajectory(row.line, row.raw, columns, row.size, asked)


def run_columns(file_name: str, step: Any = None) -> dict[str, Any]:
    """Columns of a sample of a run that a trainer wrote: the run goes by the name of the folder ingested."""
    run = PurePosixPath(file_name).parts[0]
    if step is not None and not isinstance(step, int):
        raise TypeError(f"step is {type(step).__name__}")
    return {"origin": "earlier_run", "policy_id": run, "run_id": run, "policy_step": step}


def place_by_prompt(row: JsonRow, prompt: Any, policy: str) -> Place:
    """The place of a sample in a bounded sample: prompts stand for problems."""
    problem = problem_id_of(row.value) or content_id(text_of(prompt))
    return Place(row.line, problem, "", policy, str(row.line))
