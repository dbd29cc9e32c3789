"""The tutorial's own commands, copied from its pages, run in an empty folder."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = ("own_problems", "rollouts", "train", "look")
FILE = re.compile(r"^```\{code-block\} text\n:caption: (\S+)\n\n(.*?)^```$", re.DOTALL | re.MULTILINE)
COMMANDS = re.compile(r"^```console\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SPOKEN_EXIT = re.compile(r"#\s*exit code (\d+)")


def steps(page: str) -> list[tuple[str, str]]:
    """("file NAME", its text) and ("command", its line), in the order of the page."""
    text = (ROOT / "docs" / "tutorial" / f"{page}.md").read_text()
    found = [(match.start(), (f"file {match[1]}", match[2])) for match in FILE.finditer(text)]
    for match in COMMANDS.finditer(text):
        lines = [line.removeprefix("$ ") for line in match[1].splitlines() if line.startswith("$ ")]
        found += [(match.start() + number, ("command", line)) for number, line in enumerate(lines)]
    return [step for _, step in sorted(found)]


def run_page(
    page: str, folder: Path, spo: list[str], environment: dict[str, str]
) -> Iterator[tuple[str, str]]:
    """Each command of the page and its output. Its exit code is the one that the page states, else 0."""
    for kind, text in steps(page):
        if kind != "command":
            (folder / kind.removeprefix("file ")).write_text(text)
            continue
        words = shlex.split(text, comments=True)
        assert words[0] == "spo", text
        done = subprocess.run(
            [*spo, *words[1:]], cwd=folder, env=environment, capture_output=True, text=True, timeout=600
        )
        stated = SPOKEN_EXIT.search(text)
        assert done.returncode == int(stated[1] if stated else 0), f"{text}\n{done.stdout}{done.stderr}"
        yield text, done.stdout


def test_the_pages_have_files_and_commands():
    kinds = {page: [kind for kind, _ in steps(page)] for page in PAGES}
    assert kinds["own_problems"][:4] == ["file problems.jsonl", "file solutions.jsonl", "command", "command"]
    assert all("command" in of_page for of_page in kinds.values())


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_tutorial(tmp_path):
    spo = [sys.executable, "-P", "-m", "flows"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "SPO_DATA_DIR": "data", "OMP_NUM_THREADS": "1"}
    own, rollouts, _, _ = (
        [output for _, output in run_page(page, tmp_path, spo, environment)] for page in PAGES
    )
    assert re.search(r"mine/double\W+bob-1\W+wrong_answer", own[3])
    assert re.search(r"mine/sum\W+ann-2\W+accepted", own[3])
    assert re.search(r"accepted\W+wrong_answer", rollouts[2])
    assert (tmp_path / "data" / "runs" / "first-spo" / "final").is_dir()
    assert list((tmp_path / "data" / "reports").rglob("index.html"))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_commands_of_the_readme(tmp_path):
    block = re.search(r"```console\n(.*?)^```$", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    lines = [line.removeprefix("$ ") for line in block[1].splitlines() if not line.startswith("$ spo view")]
    command = tmp_path / "bin" / "spo"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -P -m flows "$@"\n')
    command.chmod(0o755)
    path = {"PATH": f"{command.parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    environment = os.environ | path | {"SPO_DATA_DIR": "data", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        ["bash", "-e"],
        input="\n".join(lines),
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=1500,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"ann\W+accepted", done.stdout)
    assert (tmp_path / "data" / "runs" / "first-spo" / "final").is_dir()
