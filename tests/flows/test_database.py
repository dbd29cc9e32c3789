"""`spo up` on a real PostgreSQL of Debian; the server connects to nothing outside this machine."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

import pytest

from flows.runtime import ServerError
from flows.runtime.starting import check_database

pytestmark = pytest.mark.timeout(
    900
)  # the first to need the server waits for it, on a busy machine for minutes


def programs() -> Path:
    """The folder with `initdb` and `pg_ctl`."""
    actual = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if not actual:
        pytest.skip("no PostgreSQL; apt-get install postgresql")
    return actual[-1].parent


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def database():
    """URL of an empty database of a PostgreSQL that lives as long as these tests, not run by root."""
    tools = programs()
    who = (
        {"user": "nobody", "group": pwd.getpwnam("nobody").pw_gid, "extra_groups": []}
        if os.getuid() == 0
        else {}
    )
    folder = Path(tempfile.mkdtemp(prefix="spo-pg-"))
    port = free_port()
    server = None
    try:
        if who:
            os.chown(folder, pwd.getpwnam("nobody").pw_uid, who["group"])
        said = {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.STDOUT,
            "cwd": folder,
            "text": True,
        } | who
        made = subprocess.run(
            [tools / "initdb", "-D", folder / "data", "-U", "spo", "-A", "trust", "-E", "UTF8", "--no-sync"],
            **said,
            timeout=120,
        )
        assert made.returncode == 0, made.stdout
        options = {
            "listen_addresses": "127.0.0.1",
            "port": port,
            "unix_socket_directories": folder,
            "fsync": "off",
        }
        command = [
            tools / "postgres",
            "-D",
            folder / "data",
            *(f"--{name}={value}" for name, value in options.items()),
        ]
        server = subprocess.Popen(command, **said | {"stdout": subprocess.DEVNULL}, start_new_session=True)
        yield f"postgresql+asyncpg://spo@127.0.0.1:{port}/postgres", port, server
    finally:
        if server and server.poll() is None:
            server.send_signal(signal.SIGQUIT)  # at once
            server.wait(60)
        shutil.rmtree(folder, ignore_errors=True)


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def sessions(pid: int) -> set[int]:
    """Processes of a session, whose leader a server is."""
    actual = set()
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == pid:
            actual.add(int(status.parent.name))
    return actual


def outside_connections(processes: set[int]) -> list[str]:
    """TCP connections of processes whose other end is not on loopback, from /proc/net/tcp."""
    inodes = set()
    for process in processes:
        for handle in Path(f"/proc/{process}/fd").glob("*"):
            try:
                target = os.readlink(handle)
            except OSError:
                continue
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    actual = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/self/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            other, inode = fields[2].partition(":")[0], fields[9]
            own = (
                other.strip("0") == ""
                or other.endswith("7F")
                or other in ("0" * 24 + "01000000", "0000000000000000FFFF00000100007F")
            )
            if inode in inodes and not own:
                actual.append(line)
    return actual


def test_outside_connections_are_seen_where_there_are_some():
    """The check above sees a connection to this machine's own address that is not loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no address but loopback")
        address = probe.getsockname()[0]
    if address.startswith("127."):
        pytest.skip("this machine has no address but loopback")
    with socket.create_server((address, 0)) as server, socket.create_connection(server.getsockname()):
        assert len(outside_connections({os.getpid()})) == 1


@pytest.mark.slow
def test_up_on_postgresql_keeps_runs_there_and_speaks_to_nobody_else(database, until, tmp_path):
    url, database_port, postgres = database
    until(lambda: listens(database_port), "PostgreSQL listens", alive=postgres)
    port = free_port()
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "SPO_"))
    }
    environment = inherited | {"SPO_DATA_DIR": str(tmp_path / "data")}
    with open(tmp_path / "log", "w") as log:
        up = subprocess.Popen(
            [sys.executable, "-m", "flows", "up", "--port", str(port), "--database", url],
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        until(lambda: answers(f"http://127.0.0.1:{port}/api/health"), "the server answers", 280, alive=up)
        assert not (tmp_path / "data" / "prefect" / "prefect.db").exists()
        done = subprocess.run(
            [sys.executable, "-m", "flows", "maintain", "--store", str(tmp_path / "store")],
            env=environment,
            capture_output=True,
            text=True,
            timeout=200,
        )
        assert done.returncode == 0, done.stderr
        tools = programs()
        counted = subprocess.run(
            [
                tools / "psql",
                "-h",
                "127.0.0.1",
                "-p",
                str(database_port),
                "-U",
                "spo",
                "-d",
                "postgres",
                "-tAc",
                "select f.name, r.state_name from flow_run r join flow f on f.id = r.flow_id",
            ],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert counted.stdout.split() == ["maintain|Cached"], counted
        assert outside_connections(sessions(up.pid)) == []
        settings = Path(f"/proc/{up.pid}/environ").read_bytes().split(b"\0")
        assert b"PREFECT_SERVER_ANALYTICS_ENABLED=false" in settings and b"DO_NOT_TRACK=1" in settings
    finally:
        os.killpg(up.pid, signal.SIGTERM)
        try:
            up.wait(60)
        finally:
            if up.poll() is None:
                os.killpg(up.pid, signal.SIGKILL)
                up.wait()


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


def test_a_database_that_prefect_cannot_use_is_named():
    assert check_database("postgresql+asyncpg://spo@db/prefect")
    with pytest.raises(ServerError, match=r"unknown database scheme 'postgres'; use postgresql\+asyncpg://"):
        check_database("postgres://spo@db/prefect")


def test_a_server_of_ours_speaks_to_nobody_outside(server):
    assert server.healthy() and outside_connections(sessions(server.process.pid)) == []
