"""What is tried again and what is not, and who waits for whom."""

from __future__ import annotations

import errno
import signal
import subprocess
import sys
from datetime import UTC, datetime

import httpx
import polars as pl
import pytest
from deltalake.exceptions import CommitFailedError

from flows.locks import alone, lock_path
from flows.rules import another_try_may_help
from flows.spread import RunnerError, runner_of
from pipeline.contracts import ContractError
from pipeline.store import Store, StoreError
from sandbox import SandboxUnavailable

PIN = {"label": "a", "revision": 0, "versions": "{}", "held": True, "pinned_at": datetime(2026, 1, 1, tzinfo=UTC)}


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
    assert another_try_may_help(error) is helps


def test_object_storage_that_cannot_be_reached_is_tried_again(monkeypatch):
    for name, value in {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_REGION": "us-east-1"}.items():
        monkeypatch.setenv(name, value)
    # Port 9 of loopback: nobody listens there.
    options = {"endpoint": "http://127.0.0.1:9", "allow_http": "true", "max_retries": "0"}
    with pytest.raises(StoreError) as error:
        Store("s3://bucket/store", options).version("problems")
    assert another_try_may_help(error.value)


def test_a_broken_table_is_not_tried_again(tmp_path):
    store = Store(tmp_path)
    store.append("pins", pl.DataFrame([PIN]), producer="p", sequence=0)
    for log in (tmp_path / "pins" / "_delta_log").glob("*.json"):
        log.write_text("not json\n")
    with pytest.raises(StoreError) as error:
        Store(tmp_path).version("pins")
    assert not another_try_may_help(error.value)


HOLD = """
import sys
from flows.locks import alone
with alone(sys.argv[1], "label"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_one_process_at_a_time_and_a_killed_one_lets_go(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    waiter = None
    try:
        assert holder.stdout.readline() == "held\n"
        waiter = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(tmp_path)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert f"waits for process {holder.pid}" in waiter.stderr.readline()
        with alone(str(tmp_path), "deduplicate"):
            pass  # another work on the same store does not wait
        holder.send_signal(signal.SIGKILL)
        assert waiter.stdout.readline() == "held\n"
    finally:
        for process in filter(None, (holder, waiter)):
            process.kill()
            process.communicate()


def test_locks_of_a_store_on_object_storage_lie_in_the_data_folder():
    one, two = lock_path("s3://bucket/a", "label"), lock_path("s3://bucket/b", "label")
    assert one != two and one == lock_path("s3://bucket/a/", "label") and "://" not in str(one)


def test_task_runners_by_name(monkeypatch):
    monkeypatch.delenv("SPO_TASK_RUNNER", raising=False)
    assert runner_of(None).kind == "threads" and runner_of(None).parts == 1
    assert runner_of("dask@tcp://10.0.0.1:8786").address == "tcp://10.0.0.1:8786"
    monkeypatch.setenv("SPO_TASK_RUNNER", "ray")
    assert (runner_of(None).kind, runner_of(None, 3).parts) == ("ray", 3)
    with pytest.raises(RunnerError, match="no task runner 'spark'"):
        runner_of("spark")
