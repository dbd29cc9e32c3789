"""Samples of a policy in any tool's columns: JSON lines, JSON, CSV, TSV, Parquet, Arrow, folders, the Hub.

    spo ingest samples FILE --map completion=response --map reward=score
    spo ingest samples FILE --map mapping.toml              # the same pairs, one a line

A mapping says which key of a row has which fact; a nested key is written with dots (`doc.task_id`,
`outputs.0.text`). What is not mapped is guessed from common names (`GUESSES`), and every guess is reported
once per file, with the number of rows. Keys that are named like a reward and not used are reported, too.

Facts: completion (text, messages, or a list of either: several samples), prompt (text or messages), messages
(the last one of the assistant is the completion), program (without it, it is extracted), reward (a number or
a verdict's name), problem_id, policy_id, run_id, policy_step, sample_index, temperature, top_p,
finish_reason, language, source_key. A row needs a completion, and a problem_id or a prompt.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from pipeline.adapters import ReadItem, SourceError, SourceFile, register
from pipeline.adapters.csv_rows import DELIMITERS
from pipeline.adapters.lines import JsonRow
from pipeline.adapters.rollouts import (
    claim,
    finish_reason,
    number_of,
    path_name,
    problem_id_of,
    sample,
    score_claim,
    step_of,
)
from pipeline.adapters.rows import RowAdapter
from pipeline.adapters.sample import SampleKey
from pipeline.adapters.tables import json_bytes
from pipeline.store import content_id
from pipeline.text import VERDICT_NAMES

# Common names of each fact, the first that a row has is used.
GUESSES: dict[str, tuple[str, ...]] = {
    "completion": (
        "completion", "completions", "response", "responses", "llm_response", "model_response", "generation",
        "generations", "output", "outputs", "resps", "model_output", "prediction", "answer_text", "text",
        "generated_text", "output_text", "raw_solution",
    ),
    "messages": ("messages", "conversation", "conversations"),
    "prompt": ("prompt", "question", "input", "instruction", "problem", "query", "prompt_text", "doc.prompt"),
    "program": ("program", "code", "extracted_code", "parsed_code", "solution"),
    "reward": (
        "reward", "score", "acc", "accuracy", "passed", "correct", "is_correct", "pass", "pass@1", "verdict",
        "result", "is_accepted", "verified", "rewards", "scores",
    ),
    "problem_id": ("problem_id", "task_id", "question_id", "doc.task_id", "doc.question_id", "id"),
    "policy_id": ("policy_id", "model", "model_name", "generator", "policy"),
    "run_id": ("run_id", "run"),
    "policy_step": ("policy_step", "step", "global_step"),
    "sample_index": ("sample_index", "completion_id", "rollout_index", "sample_idx"),
    "temperature": ("temperature", "sampling.temperature", "sampling_params.temperature"),
    "top_p": ("top_p", "sampling.top_p", "sampling_params.top_p"),
    "finish_reason": ("finish_reason", "stop_reason"),
    "language": ("language", "lang"),
    "source_key": ("source_key", "sample_id", "uid", "uuid"),
}  # fmt: skip
# A row with one of these, and no completion, is a solution of a data set.
ONLY_WITH_COMPLETION = ("program",)


class Samples(RowAdapter):
    """`mapping`: fact -> key; guessed where it has none."""

    name = "samples"
    suffixes = (*RowAdapter.suffixes, *DELIMITERS)

    def __init__(self, mapping: Mapping[str, str] | None = None) -> None:
        self.mapping = dict(mapping or {})

    def mapped(self, mapping: Mapping[str, str]) -> Samples:
        """This adapter with a mapping. Raises SourceError for unknown facts."""
        return Samples(checked_mapping(mapping))

    def files(self, source: str, limit: int | None) -> list[SourceFile]:
        files = super().files(source, limit)
        if not self.mapping:
            return files
        return [replace(file, options=file.options | {"map": self.mapping}) for file in files]

    def sample_key(self, row: JsonRow) -> SampleKey:
        facts = self.facts(row.value, None)
        problem = facts.get("problem_id") or content_id(str(facts.get("prompt")))
        return SampleKey(row.line, str(problem), "", "samples", str(row.line))

    def facts(self, value: dict[str, Any], file: SourceFile | None) -> dict[str, Any]:
        """The facts of a row by name, those that the row has; guesses are noted in the file."""
        facts = {}
        for fact, names in GUESSES.items():
            mapped = self.mapping.get(fact)
            for name in (mapped,) if mapped else names:
                if name == "solution" and not mapped and "raw_solution" not in value:
                    continue  # without the answer it was taken from, it is the solution of the data set
                is_there, item = lookup(value, name)
                # A completion that is null is an answer without a program.
                if is_there or (fact == "completion" and name in value):
                    facts[fact] = item
                    if file is not None and not mapped and name != fact:
                        file.notes[f"guessed: {fact} = {name}"] += 1
                    break
        return facts

    def items(self, row: JsonRow, file: SourceFile) -> Iterator[ReadItem]:
        if is_by_problem(row.value):
            file.notes["guessed: keys are problem ids, values their answers"] += 1
            for name, answers in row.value.items():
                value = {"problem_id": name, "completion": answers, "source_key": f"{file.name}#{name}"}
                yield from self.items(
                    JsonRow(row.line, partial(json_bytes, value), value, len(str(answers))), file
                )
            return
        facts = self.facts(row.value, file)
        note_unused_rewards(row.value, facts, file)
        prompt, completions = prompt_and_completions(facts)
        many = len(completions) > 1
        for index, completion in enumerate(completions):
            program = pick(facts.get("program"), index, many)
            columns = {
                "problem_id": name_of(facts, row.value),
                "origin": "other_policy",
                **policy_columns(facts, file),
                "source_key": key_of(facts, row, file) + (f"#{index}" if many else ""),
                "sample_index": index if many else facts.get("sample_index"),
                "temperature": facts.get("temperature"),
                "top_p": facts.get("top_p"),
                "finish_reason": finish_reason(facts.get("finish_reason")),
                "language": facts.get("language"),
                **self.claim_of(facts, index, many, file),
            }
            text, details = opened(completion)
            if isinstance(program, str) and program.strip():
                columns["program"] = program
            yield sample(row, prompt, text, **columns | details)

    def claim_of(self, facts: dict[str, Any], index: int, many: bool, file: SourceFile) -> dict[str, Any]:
        """The claim of one sample. One number for several samples is their mean, which claims nothing."""
        reward = facts.get("reward")
        if many and reward is not None and not isinstance(reward, list):
            file.notes["one reward for several samples: they have no claim"] += 1
            return {"claimed_basis": f"reward of {len_of(facts)} samples = {reward!s:.100}"}
        return reward_claim(pick(reward, index, many), self.mapping.get("reward", "reward"))


register(Samples())


def len_of(facts: dict[str, Any]) -> int:
    return len(prompt_and_completions(facts)[1])


def is_by_problem(value: dict[str, Any]) -> bool:
    """Whether a document is {problem_id: answer or answers}, as some harnesses write predictions."""
    return bool(value) and all(
        all(name.partition("/")) and isinstance(item, str | list) for name, item in value.items()
    )


def checked_mapping(mapping: Mapping[str, str]) -> dict[str, str]:
    """A mapping, also from a TOML file (`{"mapping.toml": ""}`). Raises SourceError for unknown facts."""
    checked: dict[str, str] = {}
    for fact, key in mapping.items():
        if fact.endswith(".toml") and not key:
            try:
                checked |= {name: str(value) for name, value in tomllib.loads(Path(fact).read_text()).items()}
            except (OSError, ValueError) as error:
                raise SourceError(f"{fact}: {error}") from error
        else:
            checked[fact] = key
    for fact in checked:
        if fact not in GUESSES:
            raise SourceError(f"--map {fact}: no such fact; there are: {', '.join(GUESSES)}")
    return checked


def lookup(value: Any, name: str) -> tuple[bool, Any]:
    """(whether the key is there, its value); the parts of a nested key are joined by dots."""
    if isinstance(value, dict) and name in value:
        return value[name] is not None, value[name]
    first, _, rest = name.partition(".")
    if isinstance(value, list) and first.isdigit() and int(first) < len(value):
        held = value[int(first)]
    elif rest and isinstance(value, dict) and first in value:
        held = value[first]
    else:
        return False, None
    return lookup(held, rest) if rest else (held is not None, held)


def prompt_and_completions(facts: dict[str, Any]) -> tuple[Any, list[Any]]:
    """(prompt, completions) of a row. Raises KeyError without a completion."""
    prompt, completion = facts.get("prompt"), facts.get("completion")
    if isinstance(facts.get("messages"), list) and completion is None:
        messages = [with_role(message) for message in facts["messages"]]
        last = max((n for n, one in enumerate(messages) if one.get("role") == "assistant"), default=-1)
        if last < 0:
            raise KeyError("completion (no message of the assistant in messages)")
        return messages[:last] or prompt, [messages[: last + 1][-1:]]
    if "completion" not in facts and "program" in facts:
        completion = facts["program"]
    elif "completion" not in facts:
        raise KeyError("completion (name its key with --map completion=KEY)")
    while isinstance(completion, list) and len(completion) == 1 and isinstance(completion[0], list):
        completion = completion[0]
    is_list = isinstance(completion, list) and not any(is_message(one) for one in completion)
    return prompt, list(completion) if isinstance(completion, list) and is_list else [completion]


def is_message(value: Any) -> bool:
    return isinstance(value, dict) and "role" in value


def with_role(message: Any) -> dict[str, Any]:
    """A message of ShareGPT (`from`, `value`) in OpenAI's form."""
    if isinstance(message, dict) and "from" in message:
        role = {"gpt": "assistant", "human": "user"}.get(message["from"], message["from"])
        return {"role": role, "content": message.get("value")}
    return message if isinstance(message, dict) else {"role": "user", "content": str(message)}


