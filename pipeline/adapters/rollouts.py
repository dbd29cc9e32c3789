"""Shared translation of samples of language models: answers, scores, problem ids, names of runs.

Dumps rarely have the store's problem ids. If none of `ID_KEYS` has the form `<source>/<id>`, admission finds
the problem by the statement in the prompt. An answer without a program is a trajectory, too: its author has
earned the lowest reward.
"""

from __future__ import annotations

import ast
import math
import re
from typing import Any

from pipeline.adapters import ReadTrajectory, SourceFile
from pipeline.adapters.lines import JsonRow
from pipeline.adapters.messages import last_answer, plain_prompt, stored_prompt
from pipeline.adapters.path_names import named_folder, telling_name
from pipeline.adapters.sample import SampleKey
from pipeline.store import content_id
from pipeline.text import detect_language, extract_program, language_name, reasoning_length, verdict_name

ID_KEYS = ("problem_id", "task_id", "question_id", "custom_id", "id", "example_id")
# The text of a tensor with one number.
TENSOR = re.compile(r"tensor\((.*?)(?:, *(?:device|dtype|grad_fn)=.*)?\)")
MAX_SCORE_CHARACTERS = 1_000
NESTED = ("extra_info", "info", "metadata")
FINISH_REASONS = {
    "stop": "stop",
    "eos": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "completed": "stop",
    "tool_calls": "stop",
    "tool_use": "stop",
    "function_call": "stop",
    "length": "length",
    "max_tokens": "length",
    "max_output_tokens": "length",
    "model_length": "length",
    "content_filter": "refused",
    "refusal": "refused",
    "timeout": "timeout",
    "error": "error",
}


def finish_reason(name: Any) -> str | None:
    """The store's word for why an answer ended; None if it is unknown."""
    return FINISH_REASONS.get(str(name).lower()) if name else None


def problem_id_of(value: dict[str, Any]) -> str | None:
    """The `<source>/<id>` in a row or its nested objects, without a sample number such as `#3`; or None."""
    for held in (value, *(value[key] for key in NESTED if isinstance(value.get(key), dict))):
        for key in ID_KEYS:
            name = held.get(key)
            if isinstance(name, str) and all(name.partition("/")) and not any(c.isspace() for c in name):
                return name.partition("#")[0]
    return None


def number_of(score: Any) -> float | None:
    """A score as a number: also text ("1.0", "True", "tensor(1.)"), a list of one, the `score` of an object,
    and either of these as text, as older dumps have them.

    None for null, NaN, "None" and a list of several. Raises TypeError for anything else.
    """
    if isinstance(score, dict):
        keys = [key for key in ("score", "reward", "acc", "value") if key in score]
        if not keys:
            raise TypeError(f"score is an object without the key score: {list(score)!s:.80}")
        return number_of(score[keys[0]])
    if isinstance(score, list):
        return number_of(score[0]) if len(score) == 1 else None
    if isinstance(score, str):
        text = score.strip().lower()
        if text in ("true", "false"):
            return float(text == "true")
        if text in ("", "none", "null", "nan"):
            return None
        match = TENSOR.fullmatch(text)
        return number_of(literal_of(match[1] if match else text))
    if score is None or isinstance(score, bool):
        return None if score is None else float(score)
    if not isinstance(score, int | float):
        raise TypeError(f"score is {type(score).__name__}")
    return None if math.isnan(score) else float(score)


def literal_of(text: str) -> Any:
    """A number, a list or an object in a text, as Python or JSON writes them. Raises TypeError."""
    try:
        return float(text)
    except ValueError:
        pass
    try:
        value = ast.literal_eval(text) if len(text) <= MAX_SCORE_CHARACTERS else text
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        value = text
    if not isinstance(value, list | dict):
        raise TypeError(f"score is the text {text[:40]!r}")
    return value


def claim(score: Any) -> str | None:
    """The verdict that a score claims: >= 1 accepted, <= 0 rejected, else partial; no number: no claim."""
    number = number_of(score)
    if number is None:
        return None
    return "accepted" if number >= 1 else "partial" if number > 0 else "rejected"


def score_claim(score: Any, key: str, program: str) -> dict[str, Any]:
    """The columns of a claim based on a score; a score that cannot be read has a basis and no verdict."""
    if score is None:
        return {}
    try:
        verdict = claim(score)
    except TypeError:
        verdict = None
    return {"claimed_verdict": verdict, "claimed_basis": f"{program}: {key} = {score!s:.200}"}


def first_metric(metrics: dict[str, Any], program: str, file: SourceFile) -> dict[str, Any]:
    """The columns of a claim based on the first metric that has a value; the others are noted in the file."""
    valued = {name: value for name, value in metrics.items() if value is not None}
    for name in list(valued)[1:]:
        file.notes[f"not used: the metric {name}"] += 1
    for name, value in valued.items():
        return score_claim(value, name, program)
    return {}


def sample(row: JsonRow, prompt: Any, completion: Any, **columns: Any) -> ReadTrajectory:
    """A sample of a policy as a trajectory; `columns` has the other columns (origin, policy_id, source_key,
    ...), and `program` if the source has it separately.
    """
    answer, prompt_text = last_answer(completion), plain_prompt(prompt) if prompt is not None else None
    expected = language_name(columns.pop("language", None))
    program, rule, fenced = columns.pop("program", None), "given", None
    if program is None:
        program, rule, fenced = extract_program(answer, expected if isinstance(expected, str) else None)
    columns = {
        "problem_id": problem_id_of(row.value),
        "prompt": stored_prompt(prompt) if prompt is not None else None,
        "completion": answer,
        "program": program,
        "extraction": rule,
        "language": expected or fenced or detect_language(program),
        "reasoning_length": reasoning_length(answer),
        **columns,
    }
    if columns["problem_id"] is None and prompt_text is None:
        raise ValueError("the row names no problem, and has no prompt to find it by")
    columns["claimed_verdict"] = verdict_name(columns.get("claimed_verdict"))
    return ReadTrajectory(row.line, row.raw, columns, row.size, prompt_text)


def step_of(step: Any) -> int | None:
    """A step as an integer, also from text or an integral float. Raises TypeError for anything else."""
    if isinstance(step, str) and step.strip().isdigit():
        return int(step)
    if isinstance(step, float) and step.is_integer():
        return int(step)
    if step is None or (isinstance(step, int) and not isinstance(step, bool)):
        return step
    raise TypeError(f"step is {type(step).__name__} {step!r:.40}")


def path_name(file: SourceFile) -> str:
    """The name of a run or a policy from the path of a file; `file.path_names` keeps its folder."""
    name, above = telling_name(file.name)
    if name not in file.path_names:
        file.path_names[name] = named_folder(file.path, above)
    return name


def run_columns(file: SourceFile, step: Any = None) -> dict[str, Any]:
    """Columns of a sample that a trainer wrote. The run id is the nearest telling folder above the file."""
    run = path_name(file)
    return {"origin": "earlier_run", "policy_id": run, "run_id": run, "policy_step": step_of(step)}


def prompt_sample_key(row: JsonRow, prompt: Any, policy: str) -> SampleKey:
    """The sample key of a rollout without a problem id: the prompt identifies the problem."""
    problem = problem_id_of(row.value) or content_id(plain_prompt(prompt))
    return SampleKey(row.line, problem, "", policy, str(row.line))
