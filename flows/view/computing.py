"""Log-probabilities of one trajectory under a policy whose weights are below the folder of runs.

They are computed in a process of their own, because the explorer itself loads no model, and are remembered;
the store is only read. A row of the store cannot name a folder: those that exist are offered by name.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

from flows.view.credit import Scored
from flows.view.versions import parse
from pipeline.store import Store, connect, query

WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
DEPTH = 4
MOST_FOLDERS = 200
LIMIT_S = 120.0
REMEMBERED = 64
ROW = """
SELECT t.trajectory_id, t.problem_id, p.statement, t.program, t.completion, t.finish_reason, t.token_ids,
    q.details
FROM trajectories t JOIN problems p USING (problem_id) LEFT JOIN policies q USING (policy_id)
WHERE t.trajectory_id = $id LIMIT 1
"""


class ComputeError(ValueError):
    """A trajectory that cannot be scored; one line."""


class Computing:
    """Scores of trajectories by policies below a folder. Safe for threads; one computation at a time."""

    def __init__(self, location: str, folder: Path) -> None:
        self.location, self.folder = location, folder
        self._scores: OrderedDict[tuple[str, str, int], Scored] = OrderedDict()
        self._lock = threading.Lock()

    def policies(self) -> list[str]:
        """Folders with weights, as paths below the folder of runs; links are not followed."""
        names = []
        for place, folders, files in os.walk(self.folder, followlinks=False):
            relative = Path(place).relative_to(self.folder)
            folders[:] = sorted(name for name in folders if not name.startswith((".", "checkpoint-")))
            if len(relative.parts) >= DEPTH:
                folders.clear()
            if "config.json" in files and set(WEIGHTS) & set(files):
                names.append(str(relative))
        return names[:MOST_FOLDERS]

    def scored(self, at: str, trajectory: str, name: str) -> Scored:
        """The log-probabilities under the policy of a folder. Raises ComputeError."""
        if name not in self.policies():
            raise ComputeError(f"no policy with weights in {name[:100]!r} below {self.folder}")
        folder = self.folder / name
        changed = max((folder / file).stat().st_mtime_ns for file in os.listdir(folder))
        key = (trajectory, name, changed)
        with self._lock:
            if key not in self._scores:
                self._scores[key] = self._computed(at, trajectory, name)
                while len(self._scores) > REMEMBERED:
                    self._scores.popitem(last=False)
            self._scores.move_to_end(key)
            return self._scores[key]

    def _computed(self, at: str, trajectory: str, name: str) -> Scored:
        asked = {"location": self.location, "at": at, "id": trajectory, "folder": str(self.folder / name)}
        command = [sys.executable, "-P", "-c", f"from {__name__} import main; main()"]
        try:
            done = subprocess.run(
                command, input=json.dumps(asked), capture_output=True, text=True, timeout=LIMIT_S, check=False
            )
        except subprocess.TimeoutExpired:
            raise ComputeError(f"{name}: not computed within {LIMIT_S:g} s") from None
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["it ended without a message"])[-1]
            raise ComputeError(f"{name}: {reason[:300]}")
        answer = json.loads(done.stdout.splitlines()[-1])
        return Scored(name, f"{name}, computed now", **answer)


def computed_row(location: str, at: str, identity: str, folder: str) -> dict[str, Any]:
    """Tokens and log-probabilities of a trajectory's completion, as `spo score` computes them: fp32, by the
    trainer's own forward pass.
    """
    import torch

    from trainer.policies import (
        completion_logprobs,
        encode,
        load_policy,
        read_problems,
        token_batch,
        with_problems,
    )

    policy = load_policy(folder)
    parts = policy.fingerprint()
    with connect(Store(location), parse(at)) as connection:
        rows = query(connection, ROW, {"id": identity})
        problems = read_problems(connection, rows["problem_id"])
    encoded = encode(policy, with_problems(rows.to_dicts(), problems)[0], parts["tokenizer"])
    policy.model.eval()
    with torch.no_grad():
        batch = token_batch([encoded["prompt_ids"]], [encoded["completion_ids"]])
        logprobs = completion_logprobs(policy.model, batch).logprob.tolist()
    known = {"tokenizer": parts["tokenizer"], "weights": parts["weights"]}
    return {"ids": list(encoded["completion_ids"]), "logprobs": logprobs, **known}


def main() -> None:
    asked = json.loads(sys.stdin.read())
    print(json.dumps(computed_row(asked["location"], asked["at"], asked["id"], asked["folder"])))
