"""The whole job in one flow: sources -> store -> deduplicate -> label -> score -> corpus -> SPO -> evaluate -> report.

A run is named by its settings, so the same command goes on with the same run: finished stages are looked up, killed ones
continue, and nothing is added twice.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prefect import flow
from pydantic import BaseModel, ConfigDict, Field

from flows import stages
from flows.display.terminal import show_table
from flows.runtime.rules import IN_MEMORY
from flows.stages import policies
from pipeline.store import Store, connect, query
from trainer.data import Mixture, Source
from trainer.rollouts import OnlineSettings, SamplingSettings
from trainer.run import TrainSettings

STARTER = Path(__file__).parent.parent / "data" / "starter"


class DemoSettings(BaseModel):
    """What the demo does. Everything here is part of the run's name."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    starter_limit: int | None = Field(None, ge=1, description="problems taken of the starter set; null: all")
    data: str | None = Field(None, description="folder of real contest data in the bundle's layout")
    hub: str | None = Field(
        None, description="DeepMind CodeContests: a Hub name or a local parquet file or folder"
    )
    limit: int | None = Field(350, ge=1, description="problems taken of each real data set; null: everything")
    model: str | None = Field(
        None, description="folder or Hub name of a causal model; null: a small one, warm-started here"
    )
    seeds: int = Field(3, ge=1)
    train_problems: int = Field(
        662, ge=1, description="starter problems that are sampled for the soft value and online"
    )
    earlier_problems: int = Field(
        200, ge=1, description="of these, problems that the earlier policy is sampled on"
    )
    test_problems: int = Field(80, ge=1, description="held-out starter problems of the evaluation")
    contest_problems: int = Field(
        24, ge=0, description="real problems with short statements that are sampled too, with `data`"
    )
    max_tokens: int = Field(768, ge=1, description="longest prompt and completion that is trained on")
    warm_start: dict[str, Any] = {
        "share": 0.5,
        "programs": 2,
        "seed": 0,
        "model": {"layers": 3, "width": 128},
        "training": {"steps": 300, "batch_tokens": 2048},
    }
    earlier_steps: int = Field(
        200, ge=1, description="warm-start steps of the earlier policy whose samples are mixed in"
    )
    reference_sampling: SamplingSettings = SamplingSettings(samples_per_problem=6, max_new_tokens=128)
    earlier_sampling: SamplingSettings = SamplingSettings(samples_per_problem=4, max_new_tokens=128)
    evaluation: SamplingSettings = SamplingSettings(samples_per_problem=20, max_new_tokens=128)
    training: TrainSettings = TrainSettings(steps=240, beta=0.1, learning_rate=1.5e-3)
    online: OnlineSettings = OnlineSettings(from_step=200, every=10, problems=32)
    batch_sequences: int = 32


# The name decides the seeds of what is sampled, so a setting that most runs leave alone stays out of it where it is left alone.
NAMED_IF_CHANGED = (
    "target_kl",
    "beta_rate",
    "beta_floor",
    "schedule",
    "final_share",
    "optimiser",
    "lora",
    "layout",
    "row_tokens",
    "head",
    "precision",
    "activation_checkpointing",
    "entropy_tokens",
    "max_log_ratio",
    "max_loss",
    "peak_flops",
    "tensorboard",
    "publish_every",
    "publish_keep",
)


def identity_of(settings: DemoSettings) -> str:
    defaults, training = TrainSettings(), settings.training
    same = {name for name in NAMED_IF_CHANGED if getattr(training, name) == getattr(defaults, name)}
    return settings.model_dump_json(exclude={"seeds": True, "training": same})


class Run:
    """The record of a run, `run.json`: what the report reads, rewritten as stages end."""

    def __init__(self, settings: DemoSettings, command: str, data: Path):
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
        """Run a stage and keep its time: the first time it ended, since later ones are look-ups."""
        started = time.monotonic()
        result = action()
        if name not in [stage["name"] for stage in self.record["stages"]]:
            self.record["stages"].append({"name": name, "seconds": round(time.monotonic() - started, 1)})
        self.save()
        return result

    def save(self) -> None:
        partial = self.path.with_suffix(".partial")
        partial.write_text(json.dumps(self.record, indent=1))
        os.replace(partial, self.path)


