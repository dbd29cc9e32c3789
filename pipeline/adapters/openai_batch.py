"""vLLM `run_batch` and OpenAI Batch API: output files, with the request files they answer.

An output line is {"id", "custom_id", "response": {"status_code", "request_id", "body"}, "error"}, a request
line {"custom_id", "method", "url", "body"} (OpenAI's Batch API reference; vLLM
`vllm/entrypoints/openai/run_batch.py`). Bodies of /v1/chat/completions, /v1/completions and /v1/responses are
read; every choice is a sample, also one without content (cut while reasoning, or only a tool call). Prompt
and sampling settings are only in the requests: ingest a folder with both files.
Requests are kept in a temporary database, because outputs come in any order and both files can be large.

The problem_id is `body.metadata.problem_id` of the request, or `custom_id` if it has the form `<source>/<id>`
or `<source>/<id>#<n>`; else admission finds the problem by the statement in the prompt.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.adapters import ReadItem, Refused, SourceError, SourceFile, register
from pipeline.adapters.lines import SUFFIXES, JsonRow, json_rows
from pipeline.adapters.messages import refusal_of
from pipeline.adapters.rollouts import finish_reason, problem_id_of, sample
from pipeline.adapters.rows import RowAdapter, source_files
from pipeline.adapters.sample import SampleKey, bounded_sample
from pipeline.adapters.tables import json_bytes


class OpenAiBatch(RowAdapter):
    name = "openai_batch"
    suffixes = SUFFIXES

    def files(self, source: str, limit: int | None) -> list[SourceFile]:
        files = source_files(source, self.suffixes)
        requests = [file for file in files if is_request_file(file)]
        answers = [file for file in files if file not in requests]
        if not answers:
            raise SourceError(f"no batch output in {source}: its files have only requests")
        answers[0].skipped = files[0].skipped
        if limit is not None:
            answers = bounded_sample(answers, limit, self._sample_key)
        options = {"requests": [file.sha256 for file in requests]} if requests else {}
        paths = tuple(file.path for file in requests)
        return [replace(file, options=file.options | options, companions=paths) for file in answers]

    def sample_key(self, row: JsonRow) -> SampleKey:
        name = str(row.value["custom_id"])
        return SampleKey(row.line, problem_id_of(row.value) or name, "", "batch", name)

    def read(self, file: SourceFile) -> Iterator[ReadItem]:
        with closing(requests_of(file)) as requests:
            for row in json_rows(file):
                if isinstance(row, Refused):
                    yield row
                    continue
                value = row.value | {"request": request_body(requests, row.value.get("custom_id"))}
                yield from self.translate(
                    JsonRow(row.line, partial(json_bytes, value), value, row.size), file
                )

    def items(self, row: JsonRow, file: SourceFile) -> Iterator[ReadItem]:
        value = row.value
        response, request = value["response"], value.get("request") or {}
        if value.get("error") or response is None or response["status_code"] != 200:
            error = value.get("error") or (response or {}).get("body")
            yield Refused(
                row.line, row.raw, f"the request failed: {json.dumps(error)[:300]}", "response", row.size
            )
            return
        body = response["body"]
        for index, prompt, answer, choice in choices_of(body, request):
            yield sample(
                row,
                prompt,
                answer,
                problem_id=problem_id_of(request) or problem_id_of({"custom_id": value["custom_id"]}),
                origin="other_policy",
                policy_id=body["model"],
                source_key=f"{value['custom_id']}#{index}",
                sample_index=index,
                temperature=request.get("temperature", body.get("temperature")),
                top_p=request.get("top_p", body.get("top_p")),
                finish_reason="refused" if is_refusal(answer) else finish_reason(choice.get("finish_reason")),
                **tokens(choice, request.get("temperature")),
            )


register(OpenAiBatch())


def choices_of(
    body: dict[str, Any], request: dict[str, Any]
) -> Iterator[tuple[int, Any, Any, dict[str, Any]]]:
    """(index, prompt, answer, choice) of every choice of a body; a response of /v1/responses is one."""
    if "choices" not in body and isinstance(body.get("output"), list):
        reason = (body.get("incomplete_details") or {}).get("reason") or body.get("status")
        yield 0, request.get("input"), response_message(body["output"]), {"finish_reason": reason}
        return
    for choice in body["choices"]:
        if "message" in choice:
            prompt, answer = request.get("messages"), [{"role": "assistant"} | choice["message"]]
        else:
            prompt, answer = request.get("prompt"), choice["text"]
        yield choice["index"], prompt, answer, choice


def is_refusal(answer: Any) -> bool:
    return isinstance(answer, list) and any(refusal_of(message) for message in answer)


def response_message(output: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The items of a response as one message: its reasoning, its text, its calls."""
    parts: list[dict[str, Any]] = []
    for item in output:
        if item.get("type") == "message":
            parts += [part for part in item.get("content") or [] if isinstance(part, dict)]
        elif item.get("type") == "reasoning":
            texts = [*(item.get("content") or []), *(item.get("summary") or [])]
            parts += [{"type": "reasoning", "text": part.get("text")} for part in texts]
        elif item.get("type") == "function_call":
            parts.append(item)
    return [{"role": "assistant", "content": parts}]


def is_request_file(file: SourceFile) -> bool:
    """Whether the first readable row is a request."""
    first = next((row for row in json_rows(file) if isinstance(row, JsonRow)), None)
    if first is None or "response" in first.value or "result" in first.value:
        return False
    return "body" in first.value or "params" in first.value


def requests_of(file: SourceFile) -> sqlite3.Connection:
    """A temporary database on disk: custom_id -> body as JSON."""
    database = sqlite3.connect("")
    database.execute("create table requests (custom_id text primary key, body text) without rowid")
    for path in file.companions:
        requests = SourceFile(path, Path(path).name, "", 0, roots=file.roots)
        rows = (row.value for row in json_rows(requests) if isinstance(row, JsonRow))
        values = (
            (str(row.get("custom_id")), json.dumps(row.get("body") or row.get("params"))) for row in rows
        )
        database.executemany("insert or ignore into requests values (?, ?)", values)
    return database


def request_body(database: sqlite3.Connection, custom_id: Any) -> dict[str, Any] | None:
    row = database.execute("select body from requests where custom_id = ?", (str(custom_id),)).fetchone()
    return json.loads(row[0]) if row else None


def tokens(choice: dict[str, Any], temperature: float | None) -> dict[str, Any]:
    """Token ids (vLLM with `return_token_ids`), and their log-probabilities at temperature 1."""
    ids = choice.get("token_ids")
    if not ids:
        return {}
    logprobs = choice.get("logprobs") or {}
    values = (
        [one["logprob"] for one in logprobs["content"]]
        if logprobs.get("content")
        else logprobs.get("token_logprobs") or []
    )
    known = temperature == 1 and len(values) == len(ids)
    return {
        "token_ids": ids,
        "behaviour_logprob": float(sum(values)) if known else None,
        "token_logprobs": values if known else None,
    }
