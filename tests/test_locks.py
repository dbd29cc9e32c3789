"""Every wheel that is installed has a hash in a lock: torch and what names it in a lock for each build."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LOCKS = {name: ROOT / "locks" / f"torch-{name}.lock" for name in ("cpu", "cuda")}
spec = importlib.util.spec_from_file_location("make", ROOT / "locks" / "make.py")
make = importlib.util.module_from_spec(spec)
spec.loader.exec_module(make)


@pytest.mark.parametrize("path", [ROOT / "requirements.lock", *LOCKS.values()], ids=lambda path: path.name)
def test_every_package_has_a_version_and_a_hash(path):
    blocks = make.entries(path.read_text())
    assert len(blocks) >= 4
    for name, block in blocks.items():
        assert re.search(r"==[\w.+!-]+", block), name
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", block), name


@pytest.mark.parametrize("build", LOCKS)
def test_a_build_has_what_the_common_lock_leaves_out_and_nothing_else(build):
    own, shared = (make.entries(path.read_text()) for path in (LOCKS[build], ROOT / "requirements.lock"))
    assert not own.keys() & shared.keys()
    assert {"torch", "accelerate", "peft", "trl"} <= own.keys()
    assert any(name.startswith("nvidia-") for name in own) == (build == "cuda")
    version = re.search(r"torch==(\S+)", own["torch"])[1]
    assert version == ("2.13.0+cpu" if build == "cpu" else "2.13.0")


def test_the_versions_are_those_that_run_installs():
    script = (ROOT / "run").read_text()
    for name in ("torch", "accelerate", "peft", "trl"):
        versions = set(re.findall(rf"\b{name}==([\d.]+\d)", script))
        block = make.entries(LOCKS["cuda"].read_text())[name]
        assert versions <= {re.search(r"==([\d.]+\d)", block)[1], "2.15.0"}, name  # 2.15.0: an example


@pytest.mark.slow
def test_what_is_installed_here_is_what_a_lock_has():
    uv = shutil.which("uv") or str(ROOT / ".venv" / "tools" / "bin" / "uv")
    if not Path(uv).exists():
        pytest.skip("needs uv, which ./run installs")
    words = [uv, "pip", "list", "--format", "freeze", "--python", sys.executable]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    here = dict(line.split("==") for line in done.stdout.split() if "==" in line)
    known: dict[str, str] = {}
    for path in (ROOT / "requirements.lock", *LOCKS.values()):
        known |= {name: known.get(name, "") + block for name, block in make.entries(path.read_text()).items()}
    unlocked = {
        name: version
        for name, version in here.items()
        if name != "spo" and f"{name}=={version}" not in known.get(name.lower(), "")
    }
    assert unlocked == {}
