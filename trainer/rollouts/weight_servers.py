"""Servers whose weights can be replaced: a rollout worker puts a run's newest policy on them.

One interface: `load` puts the policy of a folder on the server and returns once it samples with these weights
alone. vLLM replaces them in place (pause, reload_weights, reset of the prefix cache, resume; it must run with
VLLM_SERVER_DEV_MODE=1). Any other server is started again with the new folder (SGLang, `transformers serve`).
What a server says of itself is not trusted: `gap` compares log-probabilities of its own greedy tokens with
those that the trainer computes for them.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import httpx
import torch

from pipeline.store import publish_folder
from trainer.policies import Policy, completion_logprobs, has_weights, load_policy, remove_folder, token_batch
from trainer.rollouts.sampling import sample
from trainer.rollouts.served import ServedSampler, ServerError, headers_of_key

SERVED = "served"  # folder beside a run's policies: copies that servers read
KEPT_COPIES = 2
STARTS_IN_S = 600.0
PROBE = "Print the sum of two integers that are given on one line."
PROBE_TOKENS = 8
FOLDER = "{folder}"  # in a command: where the folder of the policy goes


class WeightServer(Protocol):
    """A server with an OpenAI-compatible API, and a way to replace its weights."""

    url: str

    @property
    def model(self) -> str:
        """The name by which requests ask for the policy."""

    def load(self, folder: Path) -> None:
        """Serve the policy of a folder, and nothing else from then on. Raises ServerError."""

    def close(self) -> None:
        """End what was started here."""


@dataclass
class VllmServer:
    """A running vLLM. Its model is called as it calls it."""

    url: str
    timeout_s: float = 120.0
    _model: str = ""

    @property
    def model(self) -> str:
        if not self._model:
            self._model = str(self._request("GET", "/v1/models").json()["data"][0]["id"])
        return self._model

    def load(self, folder: Path) -> None:
        """A missing folder would end vLLM's engine for good, so it is looked at first."""
        if not has_weights(folder):
            raise ServerError(f"{folder}: no policy to be served")
        self._request("POST", "/pause", params={"mode": "wait"})
        try:
            arguments = {"weights_path": str(folder.resolve())}
            self._request("POST", "/collective_rpc", json={"method": "reload_weights", "kwargs": arguments})
            # Without a reset, repeated prompts would be continued by what the old weights computed of them.
            self._request("POST", "/reset_prefix_cache")
        finally:
            self._request("POST", "/resume")

    def close(self) -> None:
        """It was not started here."""

    def _request(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            answer = httpx.request(
                method, self.url + path, timeout=self.timeout_s, headers=headers_of_key(), **options
            )
        except httpx.TransportError as error:
            raise ServerError(f"{self.url}{path}: {type(error).__name__}: {error}") from error
        if answer.status_code == 404:
            raise ServerError(
                f"{self.url}{path}: 404: this server has no interface for new weights; start vLLM with"
                " VLLM_SERVER_DEV_MODE=1, or let it be started again for each policy with --serve-command"
            )
        if not answer.is_success:
            raise ServerError(f"{self.url}{path}: {answer.status_code} {answer.text[:200]}")
        return answer


@dataclass
class RestartedServer:
    """A server of any kind that is started again with each policy. `command` has `{folder}` where the folder
    of the policy goes.
    """

    url: str
    command: str
    log: Path
    starts_in_s: float = STARTS_IN_S
    _process: subprocess.Popen | None = None
    _model: str = ""

    @property
    def model(self) -> str:
        return self._model

    def load(self, folder: Path) -> None:
        self.close()
        words = [word.replace(FOLDER, str(folder)) for word in shlex.split(self.command)]
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with open(self.log, "ab") as log:
            try:
                self._process = subprocess.Popen(
                    words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
                )
            except OSError as error:
                raise ServerError(f"--serve-command: {words[0]}: {error.strerror}") from error
        self._model = str(folder)
        self._wait_until_it_answers()

    def close(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        for signal in (process.terminate, process.kill):
            signal()
            try:
                process.wait(timeout=20)
                return
            except subprocess.TimeoutExpired:
                continue

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + self.starts_in_s
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                raise ServerError(f"--serve-command: the server ended while it started; see {self.log}")
            try:
                if httpx.get(f"{self.url}/health", timeout=5).is_success:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.3)
        raise ServerError(f"{self.url}: no answer in {self.starts_in_s:.0f} s; see {self.log}")


def gap(sampler: ServedSampler, policy: Policy) -> float:
    """Largest difference of a token's log-probability, server against policy, in nats, over the server's own
    greedy continuation of a fixed prompt. Of a server that gives no token ids the text is compared: 0 if it
    is the policy's own, else infinite. Raises ServerError.
    """
    probe = sampler.probe(PROBE, PROBE_TOKENS)
    prompt = policy.prompt_ids(PROBE)
    if not sampler.sends_tokens:
        (own,) = sample(policy, [prompt], 1, temperature=1e-4, max_new_tokens=PROBE_TOKENS)
        text = policy.tokenizer.decode(own.token_ids, skip_special_tokens=True)
        return 0.0 if text.strip() == probe.text.strip() else float("inf")
    if not probe.token_ids or probe.token_logprobs is None:
        return float("inf")
    batch = token_batch([prompt], [probe.token_ids]).to(policy.device)
    policy.model.eval()
    with torch.no_grad():
        computed = completion_logprobs(policy.model, batch).logprob.tolist()
    return max(abs(one - other) for one, other in zip(computed, probe.token_logprobs, strict=True))


def copy_for_servers(folder: Path, policy: Policy) -> Path:
    """The folder that servers read: that of the policy, or a copy whose head is written out.

    vLLM keeps the old head, in silence, if the model ties it to the embeddings, so the copy says that they
    are not tied.
    """
    model = policy.model
    head, embeddings = model.get_output_embeddings(), model.get_input_embeddings()
    if head.weight.data_ptr() != embeddings.weight.data_ptr():
        return folder
    target = folder.parent / SERVED / folder.name
    if not has_weights(target):
        publish_folder(target, lambda partial: _write_untied(folder, partial))
        drop_copies(target)
    return target


def drop_copies(newest: Path) -> None:
    """Delete all but the newest copies of a run."""
    copies = sorted(
        (path for path in newest.parent.iterdir() if has_weights(path)), key=os.path.getmtime, reverse=True
    )
    for old in copies[KEPT_COPIES:]:
        remove_folder(old)


def _write_untied(folder: Path, target: Path) -> None:
    policy = load_policy(folder)
    model = policy.model
    model.config.tie_word_embeddings = False
    head = model.get_output_embeddings()
    head.weight = torch.nn.Parameter(model.get_input_embeddings().weight.detach().clone())
    policy.save(target)


@dataclass
class FollowingServers:
    """The servers of one worker. Rows come from servers that were verified before and after a round."""

    servers: list[WeightServer]
    concurrency: int = 8
    tolerance_nats: float = 0.01
    attempts: int = 3  # of a request; a server that stays away is left out of the round
    refreshes: int = 0
    _loaded: dict[str, str] = field(default_factory=dict)  # url -> policy_id

    def samplers(self, policy_id: str, folder: Path, policy: Policy) -> tuple[list[ServedSampler], str]:
        """A sampler of each server that serves this policy now, and why others do not."""
        ready, reasons = [], []
        served = copy_for_servers(folder, policy)
        for server in self.servers:
            try:
                ready.append(self._ready(server, policy_id, served, policy))
            except ServerError as error:
                self._loaded.pop(server.url, None)
                reasons.append(str(error))
        return ready, "; ".join(reasons)

    def still_serve(self, samplers: list[ServedSampler], policy: Policy) -> bool:
        """Whether all servers of a round have the weights that they had when it began."""
        for sampler in samplers:
            try:
                right = gap(sampler, policy) <= self.tolerance_nats
            except ServerError:
                right = False
            if not right:
                self._loaded.pop(sampler.url, None)
                return False
        return True

    def following(self, policy_id: str) -> int:
        """How many servers have a policy, as far as the last round knew."""
        return sum(loaded == policy_id for loaded in self._loaded.values())

    def close(self) -> None:
        for server in self.servers:
            server.close()

    def _ready(self, server: WeightServer, policy_id: str, served: Path, policy: Policy) -> ServedSampler:
        """Load the policy unless the server has it, and verify it."""
        if self._loaded.get(server.url) == policy_id:
            sampler = self._sampler(server, policy)
            if gap(sampler, policy) <= self.tolerance_nats:
                return sampler
        server.load(served)
        sampler = self._sampler(server, policy)
        difference = gap(sampler, policy)
        if not difference <= self.tolerance_nats:
            raise ServerError(
                f"{server.url}: its log-probabilities differ from those of {policy_id} by"
                f" {difference:.3g} nat after the weights were replaced; start it with the model in {served}"
            )
        self._loaded[server.url] = policy_id
        self.refreshes += 1
        return sampler

    def _sampler(self, server: WeightServer, policy: Policy) -> ServedSampler:
        return ServedSampler(
            server.url,
            server.model,
            "completions",
            policy,
            self.concurrency,
            attempts=self.attempts,
            sends_tokens=isinstance(server, VllmServer),
        )
