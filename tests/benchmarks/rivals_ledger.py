"""What is counted of a cell: samples, CPU seconds and memory by part, and the figures of its policy."""

from __future__ import annotations

import hashlib
import json
import math
import resource
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from pipeline.evaluation import rates
from pipeline.labelling import label
from pipeline.store import Store, connect, query
from sandbox import Pool
from tests.benchmarks.rivals_cells import (
    CURVE_PROBLEMS,
    CURVE_SAMPLES,
    GROUP,
    MAX_NEW_TOKENS,
    REFERENCE,
    Budget,
    Cell,
    config_of,
    first_problems,
)
from trainer.evaluation import evaluate
from trainer.evaluation.evaluator import settings_key, stored
from trainer.policies import Policy, load_policy
from trainer.rollouts import Provenance, SamplingSettings, online, rollout
from trainer.run import run
from trainer.run.step import Trainer

NUMBERS = ("pass_1", "pass_10", "pass_100", "distinct_correct")


def children_cpu() -> float:
    """CPU seconds of the processes that have ended and were waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@contextmanager
def timed(cpu: Counter[str]) -> Iterator[None]:
    """Add the CPU seconds of this process by part: `update`, `sample`, `judge`, `score`."""

    def counted(part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            started = time.process_time()
            try:
                return function(*arguments, **named)
            finally:
                cpu[part] += time.process_time() - started

        return call

    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(Trainer, "step", counted("update", Trainer.step)))
        for part, name in (("sample", "rollout"), ("judge", "label"), ("score", "score")):
            stack.enter_context(mock.patch.object(online, name, counted(part, getattr(online, name))))
        yield


def run_cell(cell: Cell, budget: Budget, place: Path) -> dict[str, Any]:
    """Train and evaluate a cell in this process, whose peak of memory is counted."""
    config, cpu = config_of(cell, budget, place), Counter[str]()
    before, started = time.process_time(), children_cpu()
    resumed = (config.run / "metrics.jsonl").exists()
    own_cpu: dict[int, float] = {}  # after each number of steps, without the judging

    def note(figures: dict) -> None:
        own_cpu[figures["step"] + 1] = sum(cpu[part] for part in ("update", "sample", "score"))

    if cell.start and config.objective.build().needs.reference_rewards:
        prepare_start(Store(place / "store"), place, cell.start)
    with timed(cpu):
        final = run(config, on_step=note)
    cpu["judge"] += children_cpu() - started  # the sandbox has ended with the run
    cpu["other"] = time.process_time() - before - sum(cpu[part] for part in ("update", "sample", "score"))
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    policy, store = load_policy(final), Store(place / "store")
    logged = [json.loads(line) for line in (config.run / "metrics.jsonl").read_text().splitlines()]
    fresh = [line["fresh"] for line in logged if line.get("fresh")]
    split = "valid" if cell.phase == "tune" else "test"
    where = first_problems(split, budget.evaluated, budget, place)
    return {
        **vars(cell),
        "group": cell.group,
        **evaluated(store, policy, config.run_id, where, budget.samples, cell.seed),
        "rows": sum(line["rows"] for line in logged),
        "samples_fresh": sum(one["rows"] for one in fresh),
        "samples_reference": samples_of_start(cell, config, store),
        "hand_overs": len(fresh),
        "cpu_s": {part: round(seconds, 1) for part, seconds in sorted(cpu.items())},
        "resumed": resumed,  # then its CPU seconds are those since the last checkpoint
        "peak_mb": round(peak_mb),
        "bytes": memory_by_part(config, policy),
        "curve": curve(config, store, logged, own_cpu, cpu["judge"], validation_problems(budget, place)),
        "trained": trained(logged),
    }


def validation_problems(budget: Budget, place: Path) -> str:
    """SQL predicate: the problems of learning curves."""
    return first_problems("valid", CURVE_PROBLEMS, budget, place)


def curve(
    config: Any, store: Store, logged: list[dict], own_cpu: dict[int, float], judge_s: float, where: str
) -> list[dict[str, Any]]:
    """The published policies of a run on the validation split, with the fresh samples and the CPU seconds
    behind each. The seconds of judging are known of the whole run, and shared out by samples.
    """
    points = []
    fresh = [line.get("fresh", {}).get("rows", 0) for line in logged]
    steps = len(logged)
    every = config.training.publish_every
    for step in range(every, steps + 1, every) if every else ():
        folder = config.run / ("final" if step == steps else f"policy-{step}")
        policy_id = config.run_id if step == steps else f"{config.run_id}@{step}"
        figures = evaluated(store, load_policy(folder), policy_id, where, CURVE_SAMPLES, config.seed)
        seconds = own_cpu.get(step, math.nan) + judge_s * sum(fresh[:step]) / max(1, sum(fresh))
        points.append(point(figures) | {"step": step, "fresh": sum(fresh[:step]), "cpu_s": round(seconds, 1)})
    return points


def point(figures: dict[str, Any]) -> dict[str, Any]:
    """What a learning curve shows of a policy."""
    return {name: figures[name] for name in ("pass_1", "pass_10", "distinct_correct", "token_entropy")}


LOGGED = ("loss", "kl", "token_entropy", "gradient_norm", "q_success", "q_failure", "q_above_zero",
          "explained_variance", "clipped")  # fmt: skip


def trained(logged: list[dict]) -> dict[str, list[float | None]]:
    """Figures of the training steps, each as its mean over the quarters of the run; and the success of fresh
    rows, as they came.
    """

    def quarters(values: list[float | None]) -> list[float | None]:
        parts = np.array_split(np.array(values, dtype=float), 4)
        return [None if np.isnan(part).all() else round(float(np.nanmean(part)), 4) for part in parts]

    figures = {name: [line.get(name) for line in logged] for name in LOGGED if name in logged[0]}
    figures["fresh_success"] = [line["sources"].get("fresh", {}).get("success_share") for line in logged]
    return {name: quarters(values) for name, values in figures.items()}


def memory_by_part(config: Any, policy: Any) -> dict[str, int]:
    """Bytes that are held through training, by exact count: fp32 weights, AdamW's two moments of each."""
    weights = sum(p.numel() * p.element_size() for p in policy.model.parameters())
    head = policy.model.get_output_embeddings().weight
    tied = head is policy.model.get_input_embeddings().weight
    backbone = weights if tied else weights - head.numel() * head.element_size()
    needs = config.objective.build().needs
    value = backbone + 4 * (head.shape[1] + 1) if needs.value_network else 0
    return {
        "policy": weights,
        "moments": 2 * weights,
        "value_network": value,
        "value_moments": 2 * value,
        "reference": weights if needs.reference_logprob and config.online else 0,
    }


