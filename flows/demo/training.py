"""The demo's training corpus and mixture, and the configuration of each training run."""

from __future__ import annotations

from pathlib import Path

from flows.demo.record import DemoRecord
from flows.demo.settings import DemoSettings, evaluation_problems
from trainer.data import Source
from trainer.run import MixtureConfig, OnlineConfig, RunConfig

# Problems that are sampled during training.
SAMPLED = "split = 'train' and source = 'starter'"


def corpus_spec(run: DemoRecord) -> dict:
    return {
        "name": f"{run.name}-offline",
        "description": "all rows that offline training may use: judged and scored training trajectories",
        "query": (
            "select trajectory_id from judged where split = 'train' and language = 'python3'"
            " and origin <> 'online' and (run_id is null or run_id = $run)"
            " and trajectory_id in (select trajectory_id from reference_scores)"
        ),
        "parameters": {"run": run.name},
    }


def sources(settings: DemoSettings, run: DemoRecord, run_id: str, corpus: str) -> list[Source]:
    """Stored data, and from the first online step on an equal share of fresh data."""
    offline = offline_sources(run, corpus)
    total = sum(source.weight_at(0) for source in offline)
    online = Source(
        name="online",
        where="j.origin = 'online' and j.run_id = $run",
        parameters={"run": run_id},
        weight=[(0, 0.0), (settings.online.from_step, total)],
        window=512,
        when_empty="others",
    )
    return [*offline, online]


def offline_sources(run: DemoRecord, corpus: str) -> list[Source]:
    """Human programs, and samples of the reference, of the earlier policy and of other policies."""
    by_policy = "j.policy_id = $policy"
    return [
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
        Source(
            name="reference",
            where=by_policy,
            parameters={"policy": run.record["reference_policy"]},
            weight=0.25,
            corpus=corpus,
        ),
        Source(
            name="earlier",
            where=by_policy,
            parameters={"policy": f"{run.name}/earlier"},
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


def run_config(
    settings: DemoSettings, run: DemoRecord, store: str, reference: str, corpus: str, seed: int
) -> RunConfig:
    """The configuration of one seed's training run, as in a file for `spo train`."""
    run_id = f"{run.name}/seed-{seed}"
    return RunConfig(
        run=run.folder / f"seed-{seed}",
        name=run_id,
        store=store,
        reference=Path(reference),
        reference_policy=run.record["reference_policy"],
        seed=seed,
        evaluation=evaluation_problems(settings),
        # Held-out starter problems are new combinations of the words of the training problems.
        allow_leaks=("ngrams",),
        objective=settings.objective,
        training=settings.training,
        optimiser=settings.optimiser,
        mixture=MixtureConfig(batch_sequences=settings.batch_sequences),
        source=sources(settings, run, run_id, corpus),
        online=OnlineConfig(problems_where=SAMPLED, **settings.online.model_dump()),
    )
