"""Peak memory of an offline SPO run over that of an SFT run on the same rows, each in its own process."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from pipeline.ingest import ingest
from pipeline.labelling import label
from pipeline.store import Store, connect, query
from sandbox import Pool
from trainer.policies import new_policy, publish_policy, score
from trainer.rollouts import Provenance, SamplingSettings, rollout

ROOT = Path(__file__).parents[2]
REFERENCE = "reference"
CHILD = """
import json, resource, sys
from trainer.run import RunConfig, run
run(RunConfig.model_validate(json.loads(sys.argv[1])))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def memory_vs_sft() -> dict[str, float]:
    """The larger the model, the less a second copy of its weights could hide: 26 M weights, 105 MB."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        make_store(home)
        peaks = {name: peak_bytes(home, name) for name in ("sft", "spo")}
    for name, peak in peaks.items():
        print(f"  {name} {peak / 2**20:6.0f} MB")
    return {"memory_vs_sft": peaks["spo"] / peaks["sft"]}


def make_store(home: Path) -> None:
    """Judged and scored samples of a reference, and programs by people, for a few starter problems."""
    store = Store(home / "store")
    ingest(store, "plain", str(ROOT / "data" / "starter"), limit=12)
    with connect(store) as connection:
        problems = query(connection, "select problem_id, statement from problems where split = 'train'")
        texts = query(
            connection, "select statement as text from problems union all select program from trajectories"
        )
    policy = new_policy(texts["text"].sort().to_list(), width=512, layers=6, heads=8)
    policy.save(home / "reference")
    publish_policy(store, policy, home / "reference", policy_id=REFERENCE)
    settings = SamplingSettings(samples_per_problem=4, max_new_tokens=16)
    rollout(store, policy, problems, settings, Provenance(name="samples", policy_id=REFERENCE), seed=0)
    with Pool() as pool:
        label(store, pool)
    score(store, policy)


def peak_bytes(home: Path, objective: str) -> int:
    config = {
        "run": str(home / objective),
        "store": str(home / "store"),
        "reference": str(home / "reference"),
        "objective": {"name": objective},
        "training": {"steps": 6, "batch_tokens": 2048},
        "mixture": {"batch_sequences": 16},
        "source": [{"name": "people", "where": "j.origin = 'human'", "weight": 1.0}],
    }
    done = subprocess.run(
        [sys.executable, "-P", "-c", CHILD, json.dumps(config)],
        capture_output=True, text=True, cwd=ROOT, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"the {objective} run failed:\n{done.stderr[-2000:]}")
    return int(done.stdout.split()[-1])
