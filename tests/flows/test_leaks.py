"""Leaks of an evaluation set, from the command line to training that refuses a corpus."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.corpora.publication import Spec, publish
from pipeline.dedup.decontamination import LeakError
from pipeline.ingest.ingestion import ingest
from pipeline.labelling.labeller import label
from pipeline.store.store import Store
from sandbox import Pool
from trainer.data import Mixture, Source
from trainer.policies import new_policy
from trainer.run import RunConfig, refuse_leaking, run

STARTER = Path(__file__).parents[2] / "data" / "starter"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("leaks")
    store = Store(folder / "store")
    ingest(store, "plain", str(STARTER), limit=12)
    with Pool() as pool:
        label(store, pool)
    return folder


def test_training_refuses_a_corpus_with_problems_of_its_evaluation_set(place):
    corpus = publish(Store(place / "store"), Spec("everything", "SELECT trajectory_id FROM judged"))
    new_policy(["print(1)\n"], vocab_size=300, layers=1, width=16).save(place / "reference")
    config = RunConfig(
        run=place / "run",
        store=str(place / "store"),
        reference=place / "reference",
        evaluation="split = 'test'",
        source=[Source(name="all", weight=1.0, corpus=corpus.corpus_id)],
    )
    # Schedules, the demo and the command line train through this function.
    with pytest.raises(LeakError, match=r"itself .*allow_leaks"):
        run(config)
    with pytest.raises(LeakError, match="itself"):
        run(config.model_copy(update={"allow_leaks": ("ngrams", "same")}))
    assert not (place / "run").exists()


def test_training_refuses_a_mixture_without_a_corpus_that_leaks_its_evaluation_set(place):
    store = Store(place / "store")
    held_out = "split = 'train' and problem_id = (select min(problem_id) from judged where split = 'train')"
    everything = Mixture(source=[Source(name="all", weight=1.0)])
    others = Mixture(
        source=[
            Source(
                name="some",
                weight=1.0,
                where=f"j.problem_id not in (select problem_id from problems where {held_out})",
            )
        ]
    )
    allowed = ("ngrams",)
    with pytest.raises(LeakError, match=r"rows to train on leak 1 problems .*; itself \d+\).*allow_leaks"):
        refuse_leaking(store, everything, held_out, allowed)
    refuse_leaking(store, others, held_out, allowed)
    refuse_leaking(store, everything, held_out, ("itself", *allowed))
    # A run that samples the problems it is evaluated on learns them as well.
    with pytest.raises(LeakError, match=r"0 rows to train on and 1 problems to sample leak 1 problems"):
        refuse_leaking(store, others, held_out, allowed, sampled_where="split = 'train'")
    # Without an evaluation set it is split = 'test', which no source draws from; words that it shares refuse
    # nothing then.
    refuse_leaking(store, everything, None)
    with pytest.raises(LeakError, match="itself"):
        refuse_leaking(store, everything, None, sampled_where="split = 'test'")


@pytest.mark.slow
def test_decontaminate_on_the_command_line(place):
    surroundings = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    run = subprocess.run(
        [sys.executable, "-m", "flows", "decontaminate", "--json"],
        env=surroundings | {"SPO_DATA_DIR": str(place)},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert run.returncode == 0, run.stderr
    actual = json.loads(run.stdout.splitlines()[-1])
    assert (
        actual["evaluation"] == "split = 'test'"
        and actual["problems"]["itself"] == actual["evaluation_problems"] > 0
    )
    assert "Decontaminated against split = 'test'" in run.stdout + run.stderr
    refused = subprocess.run(
        [sys.executable, "-m", "flows", "decontaminate", "--evaluation", "split = 'nowhere'"],
        env=surroundings | {"SPO_DATA_DIR": str(place)},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert refused.returncode == 1 and "no problem where split = 'nowhere'" in refused.stderr
