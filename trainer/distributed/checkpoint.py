"""What a run leaves on the disk: checkpoints, the log that is replayed, and weights that were changed while it went on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from pipeline.store import flush_file, write_whole
from pipeline.store import publish_folder as publish_atomically
from trainer.data import Stream
from trainer.policies import Policy, adapter_state, load_adapter, load_policy

LOG, WEIGHTS = "metrics.jsonl", "weights.jsonl"
REPLAY = "replay.jsonl"  # lines that a resumed run repeats and has not reached again
SHARDED = "sharded.json"  # in a checkpoint that several ranks wrote: its step, stream state and temperature


class CheckpointError(RuntimeError):
    """A checkpoint that this process cannot go on from."""


def checkpoints(folder: Path) -> list[Path]:
    """Checkpoints of a run, oldest first."""
    return sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))


def save_checkpoint(
    policy: Policy,
    optimiser: torch.optim.Optimizer,
    stream: Stream,
    folder: Path,
    step: int,
    more: dict[str, Any],
) -> None:
    """Everything a run needs to go on as if it had not stopped; `more` is JSON beside it. The newest two are kept."""

    def write(target: Path) -> None:
        adapter = adapter_state(policy.model)
        if not adapter:
            policy.save(target)
        state = {
            "optimiser": optimiser.state_dict(),
            "stream": json.dumps(stream.state),
            "step": step,
            "adapter": adapter,
        }
        torch.save(state | {"more": json.dumps(more)}, target / "trainer.pt")

    flush_logs(folder)
    publish_atomically(folder / f"checkpoint-{step}", write)
    for old in checkpoints(folder)[:-2]:
        shutil.rmtree(old)


def flush_logs(folder: Path) -> None:
    """A checkpoint goes on from the lines that were logged before it; so a power cut must not take them and leave it."""
    for path in (folder / LOG, folder / WEIGHTS):
        if path.exists():
            flush_file(path)


def load_checkpoint(
    folder: Path, policy: Policy, prepare: Callable[[Policy], torch.optim.Optimizer]
) -> tuple[Policy, torch.optim.Optimizer, dict[str, Any]]:
    """Policy, optimiser and the rest of a checkpoint. `policy` is the run's start, to which an adapter is applied again."""
    state = read_single(folder)
    if not state["adapter"]:
        device = policy.device
        policy = load_policy(folder)
        policy.model.to(device)
    optimiser = prepare(policy)
    load_adapter(policy.model, state["adapter"])
    optimiser.load_state_dict(state["optimiser"])
    return policy, optimiser, rest_of(state)


def read_single(folder: Path) -> dict[str, Any]:
    """What a single process wrote beside the policy: optimiser, adapter, and the rest as JSON."""
    return torch.load(folder / "trainer.pt", weights_only=True, map_location="cpu")


def rest_of(state: dict[str, Any]) -> dict[str, Any]:
    """Step, stream state and temperature."""
    return {"step": state["step"], "stream": json.loads(state["stream"]), **json.loads(state["more"])}


def truncate_log(path: Path, steps: int) -> dict[int, dict[str, Any]]:
    """Drop the lines from step `steps` on, and one that a kill cut short; returns the lines that were dropped, by step.

    They stay in REPLAY beside the log until the run is done, for a run may be killed again before it came as far as it had been.
    """
    lines = log_lines(path)
    replay = path.with_name(REPLAY)
    dropped = {entry["step"]: entry for entry in [*log_lines(replay), *lines] if entry["step"] >= steps}
    if dropped:
        write_whole(replay, "".join(json.dumps(entry) + "\n" for _, entry in sorted(dropped.items())))
    write_whole(path, "".join(json.dumps(entry) + "\n" for entry in lines if entry["step"] < steps))
    return dropped


def log_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a log up to one that a kill cut short; none where there is no file."""
    found = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return found


def ask_weights(folder: Path, weights: dict[str, float | None]) -> None:
    """Change weights of a run from its next step on; None gives a source back to its schedule."""
    line = json.dumps({"weights": weights, "asked_at": datetime.now(UTC).isoformat()}) + "\n"
    with open(folder / WEIGHTS, "a") as file:
        file.write(line)


def asked_weights(folder: Path) -> dict[str, float]:
    """The weights that hold now: the file's lines one after another. A line that is still being written is left for later."""
    path, found = folder / WEIGHTS, dict[str, float | None]()
    for line in path.read_text().splitlines(keepends=True) if path.exists() else []:
        if line.endswith("\n"):
            found |= json.loads(line)["weights"]
    return {name: weight for name, weight in found.items() if weight is not None}