@flow(name="demo", **IN_MEMORY)
def demo_flow(settings: dict, store: str, data: str, command: str) -> dict:
    """Ingest, deduplicate, label, score, publish, train and evaluate over several seeds, and write the report."""
    chosen = DemoSettings(**settings)
    started = time.monotonic()
    run = Run(chosen, command, Path(data))
    ingested = run.stage("ingest", lambda: ingest_all(chosen, store))
    run.stage("deduplicate", lambda: stages.deduplicate_flow(store))
    run.stage("label", lambda: stages.label_flow(store))
    show_agreement(store)
    reference = run.stage("reference policy", lambda: reference_policies(chosen, run, store))
    run.stage("reference samples", lambda: reference_samples(chosen, run, store, reference))
    run.stage("label samples", lambda: stages.label_flow(store))
    run.stage("deduplicate samples", lambda: stages.deduplicate_flow(store))
    run.stage("score", lambda: stages.score_flow(store, reference, chosen.max_tokens))
    corpus = run.stage("publish corpus", lambda: stages.publish_flow(store, corpus_spec(run)))["corpus"]
    reference_id = run.record["reference_policy"]
    before = run.stage(
        "evaluate reference", lambda: evaluate_policy(chosen, run, store, reference, reference_id)
    )
    after = [train_and_evaluate(chosen, run, store, reference, corpus, seed) for seed in range(chosen.seeds)]
    run.stage("deduplicate rollouts", lambda: stages.deduplicate_flow(store))
    run.stage("maintain", lambda: stages.maintain_flow(store))
    target = f"{data}/reports/{run.name}"
    report = run.stage("report", lambda: stages.report_flow(store, str(run.folder), target))
    rows = [{"seed": "before", **before}, *({"seed": str(seed), **row} for seed, row in enumerate(after))]
    show_table("pass@k on held-out starter problems", rows)
    return outcome(store, ingested, before, after, report, time.monotonic() - started)


def ingest_all(settings: DemoSettings, store: str) -> list[dict]:
    rows = stages.ingest_flow(store, "plain", str(STARTER), settings.starter_limit)
    if settings.data:
        rows += stages.ingest_flow(store, "bundle", settings.data, settings.limit)
    if settings.hub:
        rows += stages.ingest_flow(store, "code_contests", settings.hub, settings.limit)
    return rows


def reference_policies(settings: DemoSettings, run: Run, store: str) -> str:
    """The reference policy's folder; with a small model, also an earlier stage of its training, for samples of another policy."""
    reference_id = run.record["reference_policy"]
    if settings.model:
        return policies.adopt_flow(store, settings.model, str(run.folder / "reference"), reference_id)
    warm = settings.warm_start
    earlier = {**warm, "training": {**warm["training"], "steps": settings.earlier_steps}}
    policies.warm_start_flow(store, str(run.folder / "earlier"), f"{run.name}/earlier", earlier)
    return policies.warm_start_flow(store, str(run.folder / "reference"), reference_id, warm)


def reference_samples(settings: DemoSettings, run: Run, store: str, reference: str) -> None:
    """Samples of the reference, for the soft value Q0 and as data, and of the earlier policy, as data."""
    chosen = train_problems(settings, settings.train_problems)
    who = {"origin": "earlier_training", "run_id": run.name}
    provenance = {"name": f"{run.name}/reference-samples", "policy_id": run.record["reference_policy"], **who}
    policies.rollout_flow(
        store, reference, provenance, settings.reference_sampling.model_dump(), chosen, seed=0
    )
    earlier = run.folder / "earlier"
    if earlier.exists():
        provenance = {"name": f"{run.name}/earlier-samples", "policy_id": f"{run.name}/earlier", **who}
        some = train_problems(settings, settings.earlier_problems)
        policies.rollout_flow(
            store, str(earlier), provenance, settings.earlier_sampling.model_dump(), some, seed=0
        )


def train_problems(settings: DemoSettings, count: int) -> str:
    """SQL predicate: starter problems by hash, and real ones with short statements that have a program to learn from."""
    starter = chosen_by_hash("split = 'train' and source = 'starter'", count)
    if not settings.data or not settings.contest_problems:
        return starter
    short = (
        "source <> 'starter' and split = 'train' and input_mode = 'stdin' and checker <> 'custom' and length(statement) < 900"
        " and exists (select 1 from judged j where j.problem_id = problems.problem_id and j.verdict = 'accepted'"
        " and j.language = 'python3' and length(j.program) < 700)"
    )
    return f"{starter} or {chosen_by_hash(short, settings.contest_problems)}"


def chosen_by_hash(predicate: str, count: int) -> str:
    return f"problem_id in (select problem_id from problems where {predicate} order by md5(problem_id) limit {count})"


def corpus_spec(run: Run) -> dict:
    return {
        "name": f"{run.name}-offline",
        "description": "all that offline training may draw from: judged and scored training trajectories",
        "query": (
            "select trajectory_id from judged where split = 'train' and language = 'python3' and origin <> 'online'"
            " and (run_id is null or run_id = $run) and trajectory_id in (select trajectory_id from reference_scores)"
        ),
        "parameters": {"run": run.name},
    }


