"""Makes the golden runs: small seeded training runs, reduced to the figures that are the same every time.

    ./run python tests/golden/make.py tests/golden

This writes VARIANT.jsonl for each configs/VARIANT.toml, and machine.json. Write into this folder only if
figures are meant to change, and say in the commit which ones and why. Names of settings occur in
`configs/` only.

VARIANT.jsonl has one line per step: that of `metrics.jsonl` without CLOCK_COLUMNS, with the table
versions of `watermark` relative to the first step. The last line, `left`, lists published policies, with
a digest of their weights, and folders of the run. On one machine two runs are equal to the last digit;
`machine.json` records what the digits depend on.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
import transformers

from pipeline.dedup import deduplicate
from pipeline.ingest import ingest
from pipeline.labelling import label
from pipeline.store import Store, connect, query
from sandbox import Pool
from trainer.policies import Policy, Problem, new_policy, publish_policy, score
from trainer.rollouts import Provenance, SamplingSettings, rollout
from trainer.rollouts.sampling import Sample
from trainer.run import load_config, run

HERE = Path(__file__).resolve().parent
STARTER = HERE.parents[1] / "data" / "starter"
CLOCK_COLUMNS = {"seconds", "data_seconds", "fresh_seconds", "tokens_per_s", "peak_memory_gb", "mfu"}
VECTOR_FLAGS = ("sse", "ssse", "avx", "fma", "f16c", "amx", "asimd", "sve")


def main(target: Path) -> None:
    """Write the figures of all variants into `target`, which must exist."""
    target = target.resolve()
    # One thread and no GPU: the order of sums, and so the last digits, depend on both.
    os.environ |= {"CUDA_VISIBLE_DEVICES": "", "TOKENIZERS_PARALLELISM": "false"}
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # paths in configs/ are relative to it
        store, reference = Store("store"), Path("reference")
        make_store(store, reference)
        for config in sorted((HERE / "configs").glob("*.toml")):
            shutil.copytree(store.location, Path("stores") / config.stem)
            lines = train_variant(config)
            (target / f"{config.stem}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        os.chdir(target)
    (target / "machine.json").write_text(json.dumps(machine(), indent=1) + "\n")


def make_store(store: Store, reference: Path) -> None:
    """Starter problems, judged, with scored samples of an untrained policy; its weights in `reference`."""
    ingest(store, "plain", str(STARTER), limit=20)
    train = "select problem_id, statement from problems where split = 'train' order by problem_id"
    texts_of_all = "select statement as text from problems union all select program from trajectories"
    with connect(store) as connection:
        problems = query(connection, train)
        texts = query(connection, texts_of_all)
    policy = new_policy(texts["text"].sort().to_list(), vocab_size=400, layers=2, width=32, seed=1)
    policy.save(reference)
    publish_policy(store, policy, reference.resolve(), policy_id="reference")
    settings = SamplingSettings(samples_per_problem=4, max_new_tokens=24)
    provenance = Provenance(name="reference-samples", policy_id="reference", origin="earlier_training")
    rollout(store, policy, problems, settings, provenance, seed=0)
    quoted = Provenance(name="quoted-samples", policy_id="reference", origin="earlier_training")
    rollout(store, Quoting(policy, human_programs(store)), problems, settings, quoted, seed=0)
    with Pool() as pool:
        label(store, pool, all_tests=True)
    deduplicate(store)
    score(store, policy)


@dataclass(frozen=True)
class Quoting:
    """Samples 0 to 3 human programs per problem: without them every sample fails, and every Q0 is equal."""

    policy: Policy
    programs: dict[str, list[str]]  # statement -> programs

    def draw(self, problems: list[Problem], settings: SamplingSettings, seed: int) -> Iterable[Sample]:
        for prompt, problem in enumerate(problems):
            for number, program in enumerate(self.programs[problem.statement][: prompt % 4]):
                yield Sample(prompt, number, self.policy.completion_ids(program), program, "stop", None)


def human_programs(store: Store) -> dict[str, list[str]]:
    """The human programs of each statement."""
    with connect(store) as connection:
        rows = query(
            connection,
            """
            select statement, list(program order by trajectory_id) as programs
            from trajectories join problems using (problem_id) where origin = 'human' group by statement
            """,
        )
    return dict(zip(rows["statement"], rows["programs"].to_list(), strict=True))


def train_variant(config_file: Path) -> list[dict]:
    """Train as the file says; its kept lines."""
    config = load_config(config_file)
    run(config)
    log = [json.loads(line) for line in (config.run / "metrics.jsonl").read_text().splitlines()]
    return [*(reproducible(line, log[0]) for line in log), {"left": left(config.run, Store(config.store))}]


def reproducible(line: dict, first: dict) -> dict:
    """A line without what depends on the clock, its table versions relative to the first line."""
    versions = {table: version - first["watermark"][table] for table, version in line["watermark"].items()}
    retained = {name: value for name, value in line.items() if name not in CLOCK_COLUMNS}
    return retained | {"watermark": versions}


def left(folder: Path, store: Store) -> dict:
    """What a run leaves beside its log: policies in the store, and folders of checkpoints and weights."""
    policies = store.read("policies", ["policy_id", "parent_id", "step", "details"]).sort("policy_id")
    published = [
        {
            "policy_id": row["policy_id"], "parent_id": row["parent_id"], "step": row["step"],
            "weights": json.loads(row["details"])["fingerprint"]["weights"],
        }
        for row in policies.iter_rows(named=True)
    ]  # fmt: skip
    return {"policies": published, "folders": sorted(path.name for path in folder.iterdir() if path.is_dir())}


def machine() -> dict:
    """What the last digits depend on: libraries, the processor, and which of its instructions torch uses."""
    return {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "machine": platform.machine(),
        "cpu": cpu(),
    }


def cpu() -> dict:
    """The first processor of /proc/cpuinfo; empty where there is no such file."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text().split("\n\n")[0].splitlines() if file.exists() else []
    fields = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    wanted = ("vendor_id", "model name", "cpu family", "model", "stepping", "cache size")
    flags = sorted(flag for flag in fields.get("flags", "").split() if flag.startswith(VECTOR_FLAGS))
    return {name: fields[name] for name in wanted if name in fields} | {"vector_flags": flags}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
