"""The schedule file: what it gives, and what it says where something in it is wrong."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from flows.serving.schedule import SECTIONS, ScheduleError, load_schedule
from flows.stages.recurring import FLOWS

DATA = Path(__file__).parents[2] / "data"
WHOLE = f"""
store = "here"
timezone = "Europe/Berlin"

[[ingest]]
name = "starter"
adapter = "plain"
source = "{DATA}/starter"
set = {{ origin = "human" }}
cron = "0 3 * * *"

[[label]]
interval_s = 900
workers = 2

[[publish]]
name = "humans"
spec = "{DATA}/corpora/humans.sql"

[chain]
cron = "30 3 * * sun"

[[when]]
labelled_rows = 1000
run = "humans"
"""


EVERYTHING = """
store = "here"
[[ingest]]
name = "starter"
adapter = "plain"
source = "{data}/starter"
limit = 3
set = {{ origin = "human" }}
timeout_s = 60
[[deduplicate]]
runner = "threads"
parts = 2
timeout_s = 60
[[label]]
workers = 2
time_factor = 1.5
runner = "threads"
parts = 2
timeout_s = 60
[[score]]
folder = "reference"
max_tokens = 512
precision = "bf16"
runner = "threads"
parts = 2
timeout_s = 60
[[publish]]
name = "humans"
spec = "{data}/corpora/humans.sql"
[[train]]
name = "nightly"
config = "{data}/corpora/humans.sql"
repeat = true
[[evaluate]]
name = "newest policy"
policy = "mine"
problems = "true"
samples_per_problem = 4
max_new_tokens = 64
temperature = 0.8
seed = 1
[[maintain]]
retention_hours = 24
"""


def written(folder: Path, text: str) -> Path:
    (folder / "schedule.toml").write_text(text)
    return folder / "schedule.toml"


def test_entries_with_their_flows_parameters(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    schedule = load_schedule(written(tmp_path, WHOLE))
    assert [(entry.stage, entry.name) for entry in schedule.entries()] == [
        ("ingest", "starter"),
        ("label", "label"),
        ("publish", "humans"),
        ("chain", "chain"),
    ]
    ingest, label, publish = schedule.steps_of_chain()[0], schedule.label[0], schedule.publish[0]
    store = str(tmp_path / "here")
    assert schedule.location() == store
    assert ingest.parameters(store) == {
        "store": store,
        "adapter": "plain",
        "source": str(DATA / "starter"),
        "columns": {"origin": "human"},
    }
    assert label.parameters(store) == {"store": store, "workers": 2, "time_factor": 1.0}
    assert publish.parameters(store) == {"store": store, "spec_file": str(DATA / "corpora/humans.sql")}
    # A step that the file does not have is run with its defaults.
    assert [step.stage for step in schedule.steps_of_chain()] == ["ingest", "deduplicate", "label", "publish"]
    assert [when.name for when in schedule.thresholds()] == ["1000 new verdicts start humans"]


def test_every_entry_with_every_key_fits_its_flow(tmp_path):
    schedule = load_schedule(written(tmp_path, EVERYTHING.format(data=DATA)))
    assert {entry.stage for entry in schedule.entries()} == {*SECTIONS}
    for entry in schedule.entries():
        keys = set(type(entry).model_fields) - {"name", "cron", "interval_s", "paused"}
        assert keys <= entry.model_fields_set, entry
        inspect.signature(FLOWS[entry.stage].fn).bind(**entry.parameters("store"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("adapter =", "adaptor ="), "ingest.0.adaptor: unknown key; did you mean adapter?"),
        (
            ("workers = 2", "workers = 0"),
            "label.0.workers: Input should be greater than or equal to 1 (the value is 0)",
        ),
        (("0 3 * * *", "0 25 * * *"), "ingest.0.cron: not a cron expression"),
        (
            ("interval_s = 900", 'interval_s = 900\ncron = "0 3 * * *"'),
            "cron and interval_s exclude each other",
        ),
        (("Europe/Berlin", "Europe/Nowhere"), "timezone: unknown time zone"),
        (
            ('run = "humans"', 'run = "robots"'),
            "when.run: no entry is named robots; the entries are: starter, label, humans, chain",
        ),
        (('name = "humans"', 'name = "label"'), "two entries are named label"),
        (('adapter = "plain"', 'adapter = "plane"'), "ingest starter: "),
        (("humans.sql", "robots.sql"), "publish humans: "),
        (
            ("workers = 2", 'runner = "spark"'),
            "unknown task runner 'spark'; use threads, dask[@ADDRESS] or ray",
        ),
        (('store = "here"', ""), "store: Field required"),
        (("[[label]]", "[[label]"), "not valid TOML"),
        (("[[label]]", "[[labels]]"), "labels: unknown key; did you mean label?"),
    ],
)
def test_what_is_wrong_is_one_line_with_the_key(tmp_path, change, said):
    file = written(tmp_path, WHOLE.replace(*change, 1))
    with pytest.raises(ScheduleError) as error:
        load_schedule(file)
    assert said in str(error.value) and str(file) in str(error.value) and "\n" not in str(error.value)


def test_a_file_that_is_missing(tmp_path):
    with pytest.raises(ScheduleError, match=r"none\.toml: No such file.*flows/README\.md"):
        load_schedule(tmp_path / "none.toml")
