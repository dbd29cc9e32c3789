"""Samples from a server that speaks OpenAI's API (vLLM, SGLang, llama.cpp, `transformers serve`), over HTTP.

One request per sample, with a bounded number at a time. Temporary failures (429, 5xx, no connection,
time-outs) are retried with growing pauses. Tokens are kept only if they can be checked: token ids if the
policy's own tokenizer gives the same pieces for the text as the server, and the behaviour log-probability if
the server gave one for each of these tokens, the end token included. Otherwise both are null, and the row has
no importance weight. API:
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

from trainer.policies import Policy, Problem, PromptFormat
from trainer.rollouts.generation import SamplingSettings
from trainer.rollouts.sampling import Sample

Endpoint = Literal["completions", "chat"]
KEY_VARIABLE = "OPENAI_API_KEY"
MAY_PASS = (408, 409, 425, 429, 500, 502, 503, 504)
REFUSED = (400, 422)
LONGEST_PAUSE_S = 30.0
# Fields that servers may refuse: without them the samples are as good, or the server has no such setting.
OPTIONAL = (
    "logprobs", "seed", "return_token_ids", "stop_token_ids", "top_k", "min_p", "repetition_penalty",
    "presence_penalty", "frequency_penalty",
)  # fmt: skip
# What a server's own defaults may be (of vLLM those in the model's generation_config.json): all off, because
# Q0 needs samples of the policy's own distribution.
PLAIN_SAMPLING = {
    "top_k": -1,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
}


class ServerError(RuntimeError):
    """The server cannot be reached or refuses; the message says which address, and what it answered."""


@dataclass(frozen=True)
class Piece:
    """A token as the server reports it: its bytes, and its log-probability in nats."""

    text: bytes
    logprob: float | None


@dataclass
class ServedSampler:
    """`url`: the server's address, with or without `/v1`. `policy`, where known, gives the prompt's format
    and the tokenizer.
    """

    url: str
    model: str
    endpoint: Endpoint | None = None  # None: as the policy's format needs, chat without a policy
    policy: Policy | None = None
    concurrency: int = 8
    attempts: int = 8
    timeout_s: float = 600.0
    pause_s: float = 0.5
    wait: Callable[[float], None] = time.sleep
    sends_tokens: bool = False  # with a policy: prompts are sent as token ids, and ids asked for (vLLM)
    _without: set[str] = field(default_factory=set)  # optional fields that this server refuses

    def __post_init__(self) -> None:
        self.url = self.url.rstrip("/").removesuffix("/v1")
        if self.endpoint is None:
            self.endpoint = "completions" if self.policy and self.policy.template == "plain" else "chat"

    @property
    def format(self) -> PromptFormat:
        """The words in which the server is asked: the policy's, where its chat template is used."""
        known = self.policy is not None and self.policy.template == "chat"
        return self.policy.format if self.policy and known else PromptFormat(kind="chat")

    def draw(self, problems: list[Problem], settings: SamplingSettings, seed: int) -> Iterator[Sample]:
        """Samples in the order of problems. The seed is passed on; the server may ignore
        it.
        """
        wanted = [
            (place, number)
            for place in range(len(problems))
            for number in range(settings.samples_per_problem)
        ]
        with (
            httpx.Client(headers=headers_of_key(), timeout=self.timeout_s) as client,
            ThreadPoolExecutor(self.concurrency) as threads,
        ):

            def one(place: int, number: int) -> Sample:
                body = self.body(
                    problems[place],
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

    def body(self, asked: Problem | str, settings: SamplingSettings, seed: int) -> dict[str, Any]:
        common = {
            "model": self.model,
            "max_tokens": settings.max_new_tokens,
            "temperature": settings.temperature,
            "top_p": settings.top_p,
            "seed": seed,
            **PLAIN_SAMPLING,
        }
        if self.endpoint == "chat":
            return common | {
                "messages": self.format.messages(asked),
                "logprobs": True,
            }
        if self.policy and self.sends_tokens:
            return common | {
                "prompt": self.policy.prompt_ids(asked),
                "logprobs": 0,
                "return_token_ids": True,
                "stop_token_ids": sorted(self.policy.stop_ids),
            }
        if self.policy:
            prompt = self.policy.tokenizer.decode(self.policy.prompt_ids(asked), skip_special_tokens=False)
        else:
            prompt = f"{self.format.question(asked)}\n\n"
        return common | {"prompt": prompt, "logprobs": 1}

    def ask(self, client: httpx.Client, body: dict[str, Any]) -> dict[str, Any]:
        """The first choice of the answer. Raises ServerError."""
        address = f"{self.url}/v1/{'chat/completions' if self.endpoint == 'chat' else 'completions'}"
        pause, answered, attempt = self.pause_s, "", 0
        while attempt < self.attempts:
            sent = {name: value for name, value in body.items() if name not in self._without}
            try:
                answer = client.post(address, json=sent)
            except httpx.TransportError as error:
                answered = f"{type(error).__name__}: {error}"
            else:
                if answer.is_success:
                    return first_choice(answer, address)
                answered = f"{answer.status_code} {answer.text[:200]}"
                if refused := self.refused_fields(answer, sent):
                    self._without |= refused
                    continue
                if answer.status_code not in MAY_PASS:
                    raise ServerError(f"{address}: {answered}")
                pause = max(pause, retry_after(answer))
            attempt += 1
            if attempt < self.attempts:
                self.wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE_S)
        raise ServerError(f"{address}: no answer after {self.attempts} attempts; the last: {answered}")

    def refused_fields(self, answer: httpx.Response, sent: dict[str, Any]) -> set[str]:
        """Optional fields that the server refuses."""
        if answer.status_code not in REFUSED:
            return set()
        return {name for name in OPTIONAL if name in sent and name in answer.text}

    def probe(self, statement: str, tokens: int) -> Sample:
        """The server's most likely continuation of a prompt. Raises ServerError."""
        settings = SamplingSettings(samples_per_problem=1, max_new_tokens=tokens)
        # Some servers refuse 0, or take it for a setting that is left out.
        body = self.body(statement, settings, seed=0) | {"temperature": 0.0 if self.sends_tokens else 1e-3}
        with httpx.Client(headers=headers_of_key(), timeout=self.timeout_s) as client:
            choice = self.ask(client, body)
        return self.sample_of(choice, 0, 0, settings)

    def sample_of(
        self, choice: dict[str, Any], place: int, number: int, settings: SamplingSettings
    ) -> Sample:
        text = choice["message"].get("content") or "" if self.endpoint == "chat" else choice.get("text", "")
        reason = choice.get("finish_reason") or "stop"
        exact = settings.temperature == 1.0 and settings.top_p == 1.0
        if self.policy and self.sends_tokens and (own := own_tokens(choice)):
            tokens, logprobs = own
            if reason == "length" or tokens[-1] in self.policy.stop_ids:
                text = self.policy.completion_text(tokens)
                total = sum(logprobs) if exact and logprobs else None
                return Sample(place, number, tokens, text, reason, total, logprobs if exact else None)
        ids, logprob = map_tokens(self.policy, text, reason, token_pieces(choice))
        return Sample(place, number, ids, text, reason, logprob if exact else None)


