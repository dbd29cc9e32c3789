"""Benchmark of the flows: `./run bench flows [--minutes MINUTES] [--problems COUNT] [--rounds ROUNDS]`; the last line is JSON.

* prefect_overhead_share: CPU seconds of ingesting, labelling and deduplicating a fixed batch as flows on a running server, the
  server's own among them, over those of calling the same functions without Prefect, less 1. Every pass is a process with a store
  of its own, the two kinds in turn; medians. The import of Prefect counts. What it adds is nearly the same for any batch
  (prefect_cpu_s), so the share falls as the batch grows.
* engines_agree: whether labels, signatures and clusters made on a cluster of processes (Dask, Ray: those that are installed) are
  those made by one process; null where neither is installed.
* rows_lost, rows_doubled, judge_errors_as_rewards, kills, pass10_offline, pass10_online: trainer, rollout worker and grader as
  processes of their own, killed at random every 30 s (`online_loop.py`, here in small to stay below ten minutes).
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import ModuleType

HERE = Path(__file__).parent
STARTER = HERE.parents[1] / "data" / "starter"
NEEDED = (
    "prefect_overhead_share", "rows_lost", "rows_doubled", "judge_errors_as_rewards", "kills", "pass10_offline", "pass10_online",
    "engines_agree",
)  # fmt: skip

KEEP_A_SERVER = """
import json, os, sys
from pathlib import Path
from flows.engine import start_server

home = Path(os.environ["PREFECT_HOME"])
print(start_server(home), flush=True)
print(json.loads((home / "server.json").read_text())["pid"], flush=True)
sys.stdin.read()
"""


def one_pass(kind: str, store: str, problems: int) -> None:
    """Ingest, label, deduplicate; run in a process of its own."""
    if kind == "flows":
        from flows import stages

        stages.ingest_flow(store, "plain", str(STARTER), problems)
        stages.label_flow(store)
        stages.deduplicate_flow(store)
        return
    from pipeline.dedup import deduplicate
    from pipeline.ingest import ingest
    from pipeline.label import label
    from pipeline.store import Store

    ingest(Store(store), "plain", str(STARTER), limit=problems)
    label(Store(store))
    deduplicate(Store(store))


def cpu_of(command: list[str], environment: dict[str, str]) -> float:
    """CPU seconds of a process and all it waited for: the sandbox's workers and the programs they ran."""
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, env=environment, stdout=said, stderr=said)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        assert process.returncode == 0, said.read().decode()[-2000:]
    return usage.ru_utime + usage.ru_stime


def cpu_so_far(pid: int) -> float:
    """CPU seconds of a process that runs, and of the children it waited for."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def surroundings(data: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "SPO_"))}
    return kept | {"SPO_DATA_DIR": str(data)}


def prefect_overhead(folder: Path, problems: int, rounds: int) -> dict[str, float]:
    """CPU seconds with and without Prefect, medians over rounds, and the share that it adds."""
    environment = surroundings(folder / "data")
    keeper = subprocess.Popen(
        [sys.executable, "-c", KEEP_A_SERVER], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        url, pid = keeper.stdout.readline().strip(), int(keeper.stdout.readline())
        seconds: dict[str, list[float]] = {"plain": [], "flows": [], "server": []}
        for number in range(rounds):
            for kind in ("plain", "flows"):
                before = cpu_so_far(pid)
                store = str(folder / f"{kind}-{number}")
                command = [sys.executable, "-P", __file__, "--pass", kind, store, "--problems", str(problems)]
                seconds[kind].append(cpu_of(command, environment | {"PREFECT_API_URL": url}))
                if kind == "flows":
                    seconds["server"].append(cpu_so_far(pid) - before)
    finally:
        keeper.stdin.close()  # the server lives as long as the process that started it
        keeper.wait(60)
    medians = {kind: statistics.median(values) for kind, values in seconds.items()}
    added = medians["flows"] + medians["server"] - medians["plain"]
    return {
        "plain_cpu_s": round(medians["plain"], 2), "flows_cpu_s": round(medians["flows"], 2),
        "server_cpu_s": round(medians["server"], 2), "prefect_cpu_s": round(added, 2),
        "prefect_overhead_share": round(added / medians["plain"], 4),
    }  # fmt: skip


def engines_agree(folder: Path, problems: int = 6) -> dict[str, bool | str | None]:
    """Labels, signatures and clusters of one process and of a cluster of processes, compared row by row."""
    tests = module_at(HERE.parent / "flows" / "test_spread.py")
    from pipeline.dedup import deduplicate
    from pipeline.label import label

    one = tests.filled(folder / "one", problems)
    label(one)
    deduplicate(one)
    expected, found = tests.contents(one), {}
    for engine in ("dask", "ray"):
        if importlib.util.find_spec(f"prefect_{engine}") is None:
            continue
        store = tests.filled(folder / engine, problems)
        for command in ("label", "deduplicate"):
            subprocess.run(
                [sys.executable, "-m", "flows", command, "--store", store.location, "--runner", engine, "--parts", "3"],
                env=surroundings(folder / "data"), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
        found[engine] = tests.contents(store) == expected
    return {"engines": ", ".join(found) or "none installed", "engines_agree": all(found.values()) if found else None}


def online_loop(minutes: float) -> dict[str, float]:
    """The figures of the loop, from `online_loop.py`."""
    path = HERE / "online_loop.py"
    if not path.exists():
        return {}
    loop = module_at(path)
    small = loop.Sizes(known_problems=500, train_problems=120, points=0)
    return loop.loop(minutes=minutes, kill_every_s=30, sizes=small)


def module_at(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # its dataclasses ask for it
    spec.loader.exec_module(module)
    return module


def main() -> None:
    parser = argparse.ArgumentParser(description="Benchmark of the flows; the last line is JSON.")
    parser.add_argument("--minutes", type=float, default=2.5, help="of the loop with kills; the long run is online_loop.py")
    parser.add_argument("--problems", type=int, default=300, help="starter problems of the batch whose cost is compared")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--without-loop", action="store_true")
    parser.add_argument("--pass", nargs=2, metavar=("KIND", "STORE"), dest="one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        return one_pass(*arguments.one, arguments.problems)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="spo-bench-flows-") as name:
        folder = Path(name)
        result: dict[str, object] = dict.fromkeys(NEEDED)
        result |= prefect_overhead(folder, arguments.problems, arguments.rounds)
        result |= engines_agree(folder)
        if not arguments.without_loop:
            result |= online_loop(arguments.minutes)
    result["seconds"] = round(time.monotonic() - started, 1)
    for key, value in result.items():
        print(f"{key:<26} {'-' if value is None else value}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
