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
from trainer.data import StreamError
from trainer.objectives import OBJECTIVES, Needs
from trainer.policies.policy import new_policy
from trainer.run import ConfigError, RunConfig, UnmetNeed, load_config, plan, resumes, run

README = Path(__file__).parents[2] / "trainer" / "README.md"
CONFIG = """
run = "{folder}/runs/mine"
store = "{store}"
reference = "{reference}"

[training]
steps = 4
checkpoint_every = 2

[optimiser]
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
    actual = load_config(written(tmp_path, example))
    assert [source.name for source in actual.source] == ["human", "earlier", "fresh-right", "fresh-wrong"]
    assert actual.to_mixture().batch_tokens_global == 8192 and actual.online.every == 10


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("steps = 4", "step = 4"), r"run\.toml: training\.step: unknown key; did you mean steps\?"),
        (
            ("steps = 4", "nonsense_here = 4"),
            r"training\.nonsense_here: unknown key; there are: steps, layout, ",
        ),
        (("steps = 4", "beta = 0.2"), r"run\.toml: training\.beta: belongs to \[objective\] now$"),
        (("steps = 4", "learning_rate = 1.0"), r"training\.learning_rate: belongs to \[optimiser\] now$"),
        (("steps = 4", 'optimiser = "adamw"'), r"training\.optimiser: belongs to \[optimiser\] as kind now$"),
        (("batch_sequences = 6", "smoothing = 1"), r"mixture\.smoothing: belongs to \[objective\] now$"),
        (
            ("[mixture]", '[objective]\nname = "spoo"\n[mixture]'),
            r"objective: no objective is named spoo; did you mean spo\?$",
        ),
        (
            ("[mixture]", '[objective]\nname = "x"\n[mixture]'),
            r"objective: no objective is named x; there are: astar_po, asymre, .*, sft, spo, tba, topr$",
        ),
        (
            ("[mixture]", "[objective]\nbeta = 1.0\n[mixture]"),
            "objective: name is missing; there are: astar_po, asymre, grpo, gspo, oapl, ppo, rloo, sft, spo,"
            " tba, topr$",
        ),
        (
            ("[mixture]", '[objective]\nname = "spo"\nshap = "squared"\n[mixture]'),
            r"objective\.shap: unknown key; did you mean shape\?$",
        ),
        (
            ("[mixture]", '[objective]\nname = "spo"\nbeta = 0\n[mixture]'),
            r"objective\.beta: Input should be greater than 0 \(it is 0\)$",
        ),
        (
            ("[mixture]", '[objective]\nname = "sft"\nbeta = 0.1\n[mixture]'),
            r"objective\.beta: unknown key; there are: name$",
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
    actual = plan(load_config(config))
    stream = job.stream(load_config(config).source, batch_sequences=6)
    stream.advance()
    rows = [row for step in range(4) for row in stream.batch(step)]
    assert {s.source: (s.rows, s.rows_drawn) for s in actual.sources} == {
        name: (len(stream.pool(name)), sum(row.source == name for row in rows))
        for name in ("human", "samples")
    }
    assert actual.tokens_per_step == pytest.approx(sum(row.tokens for row in rows) / 4)
    assert actual.tokens_per_s > 0 and actual.hours == pytest.approx(
        actual.tokens_per_step * 4 / actual.tokens_per_s / 3600
    )
    assert not (config.parent / "runs").exists()
    judged = dict(job.store.read("verdicts", ["trajectory_id", "verdict"]).rows())
    assert {s.source: s.success for s in actual.sources} == {
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
        400 * 2 * human.rows / human.rows_drawn, abs=1
    )
    stream = job.stream(load_config(config).source, batch_sequences=6)
    stream.advance()
    with pytest.raises(
        StreamError, match=r"source human has given each of its rows 2 times on average"
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
    assert isinstance(refused.exception, ConfigError) and "omit --resume to start one" in str(
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
            and "; itself " in str(leaking.exception)
            and not folder.exists()
        )
    config.write_text(config.read_text().replace('"same"', '"same", "itself"'))
    first = spo("train", config, "--json")
    assert first.exit_code == 0, first.exception
    assert json.loads(first.stdout.splitlines()[-1])["policy"] == str(folder / "final")
    assert "is finished" in spo("train", config, "--resume").stderr
    assert spo("weights", folder, "human=0.2", "samples=schedule").exit_code == 0
    assert json.loads((folder / "weights.jsonl").read_text())["weights"] == {"human": 0.2, "samples": None}
    for wrong, message in (
        ("humans=1", "one of the sources human, samples"),
        ("human=-1", "must be a number of 0 or more"),
    ):
        assert message in str(spo("weights", folder, wrong).exception)
    assert "has no config.json" in str(spo("weights", config.parent, "human=1").exception)
    shutil.move(folder, folder.with_name("elsewhere"))
    selected = spo("train", config)
    assert "a policy named mine is published already" in str(selected.exception), selected.output
    shutil.move(folder.with_name("elsewhere"), folder)
    config.write_text(config.read_text().replace("batch_sequences = 6", "batch_sequences = 8"))
    other = spo("train", config)
    assert "was begun with another mixture.batch_sequences" in str(other.exception)


def test_a_stopped_run_may_change_what_does_not_change_what_it_learns(tmp_path):
    values = {
        "run": str(tmp_path / "mine"), "store": str(tmp_path / "store"), "reference": str(tmp_path),
        "source": [{"name": "all", "weight": 1.0}],
    }  # fmt: skip
    begun = RunConfig.model_validate(values | {"training": {"steps": 10}})
    begun.run.mkdir()
    saved = json.loads(begun.model_dump_json())
    del saved["optimiser"]["betas"]  # as an earlier version wrote it
    (begun.run / "config.json").write_text(json.dumps(saved))
    more = {"steps": 20, "batch_tokens": 512, "checkpoint_every": 2, "publish_every": 5, "max_loss": 50.0}
    assert resumes(RunConfig.model_validate(values | {"training": more})) == 0
    for section in ({"optimiser": {"betas": [0.5, 0.5]}}, {"training": {"steps": 10, "row_tokens": 64}}):
        with pytest.raises(ConfigError, match="was begun with another"):
            resumes(RunConfig.model_validate(values | section))


LIKELIHOOD = '[objective]\nname = "sft"\n\n[training]'


def test_likelihood_runs_from_a_file_where_nothing_is_scored_nor_sampled(config, job, tmp_path):
    """By the command line, on a store of which the reference is unknown; resumed after a stop; and the
    plan says so.
    """
    unknown = new_policy(["Print n. print(n)"], vocab_size=300, layers=1, width=16, heads=2, seed=9)
    unknown.save(tmp_path / "unknown")
    text = (
        config.read_text()
        .replace("[training]", LIKELIHOOD)
        .replace(str(job.folder), str(tmp_path / "unknown"))
    )
    config.write_text(text)
    chosen = load_config(config)
    actual = plan(chosen)
    assert (actual.objective, actual.needs) == ("sft", Needs(False, False, False))
    assert all(source.rows > 0 and source.without_q0 == 0 for source in actual.sources)
    shown = CliRunner().invoke(app, ["train", str(config), "--dry-run"])
    assert "objective sft: needs judged rows; not needed: reference scores" in shown.stdout
    assert "problems without Q0" not in shown.stdout

    def stop(figures):
        if figures["step"] == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        run(chosen, on_step=stop)
    done = CliRunner().invoke(app, ["train", str(config)])
    assert done.exit_code == 0 and "exists and resumes at step 2" in done.stderr, done.exception
    lines = [json.loads(line) for line in (chosen.run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 1, 2, 3] and lines[-1]["loss"] < lines[0]["loss"]
    published = job.store.read("policies", ["policy_id", "parent_id"]).to_dicts()
    assert {"policy_id": "mine", "parent_id": None} in published


def test_spo_with_a_reference_that_was_never_sampled_is_one_error_before_anything_is_written(config, job):
    config.write_text('reference_policy = "nobody"\n' + config.read_text())
    for arguments in ([], ["--dry-run"]):
        refused = CliRunner().invoke(app, ["train", str(config), *arguments])
        assert isinstance(refused.exception, UnmetNeed)
        assert "judged samples of the reference policy nobody" in str(refused.exception)
    assert not (config.parent / "runs" / "mine").exists()


@pytest.mark.parametrize("setting", ["target_kl = 1.0", "importance_cap = 2.0"])
def test_a_setting_that_needs_behaviour_log_probabilities_is_refused_without_any(config, setting):
    """Human programs have none; a run that others add rows to will get them."""
    text = re.sub(r'\[\[source\]\]\nname = "samples".*', "", config.read_text(), flags=re.DOTALL)
    config.write_text(text.replace("[training]", f'[objective]\nname = "spo"\n{setting}\n[training]'))
    with pytest.raises(UnmetNeed, match="rows whose behaviour log-probability is known"):
        plan(load_config(config), timed=False)
    config.write_text(config.read_text().replace("[mixture]", "[mixture]\nfollow_every = 2"))
    assert plan(load_config(config), timed=False).needs == Needs(True, True, True)


def test_the_objective_of_the_readme_is_one_file_and_one_line(config, job, tmp_path, monkeypatch):
    code = re.search(r"```python\n(.*?)```", README.read_text(), re.DOTALL).group(1)
    name, place = re.search(
        r'^    "(\w+)": "trainer\.objectives\.(\S+)",$', README.read_text(), re.MULTILINE
    ).groups()
    (tmp_path / "advantage.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(OBJECTIVES, name, place)
    text = config.read_text().replace(
        "[training]", '[objective]\nname = "advantage"\ndelta = 0.25\n[training]'
    )
    config.write_text(text)
    chosen = load_config(config)
    assert plan(chosen).needs == Needs(reference_rewards=True)
    run(chosen)
    lines = [json.loads(line) for line in (chosen.run / "metrics.jsonl").read_text().splitlines()]
    # All reference samples of this store fail: the baseline is -1, the advantage 1.25 for successes and 0.25
    # for failures.
    for line in lines:
        assert line["advantage"] == pytest.approx(0.25 + line["success_share"])
        assert set(line["sources"]["human"]) >= {"advantage", "loss", "token_entropy"}
    assert (
        load_config(chosen.run) == chosen
    )  # the saved configuration is read back with the settings of its own
    config.write_text(config.read_text().replace("delta = 0.25", "delta = -1"))
    with pytest.raises(
        ConfigError, match=r"objective\.delta: Input should be greater than or equal to 0 \(it is -1\)"
    ):
        load_config(config)
    config.write_text(config.read_text().replace("delta = -1", "detla = 1"))
    with pytest.raises(ConfigError, match=r"objective\.detla: unknown key; did you mean delta\?"):
        load_config(config)
