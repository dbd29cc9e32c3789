"""Runs from a TOML file: the worked example, one-line errors, the plan, resumption, weights."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from flows.cli import app
from flows.commands.train import duration
from pipeline.dedup.decontamination import LeakError
from trainer.data.stream import StreamError
from trainer.policies.reference import reference_fingerprint
from trainer.run.config import ConfigError, load_config
from trainer.run.execution import plan

README = Path(__file__).parents[2] / "trainer" / "README.md"
CONFIG = """
run = "{folder}/runs/mine"
store = "{store}"
reference = "{reference}"

[training]
steps = 4
checkpoint_every = 2
warmup_steps = 1

[mixture]
batch_sequences = 6

[[source]]
name = "human"
where = "j.origin = 'human'"
weight = 0.5

[[source]]
name = "samples"
where = "j.policy_id = 'reference'"
weight = 0.5
"""


def written(folder: Path, text: str) -> Path:
    (folder / "run.toml").write_text(text)
    return folder / "run.toml"


@pytest.fixture
def config(job, tmp_path) -> Path:
    return written(tmp_path, CONFIG.format(folder=tmp_path, store=job.store.location, reference=job.folder))


def test_the_worked_example_of_the_readme_parses(tmp_path):
    example = re.search(r"```toml\n(.*?)```", README.read_text(), re.DOTALL).group(1)
    found = load_config(written(tmp_path, example))
    assert [source.name for source in found.source] == ["human", "earlier", "fresh-right", "fresh-wrong"]
    assert found.to_mixture().batch_tokens_global == 8192 and found.online.every == 10


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("steps = 4", "step = 4"), r"run\.toml: training\.step: unknown key; did you mean steps\?"),
        (
            ("steps = 4", "nonsense_here = 4"),
            r"training\.nonsense_here: unknown key; there are: steps, beta, ",
        ),
        (
            ("weight = 0.5", "weigth = 0.5"),
            r"source\.0\.weight: Field required; source\.0\.weigth: unknown key; did you mean weight\?",
        ),
        (
            ("steps = 4", "steps = 0"),
            r"training\.steps: Input should be greater than or equal to 1 \(it is 0\)",
        ),
        (('name = "human"', 'name = "samples"'), r"two sources are named samples"),
        (("steps = 4", "steps = "), r"run\.toml: not TOML: "),
    ],
)
def test_a_mistake_is_one_line_with_file_and_key(tmp_path, change, message):
    text = CONFIG.format(folder=tmp_path, store="s", reference="r").replace(*change, 1)
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(written(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.toml: No such file or directory; name a TOML file"):
        load_config(tmp_path / "none.toml")


def test_the_plan_counts_what_the_run_will_draw_and_writes_nothing(config, job):
    found = plan(load_config(config))
    stream = job.stream(load_config(config).source, batch_sequences=6)
    assert stream.reference == reference_fingerprint(job.policy())
    stream.advance()
    rows = [row for step in range(4) for row in stream.batch(step)]
    assert {s.source: (s.rows, s.drawn) for s in found.sources} == {
        name: (stream.sizes()[name], sum(row.source == name for row in rows)) for name in ("human", "samples")
    }
    assert found.tokens_a_step == pytest.approx(sum(row.tokens for row in rows) / 4)
    assert found.tokens_per_s > 0 and found.hours == pytest.approx(
        found.tokens_a_step * 4 / found.tokens_per_s / 3600
    )
    assert not (config.parent / "runs").exists()
    judged = dict(job.store.read("verdicts", ["trajectory_id", "verdict"]).rows())
    assert {s.source: s.success for s in found.sources} == {
        name: pytest.approx(np.mean([judged[i] == "accepted" for i in stream.pool(name).trajectory_ids]))
        for name in ("human", "samples")
    }


def test_the_plan_foretells_where_a_source_runs_dry(config, job):
    text = (
        config.read_text()
        .replace("steps = 4", "steps = 400")
        .replace("where = \"j.origin = 'human'\"", 'uses = 2\nwhere = "true"')
    )
    config.write_text(text)
    human, samples = plan(load_config(config), timed=False).sources
    assert samples.dry_at_step is None and human.dry_at_step == pytest.approx(
        400 * 2 * human.rows / human.drawn, abs=1
    )
    stream = job.stream(load_config(config).source, batch_sequences=6)
    stream.advance()
    with pytest.raises(
        StreamError, match=r"source human has given each of its rows 2 times in the mean"
    ) as dry:
        for step in range(400):
            stream.batch(step)
    assert abs(step - human.dry_at_step) <= 2 and f"step {step}: " in str(dry.value)


def test_durations_are_told_in_a_readable_unit():
    assert [duration(hours) for hours in (0.001, 0.5, 30.04)] == ["3.6 s", "30 min", "30.0 h"]


def test_train_resume_weights_and_their_errors_at_the_command_line(config):
    def spo(*arguments):
        return CliRunner().invoke(app, [str(a) for a in arguments])

    folder = config.parent / "runs" / "mine"
    refused = spo("train", config, "--resume")
    assert isinstance(refused.exception, ConfigError) and "leave it out to begin one" in str(
        refused.exception
    )
    shown = spo("train", config, "--dry-run")
    assert (
        shown.exit_code == 0
        and "epochs" in shown.stdout
        and "tokens/s" in shown.stdout
        and not folder.exists()
    )
    config.write_text(
        'evaluation = "split = \'train\'"\nallow_leaks = ["ngrams", "same"]\n' + config.read_text()
    )
    for arguments in ([], ["--dry-run"]):
        leaking = spo("train", config, *arguments)
        assert (
            isinstance(leaking.exception, LeakError)
            and "(itself " in str(leaking.exception)
            and not folder.exists()
        )
    config.write_text(config.read_text().replace('"same"', '"same", "itself"'))
    first = spo("train", config, "--json")
    assert first.exit_code == 0, first.exception
    assert json.loads(first.stdout.splitlines()[-1])["policy"] == str(folder / "final")
    assert "is done" in spo("train", config, "--resume").stderr
    assert spo("weights", folder, "human=0.2", "samples=schedule").exit_code == 0
    assert json.loads((folder / "weights.jsonl").read_text())["weights"] == {"human": 0.2, "samples": None}
    for wrong, message in (
        ("humans=1", "one of the sources human, samples"),
        ("human=-1", "must be a number, 0 or more"),
    ):
        assert message in str(spo("weights", folder, wrong).exception)
    assert "has no config.json" in str(spo("weights", config.parent, "human=1").exception)
    shutil.move(folder, folder.with_name("elsewhere"))
    taken = spo("train", config)
    assert "a policy named mine is published already" in str(taken.exception), taken.output
    shutil.move(folder.with_name("elsewhere"), folder)
    config.write_text(config.read_text().replace("batch_sequences = 6", "batch_sequences = 8"))
    other = spo("train", config)
    assert "was begun with another mixture.batch_sequences" in str(other.exception)