def opened(completion: Any) -> tuple[Any, dict[str, Any]]:
    """(answer, further columns) of a completion that is an object: vLLM's outputs, choices of a chat API."""
    if not isinstance(completion, dict) or "role" in completion:
        return completion, {}
    if isinstance(completion.get("choices"), list) and completion["choices"]:
        return opened(completion["choices"][0])
    details: dict[str, Any] = {}
    if completion.get("finish_reason"):
        details["finish_reason"] = finish_reason(completion["finish_reason"])
    if isinstance(completion.get("token_ids"), list):
        details["token_ids"] = list(completion["token_ids"])
    text = next(
        (completion[key] for key in ("text", "message", "content", "completion") if key in completion), None
    )
    if text is None:
        raise KeyError("text (of an output)")
    if isinstance(text, list) and len(text) > 1 and all(isinstance(one, str) for one in text):
        raise ValueError(f"{len(text)} texts in one output: name their list with --map completion=KEY.text")
    return text, details


def pick(value: Any, index: int, many: bool) -> Any:
    """The value of one of several samples: an item of a list, or the one value of all."""
    if many and isinstance(value, list):
        return value[index] if index < len(value) else None
    if not many and isinstance(value, list) and len(value) == 1:
        return value[0]
    return value


def name_of(facts: dict[str, Any], value: dict[str, Any]) -> str | None:
    """The problem's id if it has the store's form."""
    held = facts.get("problem_id")
    return (
        problem_id_of({"problem_id": held}) if isinstance(held, str) and "/" in held else problem_id_of(value)
    )


