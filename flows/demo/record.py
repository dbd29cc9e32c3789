"""The record of a demo run, `run.json`: the report reads it; it is rewritten after each stage."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flows.demo.settings import DemoSettings, identity_of


class DemoRecord:
    """Stages and policies of one demo run, stored in `run.json`."""

    def __init__(self, settings: DemoSettings, command: str, data: Path) -> None:
        identity = identity_of(settings)
        self.name = f"demo-{hashlib.blake2b(identity.encode(), digest_size=4).hexdigest()}"
        self.folder = data / "runs" / self.name
        self.path = self.folder / "run.json"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.record: dict[str, Any] = {
            "run": self.name,
            "started_at": datetime.now(UTC).isoformat(),
            "command": command,
            "reference_policy": f"{self.name}/reference",
            "policies": [],
            "stages": [],
        }
        if self.path.exists():
            self.record = json.loads(self.path.read_text())
        self.record["settings"] = settings.model_dump(mode="json")

    def stage(self, name: str, action: Callable[[], Any]) -> Any:
        """Run a stage and record its duration, of its first run only, because later runs are look-ups."""
        started = time.monotonic()
        result = action()
        if name not in [stage["name"] for stage in self.record["stages"]]:
            self.record["stages"].append({"name": name, "seconds": round(time.monotonic() - started, 1)})
        self.save()
        return result

    def add_policy(self, policy_id: str, seed: int, folder: str) -> None:
        """Record a trained policy and its folder, relative to the run's folder."""
        entry = {"policy_id": policy_id, "seed": seed, "folder": folder}
        if entry not in self.record["policies"]:
            self.record["policies"].append(entry)
            self.save()

    def save(self) -> None:
        partial = self.path.with_suffix(".partial")
        partial.write_text(json.dumps(self.record, indent=1))
        os.replace(partial, self.path)
