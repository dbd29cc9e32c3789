"""One Prefect flow for each stage of the job. Each may be run again at any time: what is done already costs a look-up.

Parameters are paths and plain settings, never data; the store is what flows share.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from prefect import flow, task
from prefect.artifacts import create_link_artifact, create_table_artifact

from flows.policies import select_problems
from flows.terminal import progress, show_table
from pipeline.contracts import TABLES
from pipeline.corpora import Spec, publish
from pipeline.decontaminate import refuse_leaks
from pipeline.dedup import deduplicate
from pipeline.ingest import BatchSummary, ingest
from pipeline.label import label
from pipeline.store import Store
from sandbox import Pool
from trainer.evaluate import Evaluation, evaluate
from trainer.logprobs import Precision
from trainer.loop import TrainSettings, train
from trainer.online import FreshData, OnlineSettings
from trainer.policy import load_policy
from trainer.reference import reference_fingerprint, score
from trainer.rollout import SamplingSettings, publish_policy
from trainer.stream import Mixture, Stream

# A folder of problem packages is a batch each: beyond these the summary of the source serves.
BATCH_ARTIFACTS = 50


def report_table(key: str, title: str, rows: list[dict]) -> None:
    """The same summary on the terminal and as an artifact in Prefect's UI."""
    show_table(title, rows)
    create_table_artifact(key=key, table=rows, description=title)


@flow(name="ingest", flow_run_name="{adapter} {source}")
def ingest_flow(
    store: str, adapter: str, source: str, limit: int | None = None, columns: dict[str, str] | None = None
) -> list[dict]:
    """Bring a source into the store; every row is accepted, already present, or in quarantine."""
    summaries = ingest_task(store, adapter, source, limit, columns)
    rows = [ingest_row(summary) for summary in summaries]
    report_table("ingest", f"Ingested {source}", rows)
    for summary in [summary for summary in summaries if not summary.was_finished][:BATCH_ARTIFACTS]:
        report_batch(summary)
    return rows


def report_batch(summary: BatchSummary) -> None:
    """An artifact for one batch: what became of its rows, and why rows were refused."""
    counts = [{"what": name, "rows": getattr(summary, name)} for name in ("read", "accepted", "present", "quarantined")]
    counts += [{"what": f"accepted into {table}", "rows": count} for table, count in summary.rows.items()]
    counts += [{"what": f"refused: {reason}", "rows": count} for reason, count in summary.reasons.items()]
    title = f"{summary.adapter} {summary.source_file}, batch {summary.batch_id}"
    create_table_artifact(key=f"ingest-{summary.batch_id}", table=counts, description=title)