def mixture(settings: DemoSettings, run: Run, run_id: str, corpus: str) -> Mixture:
    """Human programs, samples of the reference and of the earlier policy; later as much fresh data as all of these."""
    reference = f"j.policy_id = '{run.record['reference_policy']}'"
    offline = [
        Source(
            name="human, right",
            where="j.origin = 'human' and j.verdict = 'accepted'",
            weight=0.5,
            unique="token",
            corpus=corpus,
        ),
        Source(
            name="human, wrong",
            where="j.origin = 'human' and j.verdict <> 'accepted'",
            weight=0.1,
            unique="token",
            corpus=corpus,
        ),
        Source(name="reference", where=reference, weight=0.25, corpus=corpus),
        Source(
            name="earlier",
            where=f"j.policy_id = '{run.name}/earlier'",
            weight=0.1,
            corpus=corpus,
            when_empty="others",
        ),
        Source(
            name="other policies",
            where="j.origin = 'other_policy'",
            weight=0.05,
            corpus=corpus,
            when_empty="others",
        ),
    ]
    total = sum(source.weight_at(0) for source in offline)
    online = Source(
        name="online",
        where=f"j.origin = 'online' and j.run_id = '{run_id}'",
        weight=[(0, 0.0), (settings.online.from_step, total)],
        window=512,
        when_empty="others",
    )
    return Mixture(batch_sequences=settings.batch_sequences, source=[*offline, online])


def train_and_evaluate(
    settings: DemoSettings, run: Run, store: str, reference: str, corpus: str, seed: int
) -> dict:
    policy_id, folder = f"{run.name}/seed-{seed}", run.folder / f"seed-{seed}"
    final = run.stage(
        f"train seed {seed}",
        lambda: stages.train_flow(
            store,
            str(folder),
            reference,
            run.record["reference_policy"],
            policy_id,
            seed,
            settings.training.model_dump(),
            mixture(settings, run, policy_id, corpus).model_dump(),
            settings.online.model_dump(),
            # Held-out starter problems are new combinations of the words of the others.
            evaluation=held_out(settings),
            allow_leaks=("ngrams",),
        ),
    )
    found = run.stage(
        f"evaluate seed {seed}", lambda: evaluate_policy(settings, run, store, final, policy_id, seed)
    )
    entry = {"policy_id": policy_id, "seed": seed, "folder": f"seed-{seed}"}
    if entry not in run.record["policies"]:
        run.record["policies"].append(entry)
        run.save()
    return found


def held_out(settings: DemoSettings) -> str:
    return chosen_by_hash("split = 'test' and source = 'starter'", settings.test_problems)


def evaluate_policy(
    settings: DemoSettings, run: Run, store: str, folder: str, policy_id: str, seed: int = 0
) -> dict:
    problems = held_out(settings)
    sampling = settings.evaluation.model_dump()
    return stages.evaluate_flow(store, folder, policy_id, problems, sampling, run_id=run.name, seed=seed)


def show_agreement(store: str) -> None:
    with connect(Store(store)) as connection:
        found = query(
            connection,
            "select source, sum(compared)::bigint as compared, sum(agreed)::bigint as agreed,"
            " sum(agreed) / sum(compared) as agreement from claimed_agreement group by source order by source",
        )
    show_table("Agreement with the verdicts that sources claim", found.to_dicts())


def outcome(
    store: str, ingested: list[dict], before: dict, after: list[dict], report: str, seconds: float
) -> dict:
    """The demo in one flat record; pass@k after training are means over seeds."""
    with connect(Store(store)) as connection:
        totals = query(
            connection,
            "select (select count(distinct trajectory_id) from verdicts where verdict <> 'judge_error') as labelled,"
            " (select sum(agreed) / sum(compared) from claimed_agreement) as agreement",
        ).row(0, named=True)

    def total(name: str) -> int:
        return sum(row[name] for row in ingested)

    def mean(name: str) -> float:
        return round(sum(row[name] for row in after) / len(after), 4)

    return {
        "read": total("read"),
        "accepted": total("accepted"),
        "quarantined": total("quarantined"),
        "labelled": totals["labelled"],
        "agreement": round(totals["agreement"], 4),
        "pass1_before": before["pass@1"],
        "pass1_after": mean("pass@1"),
        "pass10_before": before["pass@10"],
        "pass10_after": mean("pass@10"),
        "seconds": round(seconds, 1),
        "report": report,
    }
