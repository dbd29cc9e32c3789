"""vLLM `run_batch` and OpenAI Batch API: output files, with the request files they answer.

An output line is {"id", "custom_id", "response": {"status_code", "request_id", "body"}, "error"}, a request
line {"custom_id", "method", "url", "body"} (OpenAI's Batch API reference; vLLM
`vllm/entrypoints/openai/run_batch.py`). Bodies of /v1/chat/completions and /v1/completions are read; every
choice is a sample. Prompt and sampling settings stand in the requests only: ingest a folder that holds both
files. Requests are kept in a temporary database, for outputs come in any order and both may be large.

The problem is `body.metadata.problem_id` of the request, or `custom_id` where it is `<source>/<id>` or
`<source>/<id>#<n>`; else the problem whose statement stands in the prompt.
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
from pipeline.adapters.rollouts import FINISH_REASONS, problem_id_of, sample
from pipeline.adapters.rows import RowAdapter, source_files
from pipeline.adapters.sample import Place, bounded
from pipeline.adapters.tables import written


class OpenAiBatch(RowAdapter):
    name = "openai_batch"
    suffixes = SUFFIXES

    def files(self, source: str, limit: int | None) -> list[SourceFile]:
        files = source_files(source, self.suffixes)
        requests = [file for file in files if is_request_file(file)]
        answers = [file for file in files if file not in requests]
        if not answers:
            raise SourceError(f"no batch output in {source}: its files hold requests only")
        answers[0].skipped = files[0].skipped
        if limit is not None:
            answers = bounded(answers, limit, self._place)
        options = {"requests": [file.sha256 for file in requests]} if requests else {}
        paths = tuple(file.path for file in requests)
        return [replace(file, options=file.options | options, beside=paths) for file in answers]

    def place(self, row: JsonRow) -> Place:
        name = str(row.value["custom_id"])
        return Place(row.line, problem_id_of(row.value) or name, "", "batch", name)

    def read(self, file: SourceFile) -> Iterator[ReadItem]:
        with closing(requests_of(file)) as requests:
            for row in json_rows(file):
                if isinstance(row, Refused):
                    yield row
                    continue
                value = row.value | {"request": request_body(requests, row.value.get("custom_id"))}
                yield from self.translated(JsonRow(row.line, partial(written, value), value, row.size), file)

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
        for choice in body["choices"]:
            if "message" in choice:
                prompt, answer = request.get("messages"), [{"role": "assistant"} | choice["message"]]
            else:
                prompt, answer = request.get("prompt"), choice["text"]
            index = choice["index"]
            yield sample(
                row,
                prompt,
                answer,
                problem_id=problem_id_of(request) or problem_id_of({"custom_id": value["custom_id"]}),
                origin="other_policy",
                policy_id=body["model"],
                source_key=f"{value['custom_id']}#{index}",
                sample_index=index,
                temperature=request.get("temperature"),
                top_p=request.get("top_p"),
                finish_reason=FINISH_REASONS.get(choice.get("finish_reason") or ""),
                **tokens(choice, request.get("temperature")),
            )


register(OpenAiBatch())


def is_request_file(file: SourceFile) -> bool:
    """Told by its first row that can be read."""
    first = next((row for row in json_rows(file) if isinstance(row, JsonRow)), None)
    return first is not None and "body" in first.value and "response" not in first.value


def requests_of(file: SourceFile) -> sqlite3.Connection:
    """A temporary database on disk: custom_id -> body, as JSON."""
    database = sqlite3.connect("")
    database.execute("create table requests (custom_id text primary key, body text) without rowid")
    for path in file.beside:
        found = SourceFile(path, Path(path).name, "", 0, places=file.places)
        rows = (row.value for row in json_rows(found) if isinstance(row, JsonRow))
        values = ((str(row.get("custom_id")), json.dumps(row.get("body"))) for row in rows)
        database.executemany("insert or ignore into requests values (?, ?)", values)
    return database


def request_body(database: sqlite3.Connection, custom_id: Any) -> dict[str, Any] | None:
    found = database.execute("select body from requests where custom_id = ?", (str(custom_id),)).fetchone()
    return json.loads(found[0]) if found else None


def tokens(choice: dict[str, Any], temperature: float | None) -> dict[str, Any]:
    """Token ids that vLLM gives with `return_token_ids`, and their log-probability where it is that of
    temperature 1.
    """
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
    return {"token_ids": ids, "behaviour_logprob": float(sum(values)) if known else None}
