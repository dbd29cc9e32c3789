"""Weights of sources that are changed while a run goes on: `weights.jsonl` in its folder, which the loop
reads.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from pipeline.store import flush_file

WEIGHTS = "weights.jsonl"


def change_weights(run_folder: Path, weights: dict[str, float | None]) -> None:
    """Change weights of a run from its next step on; None gives a source back to its schedule."""
    line = json.dumps({"weights": weights, "asked_at": datetime.now(UTC).isoformat()}) + "\n"
    with open(run_folder / WEIGHTS, "a") as file:
        file.write(line)
    flush_file(run_folder / WEIGHTS)


def changed_weights(run_folder: Path) -> dict[str, float]:
    """The weights that are changed now: all lines in order. A line that is still being written is left for
    later.
    """
    path, weights = run_folder / WEIGHTS, dict[str, float | None]()
    for line in path.read_text().splitlines(keepends=True) if path.exists() else []:
        if line.endswith("\n"):
            weights |= json.loads(line)["weights"]
    return {name: weight for name, weight in weights.items() if weight is not None}
