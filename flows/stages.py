"""One Prefect flow for each stage of the job. Each may be run again at any time: what is done already costs a look-up.

Parameters are paths and plain settings, never data; the store is what flows share. The trainer, and torch with it, is imported
in the tasks that need it, for a labelling that starts every few minutes should not.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from prefect import flow, task
from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact

from flows.events import announce_labelled
from flows.health import health_of
from flows.rules import IN_MEMORY, PATIENT, done, processors, turn, within
from flows.spread import runner_of, spread, where_part
from flows.terminal import progress, show_table
from pipeline.contracts import TABLES
from pipeline.corpora import Spec, publish
from pipeline.dedup import deduplicate, sign_part
from pipeline.ingest import BatchSummary, ingest
from pipeline.label import label
from pipeline.sql import connect, query
from pipeline.store import Store
from sandbox import Pool

if TYPE_CHECKING:
    from trainer.evaluate import Evaluation
    from trainer.loop import TrainSettings
    from trainer.online import OnlineSettings
    from trainer.rollout import SamplingSettings
    from trainer.stream import Mixture

# A folder of problem packages is a batch each: beyond these the summary of the source serves.
BATCH_ARTIFACTS = 50
SHOWN_ROWS = 20
DEDUPLICATED = {
    "seconds": "seconds", "signed": "programs signed now", "problems_clustered": "problems clustered now",
    "rows_changed": "marks changed now", "programs": "programs", "clusters": "clusters",
}  # fmt: skip
LEVELS = ("unique", "exact", "token", "near")


def report_table(key: str, title: str, rows: list[dict]) -> None:
    """The same summary on the terminal and as an artifact in Prefect's UI."""
    show_table(title, rows)
    if rows:
        create_table_artifact(key=key, table=rows, description=title)


def rows_of(store: str, sql: str, parameters: dict[str, Any]) -> list[dict]:
    with connect(Store(store)) as connection:
        return query(connection, sql, parameters).to_dicts()


@flow(name="ingest", flow_run_name="{adapter} {source}", **IN_MEMORY)
def ingest_flow(
    store: str, adapter: str, source: str, limit: int | None = None, columns: dict[str, str] | None = None,
    timeout_s: float | None = None,
) -> list[dict]:  # fmt: skip
    """Bring a source into the store; every row is accepted, already present, or in quarantine."""
    with turn(store, "ingest"):
        summaries = within(ingest_task, timeout_s)(store, adapter, source, limit, columns)
    rows = [ingest_row(summary) for summary in summaries]
    show_ingested(source, summaries)
    if rows:
        create_table_artifact(key="ingest", table=rows, description=f"Ingested {source}")
    for summary in [summary for summary in summaries if not summary.was_finished][:BATCH_ARTIFACTS]:
        report_batch(summary)
    report_refused(store, summaries)
    return done(rows, ingest_message(summaries), cached=all(summary.was_finished for summary in summaries))


def show_ingested(source: str, summaries: list[BatchSummary]) -> None:
    """What became of the rows of each file, and why rows were refused."""
    names = ("read", "accepted", "present", "quarantined")
    rows = [
        {"file": Path(s.source_file).name, **{name: getattr(s, name) for name in names},
         "seconds": None if s.was_finished else s.seconds, "state": "known" if s.was_finished else "new"}
        for s in summaries
    ]  # fmt: skip
    if len(rows) > 1:
        rows = rows[:BATCH_ARTIFACTS]
        sums = {name: sum(getattr(s, name) for s in summaries) for name in names}
        rows.append(
            {
                "file": f"all {len(summaries):,} files",
                **sums,
                "seconds": sum(s.seconds for s in summaries if not s.was_finished) or None,
                "state": "",
            }
        )
    show_table(f"Ingested {source}", [{("refused" if k == "quarantined" else k): v for k, v in row.items()} for row in rows])
    refused = [(count, Path(s.source_file).name, reason) for s in summaries for reason, count in s.reasons.items()]
    if refused:
        most = sorted(refused, key=lambda row: -row[0])[:SHOWN_ROWS]
        show_table("Refused, and kept in quarantine", [{"rows": n, "file": file, "reason": reason} for n, file, reason in most])


