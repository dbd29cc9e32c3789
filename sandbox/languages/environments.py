"""A named Python environment, whose packages programs may import: numpy, sortedcontainers and so on.

SPO_SANDBOX_PYTHON=/path/to/venv names it. Programs run on the interpreter that runs the judge, so the
environment must be of the same version; they see its packages read-only, and nothing else of it.
"""

from __future__ import annotations

import hashlib
import os
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ENVIRONMENT_VARIABLE = "SPO_SANDBOX_PYTHON"
NAMED = 4  # packages that a verdict names; a digest stands for all
WELL_KNOWN = ("numpy", "scipy", "sympy", "networkx", "sortedcontainers", "pandas", "numba")
OWN_FOLDERS = ("/tmp", "/dev/shm")  # each jail has its own, which hides what this machine has there


class BadEnvironment(ValueError):
    """The named environment cannot be used: one line that says why, and how to fix it."""


@dataclass(frozen=True)
class PythonEnvironment:
    """The folder of its packages, and (name, version) of each."""

    packages: str
    distributions: tuple[tuple[str, str], ...]

    @property
    def folders(self) -> tuple[str, ...]:
        """What a jail must show."""
        return (self.packages,)

    @property
    def description(self) -> str:
        """For verdicts: how many packages there are, some by name, and a digest of all."""
        digest = hashlib.blake2b(repr(self.distributions).encode(), digest_size=4).hexdigest()
        named = [(name, version) for name, version in self.distributions if name in WELL_KNOWN][:NAMED]
        words = [f"{len(self.distributions)} packages", *(f"{name} {version}" for name, version in named)]
        return f"{', '.join(words)}, {digest}"


def python_environment() -> PythonEnvironment | None:
    """The environment that $SPO_SANDBOX_PYTHON names; None where it names none. Raises BadEnvironment."""
    folder = os.environ.get(ENVIRONMENT_VARIABLE)
    return _read(folder) if folder else None


@cache
def _read(folder: str) -> PythonEnvironment:
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    library = Path(folder) / "lib"
    if not (Path(folder) / "pyvenv.cfg").is_file():
        raise BadEnvironment(
            f"{ENVIRONMENT_VARIABLE}={folder} is not a virtual environment; make it with:"
            f" {sys.executable} -m venv {folder}"
        )
    packages = library / version / "site-packages"
    if not packages.is_dir():
        others = ", ".join(sorted(path.name for path in library.glob("python*"))) or "no Python"
        raise BadEnvironment(
            f"{ENVIRONMENT_VARIABLE}={folder} is of {others}, but the judge runs {version}; make it with:"
            f" {sys.executable} -m venv {folder}"
        )
    real = os.path.realpath(packages)
    if hidden := next((folder for folder in OWN_FOLDERS if real.startswith(f"{folder}/")), None):
        raise BadEnvironment(
            f"{ENVIRONMENT_VARIABLE}={folder} is below {hidden}, where programs have a folder of their own;"
            " make it elsewhere"
        )
    names = [path.name.removesuffix(".dist-info") for path in packages.glob("*.dist-info")]
    distributions = sorted(
        (name.lower(), number) for name, _, number in (one.partition("-") for one in names)
    )
    return PythonEnvironment(real, tuple(distributions))
