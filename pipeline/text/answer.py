"""The answer in a completion: what is left without reasoning, special tokens, tags and tool calls."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

# Reasoning begins at the first form and ends at the second. Chat templates often write the first one in the
# prompt, so that a completion has only the second one.
REASONING_BEGIN = re.compile(
    r"^[ \t]*(?:<(?:think|thinking|thought|reasoning)>|\[THINK\]|\u25c1think\u25b7|<\|begin_of_thought\|>"
    r"|<\|channel\|>analysis<\|message\|>)",
    re.MULTILINE | re.IGNORECASE,
)
REASONING_END = re.compile(
    r"</(?:think|thinking|thought|reasoning)>|\[/THINK\]|\u25c1/think\u25b7|<\|end_of_thought\|>"
    r"|<\|channel\|>final<\|message\|>",
    re.IGNORECASE,
)
# Tokens that end a turn or a text, at the end of the completion.
END_TOKENS = (
    "<|im_end|>", "<|endoftext|>", "<|end_of_text|>", "<|eot_id|>", "<|eom_id|>", "<|end|>", "<|return|>",
    "<|EOT|>", "<|eos|>", "</s>", "<eos>", "<end_of_turn>", "<|end_of_turn|>", "<|end_of_solution|>",
    "<\uff5cend\u2581of\u2581sentence\uff5c>", "[EOS]",
)  # fmt: skip
# Only so many characters at the end are searched for tokens that end a turn.
MAX_TAIL_CHARACTERS = 2_000
TAGS = ("answer", "solution", "code", "program", "python", "cpp", "java")
TAG_BEGIN = re.compile(
    rf"^[ \t]*(?:<(?P<angle>{'|'.join(TAGS)})>|\[(?P<square>PYTHON|CODE|ANSWER|CPP|JAVA)\])",
    re.MULTILINE | re.IGNORECASE,
)
CALL = re.compile(r"<tool_call>(.*?)(?:</tool_call>|\Z)", re.DOTALL)
PARAMETER = re.compile(r"<parameter=(\w+)>\n?(.*?)\n?(?:</parameter>|\Z)", re.DOTALL)
CODE_KEYS = ("code", "program", "source_code", "source", "solution", "script", "content", "answer", "input")
ARGUMENTS = ("arguments", "parameters", "args", "input", "function", "action_input")
MAX_CALL_DEPTH = 6


def plain_lines(text: str) -> str:
    """The text without a byte order mark, with LF as line end, without tokens that end a turn."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = text.removeprefix("\ufeff")
    head, tail = text[:-MAX_TAIL_CHARACTERS], text[-MAX_TAIL_CHARACTERS:]
    while True:
        stripped = tail.rstrip()
        token = next((token for token in END_TOKENS if stripped.endswith(token)), None)
        if token is None:
            return head + tail
        tail = stripped.removesuffix(token)


def split_reasoning(text: str) -> tuple[str, str, bool]:
    """(reasoning, answer, whether the text ends within the reasoning)."""
    reasoning: list[str] = []
    answer: list[str] = []
    position = 0
    ends = [(match.start(), match.end()) for match in REASONING_END.finditer(text)]
    begins = [(match.start(), match.end()) for match in REASONING_BEGIN.finditer(text)]
    if ends and (not begins or begins[0][0] > ends[0][0]):
        begins.insert(0, (0, 0))
    next_end = 0
    for begin, _ in begins:
        if begin < position:
            continue
        while next_end < len(ends) and ends[next_end][0] < begin:
            next_end += 1
        answer.append(text[position:begin])
        if next_end == len(ends):
            return "".join([*reasoning, text[begin:]]), "".join(answer), True
        reasoning.append(text[begin : ends[next_end][1]])
        position = ends[next_end][1]
    answer.append(text[position:])
    return "".join(reasoning), "".join(answer), False


def reasoning_length(completion: str) -> int:
    """Characters of a completion that are reasoning, its tags included."""
    return len(split_reasoning(completion)[0])


def tagged_part(text: str) -> str | None:
    """The inside of the last tag such as `<answer>` or `[PYTHON]` that begins a line, or None."""
    last = None
    for match in TAG_BEGIN.finditer(text):
        last = match
    if last is None:
        return None
    end = f"</{last['angle']}>" if last["angle"] else f"[/{last['square']}]"
    inside, _, _ = text[last.end() :].partition(end)
    return inside.removeprefix("\n")


def called_programs(text: str) -> tuple[list[str], str]:
    """(programs in the arguments of tool calls, the text without the calls)."""
    stripped = text.strip()
    if stripped[:1] in ("{", "[") and '"' in stripped:
        programs = list(_programs_of_json(stripped))
        if programs:
            return programs, ""
    if "<tool_call>" not in text:
        return [], text
    programs = []
    for match in CALL.finditer(text):
        programs += list(_programs_of_json(match[1].strip()))
        programs += [value for key, value in PARAMETER.findall(match[1]) if key in CODE_KEYS]
    return programs, CALL.sub("\n", text)


def program_of_arguments(arguments: Any) -> str | None:
    """The program in the arguments of a tool call, an object or its JSON; None if there is none."""
    if isinstance(arguments, str):
        return next(_programs_of_json(arguments), None)
    return next(_programs_of_call({"arguments": arguments}, 0), None)


def _programs_of_json(text: str) -> Iterator[str]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return
    for call in value if isinstance(value, list) else [value]:
        if isinstance(call, dict):
            yield from _programs_of_call(call if set(call) & set(ARGUMENTS) else {"arguments": call}, 0)


def _programs_of_call(call: dict[str, Any], depth: int) -> Iterator[str]:
    if depth > MAX_CALL_DEPTH:
        return
    for key in ARGUMENTS:
        value = call.get(key)
        if isinstance(value, str) and value.lstrip()[:1] == "{":
            try:
                value = json.loads(value)
            except (ValueError, RecursionError):
                continue
        if not isinstance(value, dict):
            continue
        programs = [
            value[name] for name in CODE_KEYS if isinstance(value.get(name), str) and value[name].strip()
        ]
        if programs:
            yield programs[0]
            return
        yield from _programs_of_call(value, depth + 1)
