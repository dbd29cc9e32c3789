"""What an attack is, and how its files are made. Nothing here is imported from the project."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

# Lies beside every source, and must never come out of an adapter.
SECRET = "canary-5f2c91"
PROBLEM = {"problem_id": "a/good", "statement": "Add.", "tests": []}
PACKAGE = {
    "problem.yaml": "name: N\n",
    "problem_statement/problem.en.tex": "Sum.",
    "data/secret/1.in": "1\n",
    "data/secret/1.ans": "1\n",
}


@dataclass(frozen=True)
class Attack:
    """`make` fills a folder: the source is what it gives, by default `folder / "source"`.

    `good`: how many problems and trajectories must be read. `reason`: what some refusal must say; None:
    nothing may be refused. `error`: what the SourceError must say that refuses the source as a whole.
    """

    name: str
    adapter: str
    make: Callable[[Path], Path | str | None]
    good: int = 0
    reason: str | None = None
    error: str | None = None
    as_nobody: bool = False
    cpu_s: float = 5.0


def write(path: Path, content: str | bytes | list) -> Path:
    """A file; a list is written as JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, list):
        content = "".join(json.dumps(row) + "\n" for row in content)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def link(path: Path, target: str | Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    os.symlink(target, path)


def secret_file(folder: Path) -> Path:
    """A file outside of the source."""
    return write(folder / "outside" / "secret.txt", SECRET + "\n")


def fifo(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def hole(path: Path, size: int) -> Path:
    """A file of that size that takes no room."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.truncate(size)
    return path


def package(folder: Path, name: str = "p", files: dict | None = None) -> Path:
    """A problem package in the source; files that are None are left out."""
    root = folder / "source" / name
    for path, content in (PACKAGE | (files or {})).items():
        if content is not None:
            write(root / path, content)
    return root


def good_lines(folder: Path) -> Path:
    """The source, with a file of one good problem."""
    write(folder / "source" / "problems.jsonl", [PROBLEM])
    return folder / "source"