def ingest_message(summaries: list[BatchSummary]) -> str:
    read, accepted, refused = (sum(getattr(s, name) for s in summaries) for name in ("read", "accepted", "quarantined"))
    reasons = sum((Counter(s.reasons) for s in summaries), Counter())
    why = "; ".join(f"{count:,} {reason}" for reason, count in reasons.most_common(3))
    before = sum(s.was_finished for s in summaries)
    said = f"{read:,} rows read, {accepted:,} accepted, {refused:,} in quarantine" + (f" ({why})" if why else "")
    return said + (f"; {before:,} of {len(summaries):,} files were finished before" if before else "")


def report_batch(summary: BatchSummary) -> None:
    """An artifact for one batch: what became of its rows, and why rows were refused."""
    counts = [{"what": name, "rows": getattr(summary, name)} for name in ("read", "accepted", "present", "quarantined")]
    counts += [{"what": f"accepted into {table}", "rows": count} for table, count in summary.rows.items()]
    counts += [{"what": f"refused: {reason}", "rows": count} for reason, count in summary.reasons.items()]
    title = f"{summary.adapter} {summary.source_file}, batch {summary.batch_id}"
    create_table_artifact(key=f"ingest-{summary.batch_id}", table=counts, description=title)


def report_refused(store: str, summaries: list[BatchSummary]) -> None:
    """An artifact with the first refused rows of this ingestion: file, line, field, reason."""
    batches = [summary.batch_id for summary in summaries if summary.quarantined and not summary.was_finished]
    if batches:
        refused = rows_of(
            store,
            "select source_file as file, source_line as line, coalesce(field, '') as field, reason from quarantine"
            " where list_contains($batches, batch_id) order by all limit $shown",
            {"batches": batches, "shown": SHOWN_ROWS},
        )
        title = f"The first {len(refused)} rows in quarantine; all of them: spo quarantine list"
        create_table_artifact(key="ingest-refused", table=refused, description=title)


@task(name="ingest files", **PATIENT)
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


@flow(name="deduplicate", flow_run_name="{store}", **IN_MEMORY)
def deduplicate_flow(store: str, runner: str | None = None, parts: int | None = None, timeout_s: float | None = None) -> dict:
    """Mark equal and nearly equal programs; nothing is deleted.

    With a `runner` (`flows/spread.py`) programs are signed in parts; clusters are made here, from the signatures.
    """
    where = runner_of(runner, parts)
    with processors(), turn(store, "deduplicate"):
        signed = 0 if where.kind == "threads" else sum(spread(within(sign_task, timeout_s), where, store=store))
        found = within(deduplicate_task, timeout_s)(store)
    found["signed"] += signed
    levels = {f"programs, {level}": found["levels"][level] for level in LEVELS if level in found["levels"]}
    report_table("deduplicate", "Deduplicated", [{said: found[name] for name, said in DEDUPLICATED.items()} | levels])
    said = f"{found['signed']:,} programs signed, {found['rows_changed']:,} marks changed; {found['clusters']:,} clusters"
    return done(found, said, cached=not found["signed"] and not found["rows_changed"])


@task(name="sign programs", **PATIENT)
def sign_task(part: int, parts: int, store: str) -> int:
    return sign_part(Store(store), part, parts)


@task(name="sign and cluster programs", **PATIENT)
def deduplicate_task(store: str) -> dict:
    with progress("deduplicate", "programs") as update:
        return asdict(deduplicate(Store(store), on_progress=lambda p: update(p.done, p.total)))


@flow(name="label", flow_run_name="{store}", **IN_MEMORY)
def label_flow(
    store: str, workers: int | None = None, runner: str | None = None, parts: int | None = None, time_factor: float = 1.0,
    timeout_s: float | None = None,
) -> dict:  # fmt: skip
    """Run every program that has no verdict yet in the sandbox; with a `runner` (`flows/spread.py`) on several machines."""
    started = datetime.now(UTC)
    with processors(), turn(store, "label"):
        task = within(label_task, timeout_s)
        found = total_of(spread(task, runner_of(runner, parts), store=store, workers=workers, time_factor=time_factor))
    rows = [{"verdict": name, "rows": count} for name, count in sorted(found["verdicts"].items())]
    ran = f"{found['programs']:,} programs ran {found['tests']:,} tests in {found['seconds']:.0f} s"
    report_table("label", f"Labelled in the sandbox: {ran}, {found['unjudgeable']:,} rows without tests or checker", rows)
    said = f"{found['rows']:,} rows labelled, {ran}"
    if found["rows"]:
        reached = announce_labelled(store, found["verdicts"])
        said += f"; reached: {', '.join(reached)}" if reached else ""
    if found["verdicts"].get("judge_error"):
        said += f"; {report_judge_errors(store, started)}"
    return done(found, said, cached=not found["rows"])


