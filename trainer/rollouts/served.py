"""Samples from a server that speaks OpenAI's API (vLLM, SGLang, llama.cpp, `transformers serve`), over HTTP.

One request a sample, a bounded number at a time; what may pass (429, 5xx, no connection, time-outs) is tried
again with growing pauses. What the server says of its tokens is believed only where it can be checked: token
ids are kept if the policy's own tokenizer, asked for the text, gives the very pieces that the server named,
and the behaviour log-probability if every one of these tokens, the end token included, came with its own.
Elsewhere both are null, which costs nothing but importance weights. API:
https://platform.openai.com/docs/api-reference (completions, chat completions).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx

from trainer.policies import INSTRUCTION, Policy
from trainer.rollouts.generation import SamplingSettings
from trainer.rollouts.sampling import Sample

Endpoint = Literal["completions", "chat"]
KEY_VARIABLE = "OPENAI_API_KEY"
MAY_PASS = (408, 409, 425, 429, 500, 502, 503, 504)
REFUSED = (400, 422)
LONGEST_PAUSE_S = 30.0


class ServerError(RuntimeError):
    """The server cannot be reached or refuses; the message says which address, and what it answered."""


@dataclass(frozen=True)
class Piece:
    """A token as the server names it: its bytes, and its log-probability in nats."""

    text: bytes
    logprob: float | None


@dataclass
class ServedSampler:
    """`url`: the server's address, with or without `/v1`. `policy`, where known, gives the prompt's format
    and the tokenizer.
    """

    url: str
    model: str
    endpoint: Endpoint | None = None  # None: as the policy's format asks, chat where there is no policy
    policy: Policy | None = None
    concurrency: int = 8
    attempts: int = 8
    timeout_s: float = 600.0
    pause_s: float = 0.5
    wait: Callable[[float], None] = time.sleep
    _without: set[str] = field(default_factory=set)  # optional fields that this server refuses

    def __post_init__(self) -> None:
        self.url = self.url.rstrip("/").removesuffix("/v1")
        if self.endpoint is None:
            self.endpoint = "completions" if self.policy and self.policy.template == "plain" else "chat"

    def draw(self, statements: list[str], settings: SamplingSettings, seed: int) -> Iterator[Sample]:
        """Samples in the order of statements. The seed is passed on; whether it is kept to is the server's
        affair.
        """
        key = os.environ.get(KEY_VARIABLE)
        headers = {"authorization": f"Bearer {key}"} if key else {}
        wanted = [
            (place, number)
            for place in range(len(statements))
            for number in range(settings.samples_per_problem)
        ]
        with (
            httpx.Client(headers=headers, timeout=self.timeout_s) as client,
            ThreadPoolExecutor(self.concurrency) as threads,
        ):

            def one(place: int, number: int) -> Sample:
                body = self.body(
                    statements[place],
                    settings,
                    (seed + place * settings.samples_per_problem + number) % 2**31,
                )
                return self.sample_of(self.ask(client, body), place, number, settings)

            running = [threads.submit(one, place, number) for place, number in wanted]
            try:
                for future in running:
                    yield future.result()
            finally:
                for future in running:
                    future.cancel()

    def body(self, statement: str, settings: SamplingSettings, seed: int) -> dict[str, Any]:
        common = {
            "model": self.model,
            "max_tokens": settings.max_new_tokens,
            "temperature": settings.temperature,
            "top_p": settings.top_p,
            "seed": seed,
        }
        if self.endpoint == "chat":
            return common | {
                "messages": [{"role": "user", "content": f"{statement}\n\n{INSTRUCTION}"}],
                "logprobs": True,
            }
        if self.policy:
            prompt = self.policy.tokenizer.decode(
                self.policy.prompt_ids(statement), skip_special_tokens=False
            )
        else:
            prompt = f"{statement}\n\n{INSTRUCTION}\n\n"
        return common | {"prompt": prompt, "logprobs": 1}

    def ask(self, client: httpx.Client, body: dict[str, Any]) -> dict[str, Any]:
        """The first choice of the answer. Raises ServerError."""
        address = f"{self.url}/v1/{'chat/completions' if self.endpoint == 'chat' else 'completions'}"
        pause, said = self.pause_s, ""
        for attempt in range(self.attempts):
            sent = {name: value for name, value in body.items() if name not in self._without}
            try:
                answer = client.post(address, json=sent)
            except httpx.TransportError as error:
                said = f"{type(error).__name__}: {error}"
            else:
                if answer.is_success:
                    return first_choice(answer, address)
                said = f"{answer.status_code} {answer.text[:200]}"
                if refused := self.refused_field(answer, sent):
                    self._without.add(refused)
                    continue
                if answer.status_code not in MAY_PASS:
                    raise ServerError(f"{address}: {said}")
                pause = max(pause, retry_after(answer))
            if attempt + 1 < self.attempts:
                self.wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE_S)
        raise ServerError(f"{address}: no answer after {self.attempts} attempts; the last: {said}")

    def refused_field(self, answer: httpx.Response, sent: dict[str, Any]) -> str:
        """An optional field at which a server takes offence; without it the samples are as good."""
        if answer.status_code not in REFUSED:
            return ""
        return next((name for name in ("logprobs", "seed") if name in sent and name in answer.text), "")

    def sample_of(
        self, choice: dict[str, Any], place: int, number: int, settings: SamplingSettings
    ) -> Sample:
        text = choice["message"].get("content") or "" if self.endpoint == "chat" else choice.get("text", "")
        reason = choice.get("finish_reason") or "stop"
        ids, logprob = mapped(self.policy, text, reason, pieces_of(choice))
        exact = settings.temperature == 1.0 and settings.top_p == 1.0
        return Sample(place, number, ids, text, reason, logprob if exact else None)


def first_choice(answer: httpx.Response, address: str) -> dict[str, Any]:
    try:
        return answer.json()["choices"][0]
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise ServerError(f"{address}: no OpenAI completion: {answer.text[:200]}") from error


def retry_after(answer: httpx.Response) -> float:
    """Seconds that the server asks for; 0 where it names none, or a date."""
    try:
        return min(float(answer.headers.get("retry-after", 0)), LONGEST_PAUSE_S)
    except ValueError:
        return 0.0


def pieces_of(choice: dict[str, Any]) -> list[Piece]:
    """The tokens of a choice, in the form of either endpoint; empty where the server names none."""
    named = choice.get("logprobs") or {}
    if isinstance(named.get("content"), list):
        return [
            Piece(
                bytes(token["bytes"]) if token.get("bytes") is not None else token["token"].encode(),
                token.get("logprob"),
            )
            for token in named["content"]
        ]
    return [
        Piece(token.encode(), logprob)
        for token, logprob in zip(named.get("tokens") or [], named.get("token_logprobs") or [], strict=False)
    ]


def mapped(
    policy: Policy | None, text: str, reason: str, pieces: list[Piece]
) -> tuple[list[int] | None, float | None]:
    """Token ids and their log-probability sum, each None where it is not certain."""
    if policy is None or not pieces:
        return None, None
    ids = policy.completion_ids(text) if reason == "stop" else policy.completion_ids(text)[:-1]
    own = [policy.tokenizer.decode([token], skip_special_tokens=False).encode() for token in ids]
    named = [piece.text for piece in pieces]
    # Servers differ in whether the end token is named, and how: what counts is that nothing but it is beyond
    # the text.
    if named == own or (
        reason == "stop" and len(named) == len(own) and named[:-1] == own[:-1] and named[-1] == b""
    ):
        known = [piece.logprob for piece in pieces]
        return ids, None if None in known else sum(value for value in known if value is not None)
    if reason == "stop" and named == own[:-1]:
        return ids, None
    return None, None
