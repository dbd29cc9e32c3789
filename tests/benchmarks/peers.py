"""Benchmark beside what a user would take instead: `./run bench peers [--rows N] [--only PEER ...]`; the last
line is JSON.

Each ratio is the peer's CPU time over ours for the same work on the same rows, both measured in this run,
each in a process of its own; 2 says that the peer takes twice as long. null where a peer cannot be had here,
with the reason in `reasons`. Peers that this project does not have are installed into an environment of their
own, which `--place` keeps. other_answers names peers whose answers, or numbers of accepted programs, are not
ours.

* datatrove: near-duplicates among programs, from their text to what is retained, the same number and size of
  bands; its own words are replaced by split(), because its tokenizers are downloads.
* pandas: ten questions of an analyst over trajectories, verdicts and problems, as Parquet files beside SQL.
* trl_sft: a supervised step of TRL's SFTTrainer, same model, batch and tokens.
* spawn: judging by `subprocess.run` of the interpreter per test, as reward functions do that isolate nothing;
  spawn_shared beside jails that programs share.
* dmoj: judging by DMOJ's executor, if its package can be built here.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:] = [folder for folder in sys.path if folder != str(HERE)]
sys.path.insert(0, str(HERE.parents[1]))
WORK = HERE / "peers_work.py"
PACKAGES = {
    "datatrove": ["datatrove[processing]==0.10.1", "tokenizers", "spacy", "orjson", "xxhash", "regex"],
    "dmoj": ["dmoj==4.1.0"],
}


class PeerUnavailable(Exception):
    """A peer cannot be had here; the message says why."""


def interpreter(place: Path, peer: str) -> str:
    """The interpreter of a peer's own environment, made if it is missing. Raises PeerUnavailable."""
    if peer not in PACKAGES:
        return sys.executable
    folder = place / peer
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        commands = (
            [sys._base_executable, "-m", "venv", str(folder)],  # type: ignore[attr-defined]
            [str(python), "-m", "pip", "install", "--quiet", *PACKAGES[peer]],
        )
        for command in commands:
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
                raise PeerUnavailable((lines or done.stderr.splitlines() or ["cannot be installed"])[-1])
        (folder / "ready").touch()
    return str(python)


def cpu_s(python: str, work: str, outcomes: dict[str, object], *arguments: str) -> float:
    """CPU seconds that a process reports for a piece of work; notes its outcome. Raises PeerUnavailable with
    its last line.
    """
    command = [python, "-P", str(WORK), work, *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise PeerUnavailable((done.stderr.splitlines() or ["failed without a word"])[-1])
    figures = json.loads(done.stdout.splitlines()[-1])
    print(f"{work}: {figures}", file=sys.stderr)
    outcomes[work] = figures.get("outcome")
    return float(figures["cpu_s"])


def measured(place: Path, folder: Path, only: list[str]) -> dict[str, object]:
    """The ratio of each peer, and why others have none."""
    own, ratios, reasons, outcomes = {}, {}, {}, dict[str, object]()

    def ours(work: str) -> float:
        if work not in own:
            own[work] = cpu_s(sys.executable, work, outcomes, str(folder))
        return own[work]

    pairs: dict[str, tuple[str, Callable[[], float]]] = {
        "datatrove": ("datatrove", lambda: ours("deduplicate")),
        "pandas": ("pandas", lambda: ours("sql")),
        "trl_sft": ("trl_sft", lambda: ours("own_sft")),
        "spawn": ("spawn", lambda: ours("judge")),
        "spawn_shared": ("spawn", lambda: ours("judge_shared")),
        "dmoj": ("dmoj", lambda: ours("judge")),
    }
    theirs: dict[str, float] = {}
    for name, (peer, own_s) in pairs.items():
        if only and name not in only:
            continue
        try:
            if peer not in theirs:
                theirs[peer] = cpu_s(interpreter(place, peer), peer, outcomes, str(folder))
            ratios[name] = round(theirs[peer] / own_s(), 2)
        except PeerUnavailable as error:
            ratios[name], reasons[name] = None, str(error)[:200]
    alike = [("pandas", "sql"), ("spawn", "judge"), ("spawn", "judge_shared"), ("dmoj", "judge")]
    differ = [one for one, other in alike if one in outcomes and outcomes[one] != outcomes.get(other)]
    return {"peers": ratios, "reasons": reasons, "other_answers": differ}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=100_000, help="trajectories for the questions")
    parser.add_argument("--programs", type=int, default=20_000, help="programs to deduplicate")
    parser.add_argument("--judged", type=int, default=200, help="programs to judge")
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--place", type=Path, help="where the environments are made; temporary if left out")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="spo-bench-peers-", dir="/var/tmp") as temporary:
        folder = Path(temporary)
        sizes = (str(options.rows), str(options.programs), str(options.judged))
        command = [sys.executable, "-P", str(WORK), "prepare", str(folder), *sizes]
        subprocess.run(command, check=True, stdout=sys.stderr)
        print(json.dumps(measured(options.place or folder / "environments", folder, options.only)))


if __name__ == "__main__":
    main()