def total_of(parts: list[dict]) -> dict:
    """The labelling of all parts in one; every part counts the rows without a judge of the whole store."""
    verdicts = sum((Counter(part["verdicts"]) for part in parts), Counter())
    summed = {name: sum(part[name] for part in parts) for name in ("rows", "programs", "tests", "cpu_s")}
    largest = {name: max(part[name] for part in parts) for name in ("seconds", "unjudgeable")}
    return {**summed, **largest, "verdicts": dict(verdicts)}


def report_judge_errors(store: str, since: datetime) -> str:
    """An artifact with the first judge errors of this labelling, and a line that names one of them."""
    rows = rows_of(
        store,
        "select trajectory_id, problem_id, attempt, coalesce(tests[1].detail, '') as reason from verdicts"
        " where verdict = 'judge_error' and judged_at >= $since order by trajectory_id limit $shown",
        {"since": since, "shown": SHOWN_ROWS},
    )
    create_table_artifact(key="judge-errors", table=rows, description=f"The first {len(rows)} judge errors; they are no rewards")
    first = rows[0]
    return f"judge errors, for one {first['trajectory_id']} of {first['problem_id']}: {first['reason']}"


@task(name="judge programs", **PATIENT)
def label_task(part: int, parts: int, store: str, workers: int | None, time_factor: float = 1.0) -> dict:
    with progress("label", "rows") as update:
        chosen = where_part("t.problem_id", part, parts)
        found = label(Store(store), workers=workers, time_factor=time_factor, where=chosen, on_progress=update)
    return {**asdict(found), "verdicts": dict(found.verdicts)}


@flow(name="score", flow_run_name="{store}", **IN_MEMORY)
def score_flow(
    store: str, folder: str, max_tokens: int, precision: Literal["fp32", "bf16"] = "fp32", changed: bool = False,
    runner: str | None = None, parts: int | None = None, timeout_s: float | None = None,
) -> dict:  # fmt: skip
    """Store the reference policy's log-probabilities of every judged training trajectory; with a `runner` on several machines."""
    with processors(), turn(store, "score"):
        found = spread(
            within(score_task, timeout_s), runner_of(runner, parts),
            store=store, folder=folder, max_tokens=max_tokens, precision=precision, changed=changed,
        )  # fmt: skip
    total = {name: sum(part[name] for part in found) for name in ("scored", "tokens", "too_long")}
    total["seconds"] = max(part["seconds"] for part in found)
    report_table("score", "Scored under the reference", [total])
    said = f"{total['scored']:,} rows scored, {total['too_long']:,} longer than {max_tokens:,} tokens"
    return done(total, said, cached=not total["scored"])


@task(name="score trajectories", **PATIENT)
def score_task(
    part: int, parts: int, store: str, folder: str, max_tokens: int, precision: Literal["fp32", "bf16"], changed: bool
) -> dict:
    from trainer.policy import load_policy
    from trainer.reference import score

    chosen = f"p.split = 'train' and {where_part('t.problem_id', part, parts)}"
    with progress("score", "rows") as update:
        scored = score(
            Store(store), load_policy(folder), where=chosen, max_tokens=max_tokens, precision=precision, folder=Path(folder),
            changed=changed, on_progress=update,
        )  # fmt: skip
    return asdict(scored)


@flow(name="publish-corpus", flow_run_name="{spec[name]}", **IN_MEMORY)
def publish_flow(store: str, spec: dict) -> dict:
    """Publish a corpus: the rows a query selects now, at pinned versions."""
    corpus = publish_task(store, spec)
    new = corpus.pop("new")
    report_table("corpus", f"Corpus {corpus['name']}", [corpus])
    return done(corpus, f"{corpus['rows']:,} rows, corpus {corpus['corpus']}", cached=not new)


@task(name="publish corpus", **PATIENT)
def publish_task(store: str, spec: dict) -> dict:
    opened = Store(store)
    before = opened.version("corpora")
    corpus = publish(opened, Spec(**spec))
    found = {"corpus": corpus.corpus_id, "name": corpus.name, "rows": len(corpus.rows), "reward": corpus.reward}
    return found | {"new": opened.version("corpora") > before}


