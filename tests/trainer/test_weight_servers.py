"""Servers that follow a run: a real vLLM (slow suite), and a `transformers serve` that is started again."""

from __future__ import annotations

import importlib.util
import os
import shlex
import socket
import sys
from pathlib import Path

import polars as pl
import pytest
import torch

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))
from tests.benchmarks.models_vllm import follow, vllms  # noqa: E402
from trainer.policies.policy import load_policy, new_policy  # noqa: E402
from trainer.policies.publishing import publish_policy  # noqa: E402
from trainer.policies.warmstart import warm_start  # noqa: E402
from trainer.rollouts.generation import SamplingSettings  # noqa: E402
from trainer.rollouts.served import ServedSampler, ServerError, own_tokens  # noqa: E402
from trainer.rollouts.weight_servers import (  # noqa: E402
    FollowingServers,
    RestartedServer,
    VllmServer,
    copy_for_servers,
)
from trainer.rollouts.worker import RolloutWorker, WorkerSettings  # noqa: E402

TINY = SamplingSettings(samples_per_problem=2, max_new_tokens=8)


def test_a_tied_head_is_written_out_for_servers_and_log_probabilities_stay(job):
    policy = job.policy()
    copy = copy_for_servers(job.folder, policy)
    assert copy != job.folder and copy_for_servers(job.folder, policy) == copy
    served = load_policy(copy)
    assert served.model.config.tie_word_embeddings is False
    head, embeddings = served.model.get_output_embeddings(), served.model.get_input_embeddings()
    assert head.weight.data_ptr() != embeddings.weight.data_ptr()
    ids = torch.arange(4, 20)[None]
    torch.testing.assert_close(served.model(ids).logits, policy.model(ids).logits)
    assert copy_for_servers(copy, served) == copy  # not tied: the folder itself


def test_a_server_that_is_away_is_waited_for(job):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    publish_policy(job.store, job.policy(), job.folder, policy_id="mine@0", run_id="mine", step=0)
    servers = FollowingServers([VllmServer(f"http://127.0.0.1:{port}")])
    worker = RolloutWorker(job.store, WorkerSettings(run="mine", sampling=TINY), servers)
    for _ in range(2):
        outcome = worker.work()
        assert outcome.rows == 0 and not outcome.finished
        assert f"no server is ready: http://127.0.0.1:{port}/pause: ConnectError" in outcome.reason


def test_a_missing_folder_never_reaches_vllm(tmp_path):
    with pytest.raises(ServerError, match="no policy to be served"):
        VllmServer("http://127.0.0.1:9").load(tmp_path)


def test_a_command_that_fails_is_one_line_that_names_its_log(tmp_path):
    python = shlex.quote(sys.executable)
    failing = RestartedServer("http://127.0.0.1:9", f"{python} -c 'raise SystemExit(3)'", tmp_path / "log")
    with pytest.raises(ServerError, match=r"the server ended while it started; see .*log"):
        failing.load(tmp_path)
    with pytest.raises(ServerError, match="--serve-command: /no/such: No such file"):
        RestartedServer("http://127.0.0.1:9", "/no/such {folder}", tmp_path / "log").load(tmp_path)


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"token_ids": [5, 1], "logprobs": {"token_logprobs": [-0.5, -0.25]}}, ([5, 1], [-0.5, -0.25])),
        ({"token_ids": [5, 1], "logprobs": {"token_logprobs": [-0.5]}}, ([5, 1], None)),
        ({"token_ids": [5, 1], "logprobs": None}, ([5, 1], None)),
        ({"token_ids": [5, "1"]}, None),
        ({"token_ids": []}, None),
        ({}, None),
    ],
)
def test_token_ids_of_a_server_are_taken_if_they_are_whole(choice, expected):
    assert own_tokens(choice) == expected


def test_samples_for_q0_do_not_depend_on_the_servers_defaults(made_job):
    """The settings of a model's generation_config.json, which vLLM would apply, are all named."""
    asking = ServedSampler("http://127.0.0.1:9", "m", "completions", made_job.policy(), sends_tokens=True)
    body = asking.body("Print n.", TINY, seed=0)
    expected = {"temperature": 1.0, "top_p": 1.0, "top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}
    assert {name: body[name] for name in expected} == expected
    assert body["prompt"] == made_job.policy().prompt_ids("Print n.")
    assert body["stop_token_ids"] == sorted(made_job.policy().stop_ids)


@pytest.mark.slow
@pytest.mark.skipif(
    not importlib.util.find_spec("openai"),
    reason="`transformers serve` needs the package openai: pip install openai",
)
def test_transformers_serve_is_started_again_with_each_policy(job, tmp_path):
    policy = job.policy()
    statements = job.store.read("problems", ["statement"])["statement"].to_list()
    servers = None
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    program = Path(sys.executable).parent / "transformers"
    command = f"{program} serve {{folder}} --host 127.0.0.1 --port {port} --device cpu --dtype float32"
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    servers = FollowingServers([RestartedServer(f"http://127.0.0.1:{port}", command, tmp_path / "log")])
    settings = WorkerSettings(run="mine", problems=2, sampling=TINY, max_per_policy=1)
    worker = RolloutWorker(job.store, settings, servers)
    try:
        for step, text in enumerate(("n = 1\n", "m = 2\n")):
            warm_start(policy, [(one, text) for one in statements], steps=80, learning_rate=5e-3)
            folder = tmp_path / f"policy-{step}"
            policy.save(folder)
            publish_policy(job.store, policy, folder, policy_id=f"mine@{step}", run_id="mine", step=step)
            outcome = worker.work()
            assert outcome.rows == 4, outcome.reason
    finally:
        servers.close()
    rows = job.store.read("trajectories").filter(pl.col("run_id") == "mine").sort("policy_step")
    assert servers.refreshes == 2 and rows["policy_id"].to_list() == ["mine@0"] * 4 + ["mine@1"] * 4
    texts = rows.select(pl.coalesce("completion", "program")).to_series()
    assert [text[:1] for text in texts] == ["n"] * 4 + ["m"] * 4, texts.to_list()


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.skipif("SPO_VLLM_PYTHON" not in os.environ, reason="SPO_VLLM_PYTHON names no Python with vLLM")
def test_two_vllms_follow_a_run_though_one_dies_and_no_row_is_under_a_wrong_policy(tmp_path):
    # vLLM's attention on a CPU has no kernel for heads of 8 numbers, as the small policies of other tests.
    policy = new_policy(
        ["print(1)", "for x in range(3): print(x)"], vocab_size=300, layers=2, width=64, heads=2
    )
    policy.save(tmp_path / "start")
    served = copy_for_servers(tmp_path / "start", policy)
    with vllms(os.environ["SPO_VLLM_PYTHON"], served, tmp_path, 2) as servers:
        urls = [server.url for server in servers]
        figures = follow(urls, served, tmp_path / "home", steps=4, dying=servers[1])
    assert figures["misattributed"] == 0 and figures["following"] == 2
    assert figures["refreshes"] >= 2 and figures["policies"] >= 2 and figures["rows"] >= 32
