"""What goes wrong on a disk: each fault gives one clear line, and nothing that was committed is lost."""

import contextlib
import os
import shutil
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from pipeline.store import sql
from pipeline.store.places import Disk
from pipeline.store.store import LAYOUT_KEY, Store, StoreError

WORKER_FOLDER = Path(__file__).parent


@pytest.fixture
def store(tmp_path, rows):
    store = Store(tmp_path / "store")
    for sequence, name in enumerate("ab"):
        frame = rows.frame("trajectories", [rows.trajectory(name)])
        store.append("trajectories", frame, producer="p", sequence=sequence)
    return store


def refused(match):
    return pytest.raises(StoreError, match=f"^[^\n]*{match}[^\n]*$")


def test_unknown_names(store):
    with refused("no table trajectory; there are: problems, tests, trajectories"):
        store.read("trajectory")
    with refused("trajectories: no column programm; there are: trajectory_id"):
        store.read("trajectories", ["programm"])
    with refused("trajectories: no version 9"):
        store.snapshot("trajectories", 9)
    with refused("verdicts: no version 3 .*nothing was ever written"):
        store.snapshot("verdicts", 3)


@pytest.mark.parametrize("damage", ["cut", "overwritten", "gone"])
def test_a_damaged_file_is_named_by_every_reader(store, damage):
    file = Path(store.snapshot("trajectories").files[0])
    content = file.read_bytes()
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(content[: len(content) // 2] if damage == "cut" else bytes(len(content)))
    with refused(f"trajectories: {file} is damaged or gone"):
        store.read("trajectories")
    with pytest.raises((sql.SqlError, StoreError), match=file.name), sql.connect(store) as connection:
        sql.query(connection, "SELECT count(program) FROM trajectories")
    file.write_bytes(content)
    assert store.read("trajectories").height == 2


@pytest.mark.parametrize("damage", ["one byte changed", "another file of the table", "cut"])
def test_the_next_append_refuses_a_table_with_a_file_that_was_written_to(store, rows, damage):
    """Also at once: when the file was written is compared with what the commit has, not with a clock."""
    first, second = map(Path, store.snapshot("trajectories").files)
    content = bytearray(first.read_bytes())
    content[len(content) // 3] ^= 1
    contents = {
        "one byte changed": content,
        "another file of the table": second.read_bytes(),
        "cut": content[:500],
    }
    time.sleep(0.002)  # times in the log are in milliseconds
    first.write_bytes(contents[damage])
    frame = rows.frame("trajectories", [rows.trajectory("c")])
    with refused(f"trajectories: cannot write to .*{first.name} is damaged"):
        Store(store.location).append("trajectories", frame, producer="p", sequence=2)


def test_what_a_dying_writer_leaves_is_never_seen_and_swept_later(store):
    file = Path(store.snapshot("trajectories").files[0])
    half = file.with_name("part-00000-half-written.parquet")
    half.write_bytes(file.read_bytes()[:300])
    whole = file.with_name("part-00000-never-committed.parquet")
    shutil.copy(file, whole)
    assert Store(store.location).read("trajectories").height == 2
    with sql.connect(store) as connection:
        assert sql.query(connection, "SELECT count(*) FROM trajectories").item() == 2
    store.maintain("trajectories")
    assert half.exists(), "a file so young may be another writer's next commit"
    store.maintain("trajectories", retention_hours=0)
    assert not half.exists() and not whole.exists() and store.read("trajectories").height == 2


def test_a_damaged_log_entry(store):
    newest = max(Path(store.location, "trajectories/_delta_log").glob("*.json"))
    content = newest.read_bytes()
    newest.write_bytes(content[: len(content) // 2])
    with refused("trajectories: cannot read"):
        Store(store.location).read("trajectories")
    newest.write_bytes(content)
    assert Store(store.location).read("trajectories").height == 2


def test_a_store_of_a_newer_layout(store):
    first = Path(store.location, "trajectories/_delta_log", f"{0:020}.json")
    entry = first.read_text()
    assert f'"{LAYOUT_KEY}":"1"' in entry
    first.write_text(entry.replace(f'"{LAYOUT_KEY}":"1"', f'"{LAYOUT_KEY}":"2"'))
    with refused("has layout 2, this program knows 1: update spo"):
        Store(store.location).read("trajectories")


def test_a_file_where_the_store_should_be(tmp_path, rows):
    (tmp_path / "store").write_text("no folder")
    with refused("trajectories: cannot write to"):
        frame = rows.frame("trajectories", [rows.trajectory("a")])
        Store(tmp_path / "store").append("trajectories", frame, producer="p", sequence=0)


def run(script, *arguments, command=(sys.executable, "-c")):
    program = f"import sys; sys.path.insert(0, {str(WORKER_FOLDER)!r})\n" + textwrap.dedent(script)
    done = subprocess.run(
        [*command, program, *map(str, arguments)], capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# Modules are loaded before root's rights are dropped: the interpreter itself may lie where only root can
# read.
WITHOUT_PERMISSION = """
    import os, pathlib, tempfile
    from store_worker import batch
    from pipeline.store import sql
    from pipeline.store.store import Store, StoreError
    with tempfile.TemporaryDirectory() as folder:
        location = pathlib.Path(folder, "store")
        Store(location).append("trajectories", batch("p", 0, 5), producer="p", sequence=0)
        for path in [pathlib.Path(folder), *pathlib.Path(folder).rglob("*")]:
            path.chmod(0o555 if path.is_dir() else 0o444)
        root = os.geteuid() == 0
        sql.query(sql.connect(Store(location)), "SELECT 1")  # loads what a query needs
        if root:
            os.seteuid(65534)
        store = Store(location)
        assert store.read("trajectories").height == 5
        with sql.connect(store) as connection:
            assert sql.query(connection, "SELECT count(*) FROM judged, trajectories").item() == 0
        for name in ("trajectories", "verdicts"):
            try:
                if name == "verdicts":
                    store.pin("run")
                else:
                    store.append(name, batch("p", 1, 5), producer="p", sequence=1)
            except StoreError as error:
                print(error)
        assert store.read("trajectories").height == 5
        if root:
            os.seteuid(0)
        for path in [pathlib.Path(folder), *pathlib.Path(folder).rglob("*")]:
            path.chmod(0o755)
"""


def test_a_store_that_may_only_be_read():
    lines = run(WITHOUT_PERMISSION).splitlines()
    assert [line.split(":")[0] for line in lines] == ["trajectories", "pins"]
    assert all("cannot write to" in line and "ermission denied" in line for line in lines)


FULL_DISK = """
    import os
    from store_worker import batch
    from pipeline.store.store import Store, StoreError
    store = Store(sys.argv[1] + "/store")
    assert store.append("trajectories", batch("p", 0, 50), producer="p", sequence=0)
    with open(sys.argv[1] + "/filler", "wb", buffering=0) as filler:
        try:
            while filler.write(os.urandom(4096)):
                pass
        except OSError:
            pass
    for _ in range(2):
        try:
            store.append("trajectories", batch("p", 1, 5000), producer="p", sequence=1)
        except StoreError as error:
            print(error)
        assert Store(store.location).read("trajectories").height == 50
    os.remove(sys.argv[1] + "/filler")
    assert store.append("trajectories", batch("p", 1, 5000), producer="p", sequence=1)
    assert not Store(store.location).append("trajectories", batch("p", 1, 5000), producer="p", sequence=1)
    assert store.read("trajectories")["trajectory_id"].n_unique() == 5050
"""


def test_a_disk_that_is_full_in_the_midst_of_a_file(store, rows, monkeypatch):
    @contextlib.contextmanager
    def on_a_full_disk(self):
        with open("/dev/full", "wb", buffering=0) as file:
            yield Path("/dev/full"), file

    frame = rows.frame("trajectories", [rows.trajectory("c", program=os.urandom(2000).hex() * 100)])
    with monkeypatch.context() as patch:
        patch.setattr(Disk, "partial", on_a_full_disk)
        with refused("trajectories: cannot write to .*No space left on device"):
            store.append("trajectories", frame, producer="p", sequence=2)
    assert store.append("trajectories", frame, producer="p", sequence=2)


def can_mount() -> bool:
    try:
        return subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode == 0
    except OSError:
        return False


@pytest.mark.skipif(not can_mount(), reason="needs unshare(1) and user namespaces, to mount a small disk")
def test_a_full_disk(tmp_path):
    (tmp_path / "disk").mkdir()
    mount = 'mount -t tmpfs -o size=2m tmpfs "$2" && exec "$0" -c "$1" "$2"'
    lines = run(
        FULL_DISK, tmp_path / "disk", command=("unshare", "-rm", "sh", "-c", mount, sys.executable)
    ).splitlines()
    assert len(lines) == 2 and all(
        "trajectories: cannot write to" in line and "No space left" in line for line in lines
    )
    assert os.listdir(tmp_path / "disk") == []