@flow(name="train", flow_run_name="{run_id}", **IN_MEMORY)
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

    With `evaluation`, an SQL condition on `problems`, the run is refused (LeakError) if its mixture would give these problems
    away by evidence that `allow_leaks` does not name: itself, same or ngrams, see `pipeline/decontaminate.py`.
    """
    from trainer.leaks import refuse_leaking
    from trainer.loop import TrainSettings
    from trainer.online import OnlineSettings
    from trainer.stream import Mixture

    if evaluation is not None:
        refuse_leaking(Store(store), Mixture(**mixture), evaluation, allow_leaks)
    chosen = TrainSettings(**settings)
    final = train_task(
        store, folder, reference_folder, reference_id, run_id, seed, chosen, Mixture(**mixture), OnlineSettings(**online),
    )  # fmt: skip
    create_markdown_artifact(f"policy `{run_id}` in `{final}`", key="policy", description=f"Trained {run_id}")
    return done(final, f"{chosen.steps:,} steps, policy {run_id} in {final}")


@task(name="SPO training", **PATIENT)
def train_task(
    store_path: str, folder: str, reference_folder: str, reference_id: str, run_id: str, seed: int,
    settings: TrainSettings, mixture: Mixture, online: OnlineSettings,
) -> str:  # fmt: skip
    from flows.policies import select_problems
    from trainer.loop import train
    from trainer.online import FreshData
    from trainer.policy import load_policy
    from trainer.reference import reference_fingerprint
    from trainer.rollout import publish_policy
    from trainer.stream import Stream

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


@flow(name="evaluate", flow_run_name="{policy_id}", **IN_MEMORY)
def evaluate_flow(
    store: str, folder: str, policy_id: str, problems_sql: str, sampling: dict, run_id: str | None = None, seed: int = 0
) -> dict:
    """Estimate pass@1 and pass@10 of a policy on the problems that `problems_sql` selects."""
    from trainer.rollout import SamplingSettings

    with processors():
        found = evaluation_row(evaluate_task(store, folder, policy_id, problems_sql, SamplingSettings(**sampling), run_id, seed))
    report_table("evaluate", f"Evaluated {policy_id}", [found])
    return done(found, f"pass@1 {found['pass@1']:.3f} over {found['problems']:,} problems, {found['samples']:,} samples")


@task(name="sample and judge", **PATIENT)
def evaluate_task(
    store: str, folder: str, policy_id: str, problems_sql: str, sampling: SamplingSettings, run_id: str | None, seed: int
) -> Evaluation:
    from flows.policies import select_problems
    from trainer.evaluate import evaluate
    from trainer.policy import load_policy

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


@flow(name="maintain", flow_run_name="{store}", **IN_MEMORY)
def maintain_flow(store: str, every_table: bool = False, retention_hours: int | None = None) -> dict:
    """Compact the tables that have gathered many small files, delete what nothing needs any more, and say how the store is.

    Files that a pin or a published corpus needs stay. `every_table`: those with few files too.
    """
    with turn(store, "maintain"):
        rows = maintain_task(store, every_table, retention_hours)
    health = health_of(store)
    if rows:
        report_table("maintained", "Maintained", rows)
    create_table_artifact(key="health", table=health["tables"], description=f"Tables of {store}")
    create_markdown_artifact(health["page"], key="health-notes", description=f"Health of {store}")
    said = f"{len(rows)} tables compacted; " + (f"{len(health['warnings'])} warnings: {health['warnings'][0]}"
        if health["warnings"] else "nothing to worry about")  # fmt: skip
    return done({"maintained": rows, **health}, said, cached=not rows and not health["warnings"])


@task(name="compact tables", **PATIENT)
def maintain_task(store_path: str, every_table: bool = False, retention_hours: int | None = None) -> list[dict]:
    store, rows = Store(store_path), []
    for name in TABLES:
        if store.needs_compaction(name) or (every_table and store.version(name) >= 0):
            rows.append({"table": name, **asdict(store.maintain(name, retention_hours=retention_hours))})
    return rows


@flow(name="report", flow_run_name="{run_folder}", **IN_MEMORY)
def report_flow(store: str, run_folder: str, target: str) -> str:
    """Write the report of a run."""
    path = report_task(store, run_folder, target)
    link = Path(path).resolve().as_uri()
    create_link_artifact(key="report", link=link, link_text="report", description=f"Report of {run_folder}")
    return done(path, f"written to {path}")


@task(name="write report")
def report_task(store: str, run_folder: str, target: str) -> str:
    from pipeline.report import write_report  # draws with matplotlib, which no other stage should wait for

    return str(write_report(Store(store), Path(run_folder), Path(target)))
