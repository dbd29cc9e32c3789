"""Chat messages of prompts and answers.

A prompt or an answer is a string or a list of messages ({role, content}, content a string or a list of
parts).
A prompt of messages is stored as their JSON, because no template was applied yet. An answer is stored as one
text, as a policy writes it: reasoning that a server separated stands in `<think>`, tool calls are JSON in
`<tool_call>`.
"""

from __future__ import annotations

import json
from typing import Any

REASONING_KEYS = ("reasoning_content", "reasoning", "thinking", "reasoning_text")
REASONING_PARTS = ("thinking", "reasoning", "reasoning_text", "redacted_thinking")
CALL_PARTS = ("tool_use", "function_call")


def plain_prompt(prompt: Any) -> str:
    """The text of a string or of chat messages. Raises TypeError for other types."""
    if isinstance(prompt, str):
        return prompt
    if isinstance(prompt, dict):
        prompt = [prompt]
    if not isinstance(prompt, list):
        raise TypeError(f"expected text or messages, found {type(prompt).__name__}")
    return "\n".join(message_text(message) for message in prompt)


def stored_prompt(prompt: Any) -> str:
    return prompt if isinstance(prompt, str) else json.dumps(prompt, ensure_ascii=False)


def message_text(message: Any) -> str:
    """The text of a message without its reasoning. Raises TypeError for other types."""
    content = message if isinstance(message, str) else message.get("content")
    if isinstance(content, list):
        return "".join(part_text(part) for part in content)
    if content is not None and not isinstance(content, str):
        raise TypeError(f"content of a message is {type(content).__name__}")
    return content or refusal_of(message) or ""


def refusal_of(message: Any) -> str | None:
    """What a model said instead of an answer, in OpenAI's messages and parts; None if it did not refuse."""
    if not isinstance(message, dict):
        return None
    if isinstance(message.get("refusal"), str):
        return str(message["refusal"])
    parts = message.get("content")
    refusals = (refusal_of(part) for part in (parts if isinstance(parts, list) else []))
    return next((text for text in refusals if text), None)


def part_text(part: Any) -> str:
    if isinstance(part, str):
        return part
    if part.get("type") in (*REASONING_PARTS, *CALL_PARTS):
        return ""
    text = part.get("text", part.get("refusal"))
    return text if isinstance(text, str) else ""


def answer_text(message: Any) -> str:
    """The whole text of a message of an assistant: reasoning, content, tool calls."""
    text = message_text(message)
    if isinstance(message, str):
        return text
    calls = "".join(call_text(call) for call in tool_calls(message))
    reasoning = reasoning_text(message)
    answer = text + ("\n" if text and calls else "") + calls
    if not reasoning or text.lstrip().startswith("<think>"):
        return answer
    # Without an answer the reasoning was cut, so it has no end.
    return f"<think>\n{reasoning}" + (f"\n</think>\n\n{answer}" if answer.strip() else "")


def reasoning_text(message: dict[str, Any]) -> str:
    """Reasoning that a server separated from the content of a message; "" if there is none."""
    for key in REASONING_KEYS:
        if isinstance(message.get(key), str):
            return str(message[key])
    content = message.get("content")
    parts = [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []
    reasoning = [part for part in parts if part.get("type") in REASONING_PARTS]
    return "\n".join(
        str(part.get("thinking") or part.get("text") or part.get("reasoning") or "") for part in reasoning
    )


def tool_calls(message: dict[str, Any]) -> list[Any]:
    """The tool calls of a message, in the forms of OpenAI, Anthropic and older models."""
    calls = list(message.get("tool_calls") or [])
    if message.get("function_call"):
        calls.append(message["function_call"])
    content = message.get("content")
    parts = content if isinstance(content, list) else []
    return calls + [part for part in parts if isinstance(part, dict) and part.get("type") in CALL_PARTS]


def call_text(call: Any) -> str:
    """A tool call as `<tool_call>` with JSON {name, arguments}."""
    if not isinstance(call, dict):
        return f"<tool_call>\n{call}\n</tool_call>\n"
    held = call["function"] if isinstance(call.get("function"), dict) else call
    arguments = held.get("arguments", held.get("input"))
    body = json.dumps({"name": held.get("name"), "arguments": arguments}, ensure_ascii=False)
    return f"<tool_call>\n{body}\n</tool_call>\n"


def last_answer(completion: Any) -> str:
    """The text of an answer, or of the last message that the assistant wrote; "" if there is none.

    Raises TypeError for other types.
    """
    if completion is None or isinstance(completion, str):
        return completion or ""
    if isinstance(completion, dict):
        completion = [completion]
    if not isinstance(completion, list):
        raise TypeError(f"expected text or messages, found {type(completion).__name__}")
    for message in reversed(completion):
        if isinstance(message, str) or message.get("role", "assistant") in ("assistant", "model", "ai"):
            return answer_text(message)
    return ""