def headers_of_key() -> dict[str, str]:
    """The header of the key in the environment, if there is one."""
    key = os.environ.get(KEY_VARIABLE)
    return {"authorization": f"Bearer {key}"} if key else {}


def own_tokens(choice: dict[str, Any]) -> tuple[list[int], list[float] | None] | None:
    """Token ids of a choice as the server gives them, and the log-probability of each; None without ids."""
    ids = choice.get("token_ids")
    if not isinstance(ids, list) or not ids or not all(type(token) is int for token in ids):
        return None
    logprobs = (choice.get("logprobs") or {}).get("token_logprobs") or []
    known = len(logprobs) == len(ids) and all(isinstance(value, int | float) for value in logprobs)
    return ids, [float(value) for value in logprobs] if known else None


def first_choice(answer: httpx.Response, address: str) -> dict[str, Any]:
    try:
        return answer.json()["choices"][0]
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise ServerError(f"{address}: no OpenAI completion: {answer.text[:200]}") from error


def retry_after(answer: httpx.Response) -> float:
    """Seconds that the server asks for; 0 if it names none, or a date."""
    try:
        return min(float(answer.headers.get("retry-after", 0)), LONGEST_PAUSE_S)
    except ValueError:
        return 0.0


def token_pieces(choice: dict[str, Any]) -> list[Piece]:
    """The tokens of a choice, in the form of either endpoint; empty if the server gives none."""
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


def map_tokens(
    policy: Policy | None, text: str, reason: str, pieces: list[Piece]
) -> tuple[list[int] | None, float | None]:
    """Token ids and their log-probability sum, each None if it is not certain."""
    if policy is None or not pieces:
        return None, None
    ids = policy.completion_ids(text) if reason == "stop" else policy.completion_ids(text)[:-1]
    own = [policy.tokenizer.decode([token], skip_special_tokens=False).encode() for token in ids]
    named = [piece.text for piece in pieces]
    # Servers differ in whether and how they report the end token: nothing else may follow the text.
    if named == own or (
        reason == "stop" and len(named) == len(own) and named[:-1] == own[:-1] and named[-1] == b""
    ):
        known = [piece.logprob for piece in pieces]
        return ids, None if None in known else sum(value for value in known if value is not None)
    if reason == "stop" and named == own[:-1]:
        return ids, None
    return None, None
