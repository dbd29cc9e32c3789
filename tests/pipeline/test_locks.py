"""Locks of one machine, between real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.store.locks import exclusive, lock_path, one_slot, shared_path
from pipeline.store.private_folder import PrivateFolderError, private_folder

HOLD = """
import sys
from pipeline.store.locks import exclusive, one_slot
with {lock}:
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def hold():
    """Start a process that takes a lock and keeps it until it is killed."""
    started = []

    def start(lock: str, temporary: Path | None = None) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD.format(lock=lock)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "TMPDIR": str(temporary)} if temporary else None,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_one_process_at_a_time_and_a_killed_one_lets_go(tmp_path, hold):
    lock = f"exclusive({str(tmp_path)!r}, 'label')"
    holder = hold(lock)
    assert holder.stdout.readline() == "held\n"
    waiter = hold(lock)
    assert f"label: waits for process {holder.pid}" in waiter.stderr.readline()
    with exclusive(str(tmp_path), "deduplicate"):
        pass  # another work on the same store does not wait
    holder.send_signal(signal.SIGKILL)
    assert waiter.stdout.readline() == "held\n"


def test_of_two_places_the_third_waits_until_either_is_free(tmp_path, hold, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    lock = "one_slot(2, 'processors')"
    first, second = hold(lock), hold(lock)
    assert first.stdout.readline() == second.stdout.readline() == "held\n"
    third = hold(lock)
    said = third.stderr.readline()
    assert "processors: waits for" in said and str(first.pid) in said and str(second.pid) in said
    second.send_signal(signal.SIGKILL)
    assert third.stdout.readline() == "held\n"


def test_a_place_is_free_again_when_its_work_ends(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for _ in range(2):
        with one_slot(1, "processors"):
            pass
    with one_slot(2, "processors"), one_slot(2, "processors"):
        pass


def test_locks_of_a_store_on_object_storage_lie_outside_it():
    one, two = lock_path("s3://bucket/a", "label"), lock_path("s3://bucket/b", "label")
    assert one != two and one == lock_path("s3://bucket/a/", "label") and "://" not in str(one)
    assert shared_path("s3://bucket/a", "label") is None


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """A folder for temporary files of this test; `victim` next to it is what an attacker wants to change."""
    (tmp_path / "temporary").mkdir()
    (tmp_path / "victim").write_text("precious\n")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    yield tmp_path / "temporary"
    assert (tmp_path / "victim").read_text() == "precious\n"


def root_of(temporary: Path) -> Path:
    return temporary / f"spo-{os.geteuid()}"


def test_the_folder_of_locks_is_private(temporary):
    with one_slot(1, "processors"), exclusive(str(temporary / "store"), "label"):
        pass
    made = [root_of(temporary), root_of(temporary) / "locks"]
    assert [folder.stat().st_mode & 0o777 for folder in made] == [0o700, 0o700]
    names = sorted(path.name for path in made[1].iterdir())
    assert len(names) == 2 and all(len(name) == 32 and int(name, 16) >= 0 for name in names)
    assert {path.stat().st_mode & 0o777 for path in made[1].iterdir()} == {0o600}


def test_a_name_cannot_lead_out_of_the_folder(temporary):
    with exclusive(str(temporary / "store"), "../../victim"), one_slot(1, "../../../victim"):
        pass
    assert len(list((root_of(temporary) / "locks").iterdir())) == 2


@pytest.mark.parametrize("where", ["root", "locks"])
def test_a_link_in_place_of_the_folder_is_refused(temporary, where):
    folder = root_of(temporary) if where == "root" else private_folder("other").parent / "locks"
    (temporary / "elsewhere").mkdir(mode=0o700)
    folder.symlink_to(temporary / "elsewhere")
    refused = pytest.raises(PrivateFolderError, match="is not a folder: remove it, or set TMPDIR")
    with refused, one_slot(1, "processors"):
        pass
    assert list((temporary / "elsewhere").iterdir()) == []


def test_a_folder_that_others_may_enter_is_refused(temporary):
    root_of(temporary).mkdir()
    root_of(temporary).chmod(0o777)
    with pytest.raises(PrivateFolderError, match=r"can be entered by others \(mode 0777\)"):
        private_folder("locks")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
def test_a_folder_of_another_user_is_refused(temporary):
    root_of(temporary).mkdir(mode=0o700)
    os.chown(root_of(temporary), 65534, 65534)
    with pytest.raises(PrivateFolderError, match="belongs to user 65534"):
        private_folder("locks")


def plant(path: Path, kind: str, victim: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    if kind == "link":
        path.symlink_to(victim)
    elif kind == "dangling link":
        path.symlink_to(victim.with_name("new"))
    elif kind == "hard link":
        path.hardlink_to(victim)
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.mkdir()


KINDS = ["link", "dangling link", "hard link", "fifo", "folder"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_lock_that_is_no_plain_file_is_refused(temporary, tmp_path, kind):
    plant(lock_path(str(tmp_path / "store"), "label"), kind, tmp_path / "victim")
    with pytest.raises(PrivateFolderError, match="remove it"), exclusive(str(tmp_path / "store"), "label"):
        pass
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_colleague_puts_into_a_shared_store_is_not_touched(temporary, tmp_path, kind):
    store = tmp_path / "store"
    store.mkdir()
    plant(shared_path(str(store), "label"), kind, tmp_path / "victim")
    with pytest.raises(PrivateFolderError, match="remove it"), exclusive(str(store), "label"):
        pass
    assert not (tmp_path / "new").exists()


def test_a_link_in_place_of_a_store_s_folder_of_locks_is_refused(temporary, tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "store" / ".locks").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PrivateFolderError), exclusive(str(tmp_path / "store"), "label"):
        pass
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_users_of_one_store_with_temporary_files_of_their_own_meet(tmp_path, hold, monkeypatch):
    """As another user or in another container: what they share is the store's folder."""
    lock = f"exclusive({str(tmp_path / 'store')!r}, 'label')"
    (tmp_path / "theirs").mkdir()
    (tmp_path / "mine").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "theirs"))
    theirs = hold(lock)
    assert theirs.stdout.readline() == "held\n"
    monkeypatch.setenv("TMPDIR", str(tmp_path / "mine"))
    mine = hold(lock)
    assert "label: waits for another user" in mine.stderr.readline()
    theirs.send_signal(signal.SIGKILL)
    assert mine.stdout.readline() == "held\n"
    assert shared_path(str(tmp_path / "store"), "label").read_bytes() == b""


def test_what_a_lock_file_says_of_its_holder_is_a_number_or_nothing(temporary, tmp_path, hold):
    monitor = lock_path(str(tmp_path / "store"), "label")
    with exclusive(str(tmp_path / "store"), "label"):
        monitor.write_text("\x1b]0;title\x07")
        waiter = hold(f"exclusive({str(tmp_path / 'store')!r}, 'label')", temporary)
        assert waiter.stderr.readline().startswith("label: waits for process ?,")
