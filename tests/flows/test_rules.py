"""What is tried again and what is not; where parts run."""

from __future__ import annotations

import errno
from datetime import UTC, datetime

import httpx
import polars as pl
import pytest
from deltalake.exceptions import CommitFailedError

from flows.runtime.rules import is_temporary
from flows.runtime.spreading import RunnerError, parse_runner
from flows.runtime.turns import HEAVY_AT_ONCE, processors
from pipeline.store.contract_check import ContractError
from pipeline.store.locks import machine_lock, open_lock, try_lock
from pipeline.store.store import Store, StoreError
from sandbox import SandboxUnavailable

PIN = {
    "label": "a",
    "revision": 0,
    "versions": "{}",
    "held": True,
    "pinned_at": datetime(2026, 1, 1, tzinfo=UTC),
}


def caused(cause: BaseException) -> StoreError:
    error = StoreError(f"verdicts: cannot write to it: {cause}")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "helps"),
    [
        (ConnectionResetError("reset by peer"), True),
        (TimeoutError("timed out"), True),
        (OSError(errno.EIO, "input/output error"), True),
        (httpx.ConnectError("refused"), True),
        (caused(CommitFailedError("another commit")), True),
        (ValueError("line 3: no such column"), False),
        (ContractError("verdicts: passed is negative"), False),
        (SandboxUnavailable("no user namespaces"), False),
        (FileNotFoundError(errno.ENOENT, "no such file"), False),
        (OSError(errno.ENOSPC, "no space left on device"), False),
        (caused(OSError("Generic LocalFileSystem error: is a directory")), False),
        (KeyError("problem_id"), False),
    ],
)
def test_only_what_another_try_can_mend_is_tried_again(error, helps):
    assert is_temporary(error) is helps


def test_object_storage_that_cannot_be_reached_is_tried_again(monkeypatch):
    for name, value in {
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    # Port 9 of loopback: nobody listens there.
    options = {"endpoint": "http://127.0.0.1:9", "allow_http": "true", "max_retries": "0"}
    with pytest.raises(StoreError) as error:
        Store("s3://bucket/store", options).version("problems")
    assert is_temporary(error.value)


def test_a_broken_table_is_not_tried_again(tmp_path):
    store = Store(tmp_path)
    store.append("pins", pl.DataFrame([PIN]), producer="p", sequence=0)
    for log in (tmp_path / "pins" / "_delta_log").glob("*.json"):
        log.write_text("not json\n")
    with pytest.raises(StoreError) as error:
        Store(tmp_path).version("pins")
    assert not is_temporary(error.value)


def test_scheduled_work_that_fills_the_processors_takes_turns(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    place = machine_lock("processors-0")
    monkeypatch.delenv(HEAVY_AT_ONCE, raising=False)
    with processors():
        assert not place.exists()  # by hand: nobody waits
    monkeypatch.setenv(HEAVY_AT_ONCE, "1")
    with processors(), open_lock(place) as file:
        assert not try_lock(file)
    monkeypatch.setenv(HEAVY_AT_ONCE, "none")
    with (
        pytest.raises(ValueError, match="SPO_HEAVY_AT_ONCE is 'none'; set it to a whole number"),
        processors(),
    ):
        pass


def test_task_runners_by_name(monkeypatch):
    monkeypatch.delenv("SPO_TASK_RUNNER", raising=False)
    assert parse_runner(None).kind == "threads" and parse_runner(None).parts == 1
    assert parse_runner("dask@tcp://10.0.0.1:8786").address == "tcp://10.0.0.1:8786"
    monkeypatch.setenv("SPO_TASK_RUNNER", "ray")
    assert (parse_runner(None).kind, parse_runner(None, 3).parts) == ("ray", 3)
    with pytest.raises(RunnerError, match="unknown task runner 'spark'"):
        parse_runner("spark")