@task(name="ingest files")
def ingest_task(
    store: str, adapter: str, source: str, limit: int | None, columns: dict[str, str] | None = None
) -> list[BatchSummary]:
    with progress(f"ingest {Path(source).name}", "kB") as update:
        return ingest(
            Store(store), adapter, source, limit=limit, columns=columns,
            on_progress=lambda p: update(p.bytes_read // 1000, p.bytes_total // 1000),
        )  # fmt: skip


def ingest_row(summary: BatchSummary) -> dict:
    counts = {name: getattr(summary, name) for name in ("read", "accepted", "present", "quarantined")}
    reasons = ", ".join(f"{reason}: {n}" for reason, n in sorted(summary.reasons.items())) or "-"
    name, state = Path(summary.source_file).name, "finished before" if summary.was_finished else "read"
    return {"file": name, **counts, "refused because": reasons, "seconds": round(summary.seconds, 1), "batch": state}


@flow(name="deduplicate")
def deduplicate_flow(store: str) -> dict:
    """Mark equal and nearly equal programs; nothing is deleted."""
    found = deduplicate_task(store)
    report_table("deduplicate", "Deduplicated", [{k: v for k, v in found.items() if isinstance(v, int | float)}])
    return found


@task(name="sign and cluster programs")
def deduplicate_task(store: str) -> dict:
    with progress("deduplicate", "programs") as update:
        return asdict(deduplicate(Store(store), on_progress=lambda p: update(p.done, p.total)))


@flow(name="label")
def label_flow(store: str, workers: int | None = None) -> dict:
    """Run every program that has no verdict yet in the sandbox."""
    found = label_task(store, workers)
    rows = [{"verdict": name, "rows": count} for name, count in sorted(found["verdicts"].items())]
    ran = f"{found['programs']:,} programs ran {found['tests']:,} tests in {found['seconds']:.0f} s"
    report_table("label", f"Labelled in the sandbox: {ran}, {found['unjudgeable']:,} rows without tests or checker", rows)
    return found


@task(name="judge programs")
def label_task(store: str, workers: int | None) -> dict:
    with Pool(workers) as pool, progress("label", "rows") as update:
        found = label(Store(store), pool, on_progress=update)
    return {**asdict(found), "verdicts": dict(found.verdicts)}


@flow(name="score")
def score_flow(store: str, folder: str, max_tokens: int, precision: Precision = "fp32", changed: bool = False) -> dict:
    """Store the reference policy's log-probabilities of every judged training trajectory."""
    found = score_task(store, folder, max_tokens, precision, changed)
    report_table("score", "Scored under the reference", [found])
    return found


@task(name="score trajectories")
def score_task(store: str, folder: str, max_tokens: int, precision: Precision, changed: bool) -> dict:
    with progress("score", "rows") as update:
        scored = score(
            Store(store), load_policy(folder), max_tokens=max_tokens, precision=precision, folder=Path(folder), changed=changed,
            on_progress=update,
        )  # fmt: skip
    return asdict(scored)


@flow(name="publish-corpus")
def publish_flow(store: str, spec: dict) -> dict:
    """Publish a corpus: the rows a query selects now, at pinned versions."""
    corpus = publish_task(store, spec)
    report_table("corpus", f"Corpus {corpus['name']}", [corpus])
    return corpus


@task(name="publish corpus")
def publish_task(store: str, spec: dict) -> dict:
    corpus = publish(Store(store), Spec(**spec))
    return {"corpus": corpus.corpus_id, "name": corpus.name, "rows": len(corpus.rows), "reward": corpus.reward}


@flow(name="train", flow_run_name="{run_id}")
def train_flow(
    store: str,
    folder: str,
    reference_folder: str,
    reference_id: str,
    run_id: str,
    seed: int,
    settings: dict,
    mixture: dict,
    online: dict,
    evaluation: str | None = None,
    allow_leaks: tuple[str, ...] = (),
) -> str:
    """Train one policy with SPO from the reference, and publish it. Returns its folder.

    With `evaluation`, an SQL condition on `problems`, the run is refused (LeakError) if its corpora would give these problems
    away by evidence that `allow_leaks` does not name: itself, same or ngrams, see `pipeline/decontaminate.py`.
    """
    corpora = sorted({source["corpus"] for source in mixture["source"] if source.get("corpus")})
    if evaluation is not None and corpora:
        refuse_leaks(Store(store), corpora, evaluation, allow_leaks)
    return train_task(
        store, folder, reference_folder, reference_id, run_id, seed,
        TrainSettings(**settings), Mixture(**mixture), OnlineSettings(**online),
    )  # fmt: skip


@task(name="SPO training")
def train_task(
    store_path: str, folder: str, reference_folder: str, reference_id: str, run_id: str, seed: int,
    settings: TrainSettings, mixture: Mixture, online: OnlineSettings,
) -> str:  # fmt: skip
    store, reference = Store(store_path), load_policy(reference_folder)
    fingerprint = reference_fingerprint(reference)
    stream = Stream(store, mixture, reference=fingerprint, reference_policy=reference_id, beta=settings.beta, seed=seed)
    problems = select_problems(store_path, "split = 'train' and source = 'starter'")
    with Pool() as pool, progress(f"train {run_id}", "steps") as update:
        fresh = FreshData(store, pool, reference, problems, online, run_id, seed)
        policy = train(
            load_policy(reference_folder), stream, settings, Path(folder),
            before_step=fresh.before_step, on_step=lambda figures: update(figures["step"] + 1, settings.steps),
        )  # fmt: skip
    publish_policy(
        store, policy, Path(folder) / "final", policy_id=run_id, parent_id=reference_id, run_id=run_id, step=settings.steps,
        details={"settings": settings.model_dump(), "mixture": mixture.model_dump(), "seed": seed},
    )  # fmt: skip
    return str(Path(folder) / "final")


@flow(name="evaluate", flow_run_name="{policy_id}")
def evaluate_flow(
    store: str, folder: str, policy_id: str, problems_sql: str, sampling: dict, run_id: str | None = None, seed: int = 0
) -> dict:
    """Estimate pass@1 and pass@10 of a policy on the problems that `problems_sql` selects."""
    found = evaluation_row(evaluate_task(store, folder, policy_id, problems_sql, SamplingSettings(**sampling), run_id, seed))
    report_table("evaluate", f"Evaluated {policy_id}", [found])
    return found


@task(name="sample and judge")
def evaluate_task(
    store: str, folder: str, policy_id: str, problems_sql: str, sampling: SamplingSettings, run_id: str | None, seed: int
) -> Evaluation:
    problems = select_problems(store, problems_sql)
    with Pool() as pool, progress(f"evaluate {policy_id}", "samples") as update:
        return evaluate(
            Store(store), pool, load_policy(folder), policy_id, problems, sampling, seed=seed, run_id=run_id, on_progress=update
        )


def evaluation_row(found: Evaluation) -> dict:
    return {
        "policy": found.policy_id,
        "problems": found.problems,
        "samples": found.samples,
        "pass@1": round(found.pass_at_1.mean, 4),
        "pass@10": None if found.pass_at_10 is None else round(found.pass_at_10.mean, 4),
        "distinct correct": round(found.distinct_correct, 3),
        "judge errors": found.judge_errors,
    }


@flow(name="maintain")
def maintain_flow(store: str) -> None:
    """Compact the tables that have gathered many small files. Files that a published corpus is pinned to stay."""
    maintain_task(store)


@task(name="compact tables")
def maintain_task(store_path: str) -> None:
    store = Store(store_path)
    for name in TABLES:
        if store.needs_compaction(name):
            store.maintain(name)


@flow(name="report")
def report_flow(store: str, run_folder: str, target: str) -> str:
    """Write the report of a run."""
    path = report_task(store, run_folder, target)
    link = Path(path).resolve().as_uri()
    create_link_artifact(key="report", link=link, link_text="report", description=f"Report of {run_folder}")
    return path


@task(name="write report")
def report_task(store: str, run_folder: str, target: str) -> str:
    from pipeline.report import write_report  # draws with matplotlib, which no other stage should wait for

    return str(write_report(Store(store), Path(run_folder), Path(target)))
