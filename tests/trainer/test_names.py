"""Names in a run's configuration: corpora, rewards, conditions and sources are resolved before anything is
trained.
"""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from flows.cli import app
from pipeline.corpora import Spec, publish
from pipeline.store import SqlError
from trainer.data import Source, StreamError
from trainer.run import ConfigError, load_config, plan, resumes, run

CONFIG = """
run = "{folder}/runs/{run}"
store = "{store}"
reference = "{reference}"
allow_leaks = ["itself", "same", "ngrams"]

[training]
steps = 2
checkpoint_every = 1

[optimiser]
warmup_steps = 1

[mixture]
batch_sequences = 4

[[source]]
name = "people"
where = "j.origin = 'human'"
weight = 1.0
"""
HUMANS = "select trajectory_id from judged where origin = 'human' and split = 'train'"


@pytest.fixture
def written(job, tmp_path):
    """Write the configuration of a run, with lines of its source put in place of others."""

    def write(added: str = "", run: str = "mine", **replaced: str) -> Path:
        text = CONFIG.format(folder=tmp_path, run=run, store=job.store.location, reference=job.folder)
        for old, new in replaced.items():
            text = text.replace(WORDS[old], new)
        path = tmp_path / f"{run}.toml"
        path.write_text(text + added)
        return path

    return write


WORDS = {"where": "j.origin = 'human'", "sequences": "batch_sequences = 4"}

MISTAKES = {
    'reward = "binray"': r"source\.0\.reward: no reward binray; there are: binary, .*;"
    r" did you mean binary\?$",
    'reward = "x; drop table y"': r"source\.0\.reward: no reward x; drop table y; there are: binary,",
    "parameters = { run = 'x' }": r"source people: where: the parameter \$run is not in the condition",
    "parameters = { reference = 'x' }": r"the parameter \$reference is not in the condition",
    "parameters = { run = [1] }": r"source\.0\.parameters\.run",
}


@pytest.mark.parametrize("line", MISTAKES)
def test_a_mistake_in_a_source_is_one_line_when_the_file_is_read(written, line):
    with pytest.raises(ConfigError, match=MISTAKES[line]) as caught:
        load_config(written(line))
    assert "\n" not in str(caught.value) and "Value error" not in str(caught.value)


CONDITIONS = {
    "true) or (true": "syntax error",
    "true; drop view judged": "one condition is wanted, not true; drop view judged",
    "j.run_id = $run": r"no value for the parameter \$run",
    "j.run_id in (from read_text('/etc/hostname'))": "the function read_text may read files",
}


@pytest.mark.parametrize("where", CONDITIONS)
def test_a_condition_is_checked_when_the_file_is_read(written, where):
    with pytest.raises(ConfigError, match=f"source people: where: .*{CONDITIONS[where]}") as caught:
        load_config(written(where=where))
    assert "\n" not in str(caught.value)


def test_conditions_on_problems_are_checked_too(written):
    online = '[online]\nproblems_where = "true) or (true"\n'
    with pytest.raises(ConfigError, match=r"online\.problems_where: condition: .*syntax error"):
        load_config(written(online))
    path = written()
    path.write_text('evaluation = "true) or (true"\n' + path.read_text())
    with pytest.raises(ConfigError, match=r"evaluation: condition: .*syntax error"):
        load_config(path)
    with pytest.raises(ConfigError, match=r"mixture\.reward: no reward sucess; .*did you mean success\?"):
        load_config(written(sequences='batch_sequences = 4\nreward = "sucess"'))


@pytest.mark.parametrize("name", ["humns", "human's", "x' or 'a' = 'a"])
def test_an_unknown_corpus_is_one_line_before_training(written, job, name, tmp_path):
    publish(job.store, Spec("humans", HUMANS))
    config = load_config(written(f'corpus = "{name}"'))
    meant = "; did you mean humans?" if name.startswith("hum") else ""
    for act in (plan, run):
        with pytest.raises(ConfigError, match=r"^source people: corpus: no corpus") as caught:
            act(config)
        assert str(caught.value).endswith(f"published: humans{meant}")
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "runs" / "mine").exists()
    with pytest.raises(StreamError, match="source people: corpus: no corpus"):
        job.stream(config.source)


def test_a_corpus_by_name_is_the_newest_and_a_run_keeps_it(written, job):
    old = publish(job.store, Spec("humans", HUMANS))
    path = written('corpus = "humans"')
    config = load_config(path)
    run(config)
    saved = json.loads((config.run / "config.json").read_text())
    assert [source["corpus"] for source in saved["source"]] == [old.corpus_id]

    new = publish(job.store, Spec("humans", f"{HUMANS} order by trajectory_id limit 5"))
    assert new.corpus_id != old.corpus_id
    for same in (path, written(f'corpus = "{old.corpus_id[:12]}"'), config.run):
        assert resumes(load_config(same)) is not None  # it raises where the run was begun with another corpus
    with pytest.raises(ConfigError, match="was begun with another source"):
        resumes(load_config(written(f'corpus = "{new.corpus_id}"')))

    (shown,) = plan(load_config(written('corpus = "humans"', run="next")), timed=False).sources
    assert shown.rows <= 5 < len(old.rows)


def test_a_name_stays_what_it_was_through_repeated_resumption(written, job):
    publish(job.store, Spec("humans", HUMANS))
    path = written('corpus = "humans"')
    final = run(load_config(path))
    publish(job.store, Spec("humans", f"{HUMANS} limit 3"))
    assert run(load_config(path)) == final


def test_values_beside_a_condition_reach_sql_as_values(job):
    # An id with everything that could end a quotation.
    source = Source(
        name="odd", where="j.policy_id = $policy or j.policy_id = $other", weight=1.0,
        parameters={"policy": "it's \"odd\" -- $x ; /*", "other": "reference"},
    )  # fmt: skip
    plain = Source(name="odd", where="j.policy_id = 'reference'", weight=1.0)
    streams = [job.stream([one]) for one in (source, plain)]
    for stream in streams:
        stream.advance()
    selected, expected = (sorted(stream.pool("odd").trajectory_ids) for stream in streams)
    assert selected == expected and selected


def test_no_condition_reaches_rows_that_are_not_for_training(job):
    """The guard `split = 'train'` stands whatever a condition says."""
    tests = job.store.read("problems", ["problem_id", "split"]).filter(pl.col("split") == "test")[
        "problem_id"
    ]
    stream = job.stream([Source(name="all", where="true or j.split = 'test'", weight=1.0)], scored=False)
    stream.advance()
    samples = set(stream.pool("all").problem_ids)
    assert samples and not samples & set(tests)
    for condition in ("true) or (true", "true) or j.split = 'test' or (true", "true -- ", "true /*"):
        try:
            stream = job.stream([Source(name="all", where=condition, weight=1.0)], scored=False)
        except SqlError as error:
            assert "syntax error" in str(error) or "unterminated" in str(error)
            continue
        stream.advance()
        assert not set(stream.pool("all").problem_ids) & set(tests)


def test_a_misspelt_source_of_weights_is_named(written, job):
    config = load_config(written())
    run(config)
    said = CliRunner().invoke(app, ["weights", str(config.run), "peple=0.5"])
    assert str(said.exception).endswith("one of the sources people; did you mean people?")