def policy_columns(facts: dict[str, Any], file: SourceFile) -> dict[str, Any]:
    policy = facts.get("policy_id")
    columns: dict[str, Any] = {
        "policy_id": str(policy) if policy is not None else model_in_name(file) or path_name(file),
        "policy_step": step_of(facts.get("policy_step")),
    }
    if "policy_step" in facts or "run_id" in facts:
        run = facts.get("run_id")
        columns |= {"origin": "earlier_run", "run_id": str(run) if run is not None else path_name(file)}
    return columns


def model_in_name(file: SourceFile) -> str | None:
    """The model in a name of BigCodeBench: `<org>--<model>--<revision>--bigcodebench-<split>--...`."""
    name, mark, _ = PurePosixPath(file.name).name.partition("--bigcodebench-")
    parts = [part for part in name.split("--") if part != "skip_prefill"]
    return "/".join(parts[:-1]) if mark and len(parts) > 1 else None


def key_of(facts: dict[str, Any], row: JsonRow, file: SourceFile) -> str:
    return str(facts["source_key"]) if "source_key" in facts else f"{file.name}#{row.line}"


def reward_claim(reward: Any, key: str) -> dict[str, Any]:
    """The claim of a reward: a number, the name of a verdict, or an object with one of them."""
    if isinstance(reward, dict) and len(reward) == 1:
        ((name, reward),) = reward.items()
        key = f"{key}.{name}"
    if isinstance(reward, str) and reward.strip().lower() in VERDICT_NAMES:
        return {
            "claimed_verdict": VERDICT_NAMES[reward.strip().lower()],
            "claimed_basis": f"{key} = {reward}",
        }
    try:
        claim(reward)
    except TypeError:
        return {"claimed_basis": f"{key} = {reward!s:.100}"}
    return score_claim(reward, key, "samples")


def note_unused_rewards(value: dict[str, Any], facts: dict[str, Any], file: SourceFile) -> None:
    """Note keys that are named like a reward, have a number, and are not the reward of the row."""
    for key, item in value.items():
        if item is facts.get("reward") or not isinstance(item, int | float | str):
            continue
        if any(word in key.lower() for word in ("reward", "score", "accuracy", "correct", "passed")):
            try:
                is_number = number_of(item) is not None
            except TypeError:
                continue
            if is_number:
                file.notes[f"not used: {key}, named like a reward"] += 1
