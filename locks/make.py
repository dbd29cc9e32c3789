"""`python locks/make.py [cpu | cuda]`: locks of a build of torch and of what names torch, a hash per wheel.

requirements.lock has everything else; these hold what it leaves out. The CPU build needs its wheel in a
folder that UV_FIND_LINKS names, or an index that has it (UV_EXTRA_INDEX_URL); the CUDA build is that of PyPI.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
TORCH = "2.13.0"
# Installed without their dependencies, which requirements.lock has.
FOLLOWERS = ("accelerate==1.15.0", "peft==0.21.2", "trl==1.16.0")
BUILDS = {"cpu": f"torch=={TORCH}+cpu", "cuda": f"torch=={TORCH}"}
# PyPI has no CPU build for Linux, so its wheels are of one platform and one Python.
OPTIONS = {
    "cpu": ("--python-version", "3.11", "--python-platform", "x86_64-manylinux_2_28"),
    "cuda": ("--universal", "--python-version", "3.11"),
}
ENTRY = re.compile(r"^([a-z0-9][\w.-]*)==", re.IGNORECASE)


def entries(text: str) -> dict[str, str]:
    """The blocks of a lock by the names of their packages; a package with several versions is one block."""
    blocks: dict[str, str] = {}
    name = ""
    for line in text.splitlines(keepends=True):
        if match := ENTRY.match(line):
            name = match[1].lower()
        if name and not line.startswith("#"):
            blocks[name] = blocks.get(name, "") + line
    return blocks


def make(build: str) -> str:
    """The lock of a build, without the packages of requirements.lock."""
    uv = shutil.which("uv") or str(ROOT / ".venv" / "tools" / "bin" / "uv")
    shared = entries((ROOT / "requirements.lock").read_text())
    with tempfile.TemporaryDirectory() as scratch:
        wanted, out = Path(scratch) / "wanted.in", Path(scratch) / "out.lock"
        wanted.write_text("\n".join((BUILDS[build], *FOLLOWERS)) + "\n")
        words = [
            uv,
            "pip",
            "compile",
            "--quiet",
            str(wanted),
            "--constraints",
            str(ROOT / "requirements.lock"),
        ]
        words += ["--generate-hashes", "--no-header", "--no-annotate", "--output-file", str(out)]
        subprocess.run([*words, *OPTIONS[build]], check=True, stdout=subprocess.DEVNULL)
        own = {name: block for name, block in entries(out.read_text()).items() if name not in shared}
    return f"# {BUILDS[build]} and what names torch; made by locks/make.py\n" + "".join(own.values())


def main() -> None:
    for build in sys.argv[1:] or BUILDS:
        (HERE / f"torch-{build}.lock").write_text(make(build))


if __name__ == "__main__":
    main()
