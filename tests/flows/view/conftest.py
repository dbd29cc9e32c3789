"""A store with hostile rows, logs of two runs, and a client that has the token."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from starlette.testclient import TestClient

from flows.view import application
from pipeline.corpora import Spec, publish
from pipeline.ingest import ingest
from pipeline.store import connect, query
from trainer.data import Source, Stream
from trainer.policies import load_policy, score
from trainer.run import MixtureConfig, RunConfig, TrainingSettings, run

_spec = importlib.util.spec_from_file_location("visits", Path(__file__).with_name("visits.py"))
visits = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(visits)

TRAINED_STEPS = 3
TRAJECTORIES = """
SELECT trajectory_id, problem_id, verdict, origin,
    trajectory_id IN (SELECT trajectory_id FROM reference_scores) AS scored, token_ids IS NOT NULL AS sampled
FROM trajectories LEFT JOIN (SELECT trajectory_id, verdict FROM judged) USING (trajectory_id)
ORDER BY trajectory_id
"""


def write_runs(folder: Path) -> None:
    """Logs of four steps: the loss of run two is three times that of run one."""
    for name, factor in (("one", 1.0), ("two", 3.0)):
        (folder / name).mkdir(parents=True)
        with open(folder / name / "metrics.jsonl", "w") as log:
            for step in range(4):
                online = {"loss": 2.0, "verdicts": {"accepted": step, visits.HOSTILE: 1}}
                figures = {"step": step, "loss": factor * (4 - step), "kl": 0.1 * step}
                log.write(json.dumps(figures | {"sources": {"online": online}}) + "\n")
        config = {"name": name, "objective": {"beta": factor}}
        (folder / name / "config.json").write_text(json.dumps(config))


@pytest.fixture(scope="session", name="visits")
def visits_fixture():
    return visits


@pytest.fixture(scope="session")
def place(tmp_path_factory, sampled_store):
    """A labelled and scored store with hostile rows and a corpus, beside the logs."""
    folder = tmp_path_factory.mktemp("view")
    store = sampled_store(folder, problems=2)
    score(store, load_policy(folder / "reference"), folder=folder / "reference")
    (folder / "hostile.jsonl").write_text(visits.hostile_lines())
    ingest(store, "plain", str(folder / "hostile.jsonl"))
    publish(store, Spec("judged", "SELECT trajectory_id FROM judged", description=visits.HOSTILE))
    write_runs(folder / "runs")
    with connect(store) as connection:
        trajectories = query(connection, TRAJECTORIES).to_dicts()
        refused = query(connection, "SELECT quarantine_id FROM quarantine")["quarantine_id"].to_list()
        corpus = query(connection, "SELECT corpus_id FROM corpora")["corpus_id"][0]
    app = application(str(folder / "store"), visits.TOKEN, runs_folder=folder, port=8181)
    return SimpleNamespace(
        folder=folder, store=store, trajectories=trajectories, refused=refused, corpus=corpus, app=app
    )


@pytest.fixture(scope="session")
def client(place):
    with TestClient(place.app, base_url=visits.BASE) as opened:
        assert opened.get(f"/?token={visits.TOKEN}").status_code == 200
        yield opened


@pytest.fixture(scope="session")
def trained(place):
    """The batches of a real run, by step."""
    batches, batch = {}, Stream.batch

    def recorded(stream, step):
        batches[step] = batch(stream, step)
        return batches[step]

    config = RunConfig(
        run=place.folder / "real",
        store=str(place.folder / "store"),
        reference=place.folder / "reference",
        reference_policy="reference",
        training=TrainingSettings(steps=TRAINED_STEPS, gate_nats=1.0),
        mixture=MixtureConfig(batch_sequences=4),
        source=[Source(name="all", weight=1.0, where="j.split = 'train'")],
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Stream, "batch", recorded)
        run(config)
    return {step: [row.trajectory_id for row in rows] for step, rows in batches.items()}
