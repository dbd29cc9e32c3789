"""Sampling through an OpenAI-compatible server: a scripted one for its failures, and a real one where it
is installed.
"""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import polars as pl
import pytest

from pipeline.labelling.labeller import label
from sandbox import Pool
from trainer.policies.policy import Policy
from trainer.policies.publishing import publish_policy
from trainer.policies.warmstart import warm_start
from trainer.rollouts.generation import Provenance, SamplingSettings, rollout
from trainer.rollouts.sampling import sample
from trainer.rollouts.served import Piece, ServedSampler, ServerError, map_tokens

STATEMENTS = ["Print n.", "Print the sum of the numbers."]
ONE = SamplingSettings(samples_per_problem=1)


class Scripted:
    """A server on loopback that answers from a list of (status, body, headers), then with `default`; it
    keeps requests.
    """

    def __init__(self, default: dict):
        self.script: list[tuple[int, dict | str, dict]] = []
        self.asked: list[tuple[str, dict]] = []
        self.most_at_once = self.running = 0
        lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                with lock:
                    outer.running += 1
                    outer.most_at_once = max(outer.most_at_once, outer.running)
                    outer.asked.append((self.path, body))
                    status, answer, headers = outer.script.pop(0) if outer.script else (200, default, {})
                with lock:
                    outer.running -= 1
                text = (answer if isinstance(answer, str) else json.dumps(answer)).encode()
                self.send_response(status)
                for name, value in {"content-length": str(len(text)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: object) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(
            target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def server() -> Iterator[Scripted]:
    made = Scripted(
        {"choices": [{"message": {"content": "```python\nprint(1)\n```"}, "finish_reason": "stop"}]}
    )
    yield made
    made.close()


def sampler(server: Scripted, **options) -> tuple[ServedSampler, list[float]]:
    waits: list[float] = []
    return ServedSampler(
        server.url + "/v1/", "tiny", **{"concurrency": 1, "wait": waits.append, **options}
    ), waits


def test_what_may_pass_is_tried_again_with_growing_pauses(server):
    server.script = [(429, "slow down", {"retry-after": "3"}), (503, "loading", {}), (500, "oops", {})]
    asking, waits = sampler(server)
    (actual,) = asking.draw(STATEMENTS[:1], ONE, seed=5)
    assert (
        waits == [3.0, 6.0, 12.0]
        and actual.text == "```python\nprint(1)\n```"
        and actual.finish_reason == "stop"
    )
    path, body = server.asked[-1]
    assert (
        path == "/v1/chat/completions"
        and body["model"] == "tiny"
        and body["seed"] == 5
        and body["logprobs"] is True
    )
    asked = (
        "Print n.\n\nAnswer with one complete Python program that reads stdin and prints the answer to"
        " stdout, in a single fenced code block."
    )
    assert body["messages"] == [{"role": "user", "content": asked}]


def test_what_does_not_pass_is_one_line_with_address_and_answer(server):
    server.script = [(401, "no key", {})]
    with pytest.raises(ServerError, match=r"http://127.0.0.1:\d+/v1/chat/completions: 401 no key"):
        list(sampler(server)[0].draw(STATEMENTS[:1], ONE, seed=0))
    server.script = [(503, "loading", {})] * 3
    with pytest.raises(ServerError, match="no answer after 3 attempts; the last: 503 loading"):
        list(sampler(server, attempts=3)[0].draw(STATEMENTS[:1], ONE, seed=0))
    server.script = [(200, {"choices": []}, {})]
    with pytest.raises(ServerError, match="no OpenAI completion"):
        list(sampler(server)[0].draw(STATEMENTS[:1], ONE, seed=0))
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        away = ServedSampler(
            f"http://127.0.0.1:{nobody.getsockname()[1]}", "m", attempts=2, wait=lambda _: None
        )
        with pytest.raises(ServerError, match="no answer after 2 attempts; the last: ConnectError"):
            list(away.draw(STATEMENTS[:1], ONE, seed=0))


def test_a_server_that_knows_no_log_probabilities_is_asked_without(server):
    server.script = [(422, "Unexpected fields: {'logprobs'}", {}), (400, "unknown field seed", {})]
    asking, waits = sampler(server)
    assert len(list(asking.draw(STATEMENTS, ONE, seed=0))) == 2
    assert waits == [] and ["logprobs" in body for _, body in server.asked] == [True, False, False, False]
    assert "seed" not in server.asked[-1][1]


def test_samples_come_in_order_and_requests_are_bounded(server):
    asking, _ = sampler(server, concurrency=3)
    actual = list(asking.draw(STATEMENTS, SamplingSettings(samples_per_problem=6), seed=0))
    assert [(one.prompt_index, one.sample_index) for one in actual] == [
        (p, n) for p in range(2) for n in range(6)
    ]
    assert 1 <= server.most_at_once <= 3
    assert sorted(body["seed"] for _, body in server.asked) == list(range(12))


def pieces(policy: Policy, ids: list[int], logprob: float = -0.5) -> list[Piece]:
    return [
        Piece(policy.tokenizer.decode([token], skip_special_tokens=False).encode(), logprob) for token in ids
    ]


def test_tokens_are_believed_only_where_they_are_our_own(made_job):
    policy = made_job.policy()
    ids = policy.completion_ids("print(n)")
    assert len(ids) > 2
    assert map_tokens(policy, "print(n)", "stop", pieces(policy, ids)) == (
        ids,
        pytest.approx(-0.5 * len(ids)),
    )
    assert map_tokens(policy, "print(n)", "stop", [*pieces(policy, ids[:-1]), Piece(b"", -0.5)])[
        1
    ] == pytest.approx(-0.5 * len(ids))
    assert map_tokens(policy, "print(n)", "stop", pieces(policy, ids[:-1])) == (
        ids,
        None,
    )  # the end token's own is not known
    assert map_tokens(policy, "print(n)", "length", pieces(policy, ids[:-1])) == (
        ids[:-1],
        pytest.approx(-0.5 * (len(ids) - 1)),
    )
    assert map_tokens(policy, "print(n)", "stop", [Piece(b"print(n)", -0.5), Piece(b"", -0.5)]) == (
        None,
        None,
    )  # other tokens
    assert map_tokens(policy, "print(n)", "stop", []) == (None, None) and map_tokens(
        None, "x", "stop", pieces(policy, ids)
    ) == (
        None,
        None,
    )


def test_both_endpoints_name_tokens_and_their_log_probabilities(server, made_job):
    policy = made_job.policy()
    ids = policy.completion_ids("print(n)")
    tokens = [policy.tokenizer.decode([token], skip_special_tokens=False) for token in ids]
    chat = {"content": [{"token": t, "logprob": -0.25, "bytes": list(t.encode())} for t in tokens]}
    server.script = [
        (
            200,
            {"choices": [{"message": {"content": "print(n)"}, "finish_reason": "stop", "logprobs": chat}]},
            {},
        )
    ]
    (actual,) = sampler(server, policy=policy, endpoint="chat")[0].draw(STATEMENTS[:1], ONE, seed=0)
    assert (actual.token_ids, actual.logprob) == (ids, -0.25 * len(ids))
    plain = {"tokens": tokens, "token_logprobs": [-0.25] * len(ids)}
    server.script = [
        (200, {"choices": [{"text": "print(n)", "finish_reason": "stop", "logprobs": plain}]}, {})
    ] * 2
    asking, _ = sampler(server, policy=policy)
    (actual,) = asking.draw(STATEMENTS[:1], ONE, seed=0)
    assert (actual.token_ids, actual.logprob) == (ids, -0.25 * len(ids))
    path, body = server.asked[-1]
    assert path == "/v1/completions" and body["prompt"] == "<|problem|>Print n.<|program|>"
    (cooler,) = asking.draw(STATEMENTS[:1], SamplingSettings(samples_per_problem=1, temperature=0.5), seed=0)
    assert cooler.token_ids == ids and cooler.logprob is None


def wait_for(url: str, process: subprocess.Popen, log) -> None:
    deadline = time.monotonic() + 250
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        try:
            if httpx.get(f"{url}/health", timeout=5).is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise AssertionError(f"transformers serve did not answer in 120 s: {log.read_text()}")


@pytest.mark.skipif(
    not importlib.util.find_spec("openai"),
    reason="`transformers serve` needs the package openai: pip install openai",
)
def test_a_real_server_gives_what_sampling_in_process_gives(job, tmp_path):
    """`transformers serve` on the CPU, nearly greedy: the same texts as our own sampler, in rows like any
    other.
    """
    policy, folder = job.policy(), str(tmp_path / "served")
    problems = job.store.read("problems", ["problem_id", "statement"]).sort("problem_id").head(2)
    # Untrained, it would write special tokens, which servers leave out of the text.
    warm_start(
        policy,
        [(text, "print(int(input()))\n") for text in problems["statement"]],
        steps=40,
        learning_rate=5e-3,
    )
    policy.save(folder)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log, url = tmp_path / "serve.log", f"http://127.0.0.1:{port}"
    command = [
        os.path.join(os.path.dirname(sys.executable), "transformers"),
        "serve",
        folder,
        "--host",
        "127.0.0.1",
    ]
    with open(log, "w") as output:
        process = subprocess.Popen(
            [*command, "--port", str(port), "--device", "cpu", "--dtype", "float32"],
            stdout=output,
            stderr=output,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        )
    try:
        wait_for(url, process, log)
        settings = SamplingSettings(samples_per_problem=2, temperature=1e-3, max_new_tokens=10)
        asking = ServedSampler(url, folder, policy=policy, concurrency=2)
        served = [one.text for one in asking.draw(problems["statement"].to_list(), settings, seed=0)]
        own = sample(
            policy,
            [policy.prompt_ids(text) for text in problems["statement"]],
            2,
            temperature=1e-3,
            max_new_tokens=10,
        )
        expected = {(one.prompt_index, one.sample_index): one.text for one in own}
        assert served == [expected[key] for key in sorted(expected)]
        assert "print(" in served[0]
        publish_policy(job.store, policy, tmp_path / "served", policy_id="served")
        who = Provenance(name="from-server", policy_id="served")
        assert rollout(job.store, asking, problems, settings, who, seed=0) == 4
        assert rollout(job.store, asking, problems, settings, who, seed=0) == 0
    finally:
        process.kill()
        process.wait()
    rows = job.store.read("trajectories").filter(pl.col("batch_id") == "from-server")
    assert (
        rows.height == 4
        and rows["behaviour_logprob"].null_count() == 4
        and rows["token_ids"].null_count() == 4
    )
    with Pool(1) as pool:
        assert label(job.store, pool).rows == 4
