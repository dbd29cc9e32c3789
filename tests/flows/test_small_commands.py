"""Commands for small work load only what they need, and work without Prefect; with a server they are
flows.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest

from flows.commands import common
from flows.runtime import record
from pipeline.ingest.ingestion import ingest
from pipeline.store.store import Store
from trainer.policies import new_policy, publish_policy

STARTER = Path(__file__).parents[2] / "data" / "starter"
# What no small command needs: Prefect and its database, the trainer, and clients of networks.
NEVER = {"prefect", "sqlalchemy", "torch", "transformers", "datasets", "pandas", "httpx", "matplotlib"}
RUN = """
import json, sys
from flows.cli import run
code = run()
print(json.dumps([code, sorted({name.partition(".")[0] for name in sys.modules})]), file=sys.stderr)
"""


def run(folder, *arguments):
    """Exit code, packages that were imported, and the output of a command."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    done = subprocess.run(
        [sys.executable, "-c", RUN, *map(str, arguments)],
        env=clean | {"SPO_DATA_DIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    *_, last = done.stderr.splitlines()
    code, packages = json.loads(last)
    return code, set(packages), done


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small")
    ingest(Store(folder / "store"), "plain", str(STARTER), limit=1)
    rows = Store(folder / "store").read("trajectories").to_dicts()
    right = next(row for row in rows if row["claimed_verdict"] == "accepted" and row["language"] == "python3")
    (folder / "right.py").write_text(right["program"])
    return folder, right["problem_id"]


def test_help_loads_the_command_line_only(place):
    code, packages, _ = run(place[0], "--help")
    unwanted = NEVER | {
        "polars",
        "pyarrow",
        "duckdb",
        "deltalake",
        "dataframely",
        "numpy",
        "pydantic",
        "fsspec",
    }
    assert code == 0 and packages & (unwanted | {"urllib3", "ssl", "asyncio"}) == set()


def test_a_query_loads_neither_contracts_nor_frames(place):
    code, packages, done = run(place[0], "sql", "select count(*) > 0 as any from trajectories")
    assert code in (0, None) and "true" in done.stdout and "duckdb" in packages
    assert packages & (NEVER | {"polars", "pyarrow", "dataframely", "numpy"}) == set()


def test_a_judgement_loads_no_contracts_and_no_queries(place):
    folder, problem = place
    code, packages, done = run(folder, "judge", folder / "right.py", "--problem", problem)
    assert code == 0 and "accepted" in done.stdout
    assert packages & (NEVER | {"dataframely", "duckdb", "pyarrow", "numpy"}) == set()


def test_a_small_source_is_ingested_without_prefect(tmp_path):
    code, packages, done = run(tmp_path, "ingest", "plain", STARTER, "--limit", "3", "--json")
    assert code in (0, None) and packages & (NEVER | {"duckdb"}) == set()
    rows = json.loads(done.stdout)
    read = sum(row["read"] for row in rows)
    assert read == sum(row["accepted"] for row in rows) > 10
    assert "Ingested" in done.stderr and "Prefect" not in done.stderr
    assert not (tmp_path / "prefect" / "server.json").exists()


def test_stages_of_a_small_store_need_no_prefect(place):
    folder, _ = place
    never = NEVER - {"pandas"}  # pyarrow imports it where it meets arrays of numpy
    count = Store(folder / "store").read("trajectories").height
    _, packages, done = run(folder, "deduplicate", "--json")
    assert json.loads(done.stdout)["programs"] == count and packages & never == set()
    _, packages, done = run(folder, "label", "--json")
    assert json.loads(done.stdout)["rows"] == count and packages & never == set()
    _, packages, done = run(folder, "decontaminate", "--evaluation", "true", "--json")
    assert json.loads(done.stdout)["trajectories"] == count and packages & never == set()
    _, packages, done = run(folder, "maintain", "--every-table", "--json")
    assert {row["table"] for row in json.loads(done.stdout)["maintained"]} > {"verdicts"}
    assert packages & never == set()


@pytest.mark.slow
def test_sampling_and_scoring_a_little_needs_no_prefect(tmp_path):
    folder, store = tmp_path, Store(tmp_path / "store")
    ingest(store, "plain", str(STARTER), limit=4)
    problem = store.read("problems").filter(split="train")["problem_id"][0]
    policy = new_policy(store.read("problems")["statement"].to_list(), seed=0, width=16, layers=1, heads=2)
    policy.save(folder / "policy")
    publish_policy(store, policy, folder / "policy", policy_id="small")
    chosen = f"problem_id = '{problem}'"
    sampled = ("rollout", "small", "--problems", chosen, "--samples", "3", "--max-new-tokens", "4", "--json")
    _, packages, done = run(folder, *sampled)
    assert json.loads(done.stdout)["sampled"] == 3 and "prefect" not in packages
    assert json.loads(run(folder, *sampled)[2].stdout)["sampled"] == 0  # looked up
    run(folder, "label", "--json")
    _, packages, done = run(folder, "score", folder / "policy", "--json")
    assert json.loads(done.stdout)["scored"] > 3 and "prefect" not in packages
    assert not (folder / "prefect" / "server.json").exists()


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    for name in ("PREFECT_API_URL", "SPO_TASK_RUNNER"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_work_is_a_flow_where_somebody_would_see_it(home, monkeypatch):
    assert common.works_alone("data/store")
    assert not common.works_alone("s3://bucket/store")
    assert not common.works_alone("data/store", "dask")
    with record.claim(home, embedded=False):
        assert not common.works_alone("data/store")
    assert common.works_alone("data/store")
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:4200/api")
    assert not common.works_alone("data/store")


LOADS = """
from flows.display.loading import announce_imports
announce_imports(["colorsys", "wave"])
import colorsys, colorsys
"""


def test_a_terminal_says_what_is_loaded_and_a_log_does_not():
    terminal = pexpect.spawn(sys.executable, ["-c", LOADS], encoding="utf-8", timeout=60)
    assert terminal.read().splitlines() == ["loading colorsys ..."]
    logged = subprocess.run([sys.executable, "-c", LOADS], capture_output=True, text=True, timeout=60)
    assert (logged.returncode, logged.stderr) == (0, "")


def test_large_sources_and_those_of_the_hub_are_flows(tmp_path):
    (tmp_path / "half").write_bytes(b" " * 2_000_000)
    assert common.is_small_source(str(tmp_path)) and common.is_small_source(str(tmp_path / "half"))
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "more").write_bytes(b" " * 2_000_001)
    assert not common.is_small_source(str(tmp_path))
    assert not common.is_small_source("deepmind/code_contests")
