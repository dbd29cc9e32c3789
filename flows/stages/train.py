"""Train one policy and publish it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact

from flows.display.terminal import progress
from flows.runtime.rules import IN_MEMORY, PATIENT, done
from pipeline.store import Store
from sandbox import Pool

if TYPE_CHECKING:
    from trainer.data import Mixture
    from trainer.rollouts import OnlineSettings
    from trainer.run import TrainSettings


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
    away by evidence that `allow_leaks` does not name: itself, same or ngrams, see `pipeline/dedup/decontamination.py`.
    """
    from trainer.data import Mixture
    from trainer.rollouts import OnlineSettings
    from trainer.run import TrainSettings, refuse_leaking

    if evaluation is not None:
        refuse_leaking(Store(store), Mixture(**mixture), evaluation, allow_leaks)
    chosen = TrainSettings(**settings)
    final = train_task(
        store,
        folder,
        reference_folder,
        reference_id,
        run_id,
        seed,
        chosen,
        Mixture(**mixture),
        OnlineSettings(**online),
    )
    create_markdown_artifact(f"policy `{run_id}` in `{final}`", key="policy", description=f"Trained {run_id}")
    return done(final, f"{chosen.steps:,} steps, policy {run_id} in {final}")


@task(name="SPO training", **PATIENT)
def train_task(
    store_path: str,
    folder: str,
    reference_folder: str,
    reference_id: str,
    run_id: str,
    seed: int,
    settings: TrainSettings,
    mixture: Mixture,
    online: OnlineSettings,
) -> str:
    from flows.stages.policies import select_problems
    from trainer.data import Stream
    from trainer.policies import load_policy, publish_policy, reference_fingerprint
    from trainer.rollouts import FreshData
    from trainer.run import train

    store, reference = Store(store_path), load_policy(reference_folder)
    fingerprint = reference_fingerprint(reference)
    stream = Stream(
        store, mixture, reference=fingerprint, reference_policy=reference_id, beta=settings.beta, seed=seed
    )
    problems = select_problems(store_path, "split = 'train' and source = 'starter'")
    with Pool() as pool, progress(f"train {run_id}", "steps") as update:
        fresh = FreshData(store, pool, reference, problems, online, run_id, seed)
        policy = train(
            load_policy(reference_folder),
            stream,
            settings,
            Path(folder),
            before_step=fresh.before_step,
            on_step=lambda figures: update(figures["step"] + 1, settings.steps),
        )
    publish_policy(
        store,
        policy,
        Path(folder) / "final",
        policy_id=run_id,
        parent_id=reference_id,
        run_id=run_id,
        step=settings.steps,
        details={"settings": settings.model_dump(), "mixture": mixture.model_dump(), "seed": seed},
    )
    return str(Path(folder) / "final")