def prepare_start(store: Store, place: Path, start: str) -> None:
    """Judged samples, for Q0, of the cell that another one begins from."""
    policy_id = f"rivals/{start}"
    sample_training_problems(store, load_policy(place / "runs" / start / "final"), policy_id)
    with Pool() as pool:
        label(store, pool)


def sample_training_problems(store: Store, policy: Policy, policy_id: str) -> None:
    """A group of samples of a policy for each training problem."""
    with connect(store) as connection:
        problems = query(
            connection,
            "select problem_id, statement, split from problems where split = 'train' order by problem_id",
        )
    rollout(
        store,
        policy,
        problems,
        SamplingSettings(samples_per_problem=GROUP, max_new_tokens=MAX_NEW_TOKENS),
        Provenance(name=f"{policy_id}-samples", policy_id=policy_id, origin="earlier_training"),
        seed=0,
    )


def samples_of_start(cell: Cell, config: Any, store: Store) -> int:
    """Judged samples of the start on training problems that give Q0 or are trained on, by this cell or by
    the one that it begins from; those that chose the hard problems included.
    """
    q0 = config.objective.build().needs.reference_rewards
    used = [REFERENCE] if q0 or cell.start or any(REFERENCE in one.where for one in config.source) else []
    if cell.start and q0:
        used.append(f"rivals/{cell.start}")
    with connect(store) as connection:
        return query(
            connection,
            "select count(*) as n from judged where list_contains($used, policy_id) and split = 'train'",
            {"used": used},
        )["n"].item()


def evaluated(
    store: Store, policy: Any, policy_id: str, where: str, samples: int, seed: int
) -> dict[str, Any]:
    """Figures of a policy on held-out problems at temperature 1, and those of each problem."""
    with connect(store) as connection:
        problems = query(
            connection,
            f"select problem_id, statement, split from problems where {where} order by problem_id",
        )
    settings = SamplingSettings(samples_per_problem=samples, max_new_tokens=MAX_NEW_TOKENS)
    with Pool() as pool:
        figures = evaluate(store, pool, policy, policy_id, problems, settings, seed=seed)
    rows = stored(store, policy_id, settings_key(settings, problems, seed)).filter(seed=seed)
    estimates = rates(rows)
    means = {name.replace("@", "_"): one and round(one.mean, 5) for name, one in estimates.items()}
    counts = rows.sort("problem_id").select("problem_id", "samples", "correct", "distinct_correct")
    return {
        **{name: means.get(name) for name in NUMBERS if name != "distinct_correct"},
        "distinct_correct": round(figures.distinct_correct, 4),
        "token_entropy": figures.token_entropy,
        "judge_errors": figures.judge_errors,
        "solved_once": int((rows["correct"] > 0).sum()),
        "problems": counts.to_dict(as_series=False),
        "estimate_of_pass_1": asdict(figures.pass_at_1),
    }


def digest_of_reference(place: Path) -> str:
    """SHA-256 of the weights of the reference: other machines round otherwise, and warm up another one."""
    with open(place / REFERENCE / "model.safetensors", "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def evaluate_reference(place: Path, budget: Budget) -> dict[str, Any]:
    """The figures of the policy that every cell starts from, on test problems and on the validation split."""
    store, policy = Store(place / "store"), load_policy(place / REFERENCE)

    def figures(where: str, samples: int) -> dict[str, Any]:
        return evaluated(store, policy, REFERENCE, where, samples, 0)

    curve_start = point(figures(validation_problems(budget, place), CURVE_SAMPLES))
    tested = first_problems("test", budget.evaluated, budget, place)
    tested_figures = figures(tested, budget.samples)
    return tested_figures | {"start_of_curve": curve_start, "weights": digest_of_reference(place)}
