"""The demo's flow: ingest -> deduplicate -> label -> score -> corpus -> train -> evaluate -> report."""

from __future__ import annotations

import time
from pathlib import Path

from prefect import flow

from flows import stages
from flows.demo.record import DemoRecord
from flows.demo.settings import STARTER, DemoSettings, evaluation_problems, train_problems
from flows.demo.training import corpus_spec, run_config
from flows.display.terminal import show_table
from flows.runtime.rules import IN_MEMORY
from flows.stages import policies
from pipeline.evaluation import differences, pair
from pipeline.store import Store, connect, query


@flow(name="demo", **IN_MEMORY)
def demo_flow(settings: dict, store: str, data: str, command: str) -> dict:
    """Ingest, deduplicate, label, score, publish, train and evaluate with several seeds, and write the
    report.
    """
    chosen = DemoSettings(**settings)
    started = time.monotonic()
    run = DemoRecord(chosen, command, Path(data))
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
    report = run.stage("report", lambda: stages.report_flow(store, [str(run.folder)], target))
    rows = [{"seed": "before", **before}, *({"seed": str(seed), **row} for seed, row in enumerate(after))]
    show_table("pass@k on held-out starter problems", rows)
    return summary(store, run, ingested, report, time.monotonic() - started)


def ingest_all(settings: DemoSettings, store: str) -> list[dict]:
    rows = stages.ingest_flow(store, "plain", str(STARTER), settings.starter_limit)
    if settings.data:
        rows += stages.ingest_flow(store, "bundle", settings.data, settings.limit)
    if settings.hub:
        rows += stages.ingest_flow(store, "code_contests", settings.hub, settings.limit)
    return rows


def reference_policies(settings: DemoSettings, run: DemoRecord, store: str) -> str:
    """Create the reference policy. Returns its folder.

    For a small model that is trained here, an earlier stage of its training is created, too, which gives
    samples of another policy.
    """
    reference_id = run.record["reference_policy"]
    if settings.model:
        return policies.adopt_flow(store, settings.model, str(run.folder / "reference"), reference_id)
    warm = settings.warm_start
    earlier = {**warm, "training": {**warm["training"], "steps": settings.earlier_steps}}
    policies.warm_start_flow(store, str(run.folder / "earlier"), f"{run.name}/earlier", earlier)
    return policies.warm_start_flow(store, str(run.folder / "reference"), reference_id, warm)


def reference_samples(settings: DemoSettings, run: DemoRecord, store: str, reference: str) -> None:
    """Sample the reference policy, for the soft value Q0 and as data, and the earlier policy, as data."""
    problems = train_problems(settings, settings.train_problems)
    who = {"origin": "earlier_training", "run_id": run.name}
    provenance = {"name": f"{run.name}/reference-samples", "policy_id": run.record["reference_policy"], **who}
    policies.rollout_flow(
        store, reference, provenance, settings.reference_sampling.model_dump(), problems, seed=0
    )
    earlier = run.folder / "earlier"
    if earlier.exists():
        provenance = {"name": f"{run.name}/earlier-samples", "policy_id": f"{run.name}/earlier", **who}
        problems = train_problems(settings, settings.earlier_problems)
        policies.rollout_flow(
            store, str(earlier), provenance, settings.earlier_sampling.model_dump(), problems, seed=0
        )


def train_and_evaluate(
    settings: DemoSettings, run: DemoRecord, store: str, reference: str, corpus: str, seed: int
) -> dict:
    config = run_config(settings, run, store, reference, corpus, seed)
    final = run.stage(f"train seed {seed}", lambda: stages.train_flow(config.model_dump(mode="json")))
    evaluation = run.stage(
        f"evaluate seed {seed}",
        lambda: evaluate_policy(settings, run, store, final, config.run_id, seed),
    )
    run.add_policy(config.run_id, seed, config.run.name)
    return evaluation


def evaluate_policy(
    settings: DemoSettings, run: DemoRecord, store: str, folder: str, policy_id: str, seed: int = 0
) -> dict:
    problems = evaluation_problems(settings)
    sampling = settings.evaluation.model_dump()
    return stages.evaluate_flow(store, folder, policy_id, problems, sampling, run_id=run.name, seed=seed)


def show_agreement(store: str) -> None:
    with connect(Store(store)) as connection:
        agreement = query(
            connection,
            "select source, sum(compared)::bigint as compared, sum(agreed)::bigint as agreed,"
            " sum(agreed) / sum(compared) as agreement"
            " from claimed_agreement group by source order by source",
        )
    show_table("Agreement with the verdicts that sources claim", agreement.to_dicts())


def summary(store: str, run: DemoRecord, ingested: list[dict], report: str, seconds: float) -> dict:
    """The figures of a demo run; pass@k before and after training are those of the report."""
    with connect(Store(store)) as connection:
        totals = query(
            connection,
            "select (select count(distinct trajectory_id) from verdicts where verdict <> 'judge_error')"
            " as labelled, (select sum(agreed) / sum(compared) from claimed_agreement) as agreement",
        ).row(0, named=True)

    def total(name: str) -> int:
        return sum(row[name] for row in ingested)

    return {
        "read": total("read"),
        "accepted": total("accepted"),
        "quarantined": total("quarantined"),
        "labelled": totals["labelled"],
        "agreement": round(totals["agreement"], 4),
        **pass_at_k(store, run),
        "seconds": round(seconds, 1),
        "report": report,
    }


def pass_at_k(store: str, run: DemoRecord) -> dict[str, float | None]:
    """pass@1 and pass@10 of the reference and of the mean over seeds, on the same problems; None where there
    is no estimate.
    """
    policies = [policy["policy_id"] for policy in run.record["policies"]]
    pairing = pair(Store(store).read("evaluations"), [run.record["reference_policy"]], policies)
    changes = {difference.metric: difference for difference in differences(pairing)}
    row: dict[str, float | None] = {}
    for k in (1, 10):
        change = changes.get(f"pass@{k}")
        row[f"pass{k}_before"] = round(change.a.mean, 4) if change else None
        row[f"pass{k}_after"] = round(change.b.mean, 4) if change else None
    return row
