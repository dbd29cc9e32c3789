"""Benchmark of the flows: `./run bench flows [--minutes MINUTES] [--problems COUNT] [--rounds ROUNDS]`; the
last line is JSON.

* prefect_overhead_share: what Prefect adds to ingesting, labelling and deduplicating a fixed batch, over all
  CPU seconds of doing so by calling the same functions without Prefect, those of the sandbox's processes
  among them. Every pass is a process with a store of its own, the two kinds in turn; medians of the rounds.
  What Prefect adds (prefect_cpu_s) is the flows' process, from its first import to its end, less the same of
  the process without Prefect, plus the server, of any process of its, from the start of the pass until it has
  written down what it was told (SETTLED_S after). Prefect adds to no other process: the children of both
  kinds are the sandbox's workers, programs of their own that import nothing of Prefect, and what these start.
  Their CPU seconds are nine tenths of the work and differ by several percent from one pass to the next, more
  than Prefect takes; so they are in the work that is divided by, not in the difference, and are printed for
  both kinds (plain_children_cpu_s, flows_children_cpu_s). The whole difference, noise and all, is
  whole_difference_share. What Prefect adds is nearly the same for any batch, so the share falls as the batch
  grows; but the server costs something for every minute that the pass takes (server_idle_minute_cpu_s), so on
  a machine that does other work too it rises. A server that runs (`spo up`) is measured; a command that has
  to start one pays server_start_cpu_s more, once.
* engines_agree: whether labels, signatures and clusters made on a cluster of processes (Dask, Ray: those that
  are installed) are those made by one process; null where neither is installed.
* rows_lost, rows_doubled, judge_errors_as_rewards, kills, pass10_offline, pass10_online: trainer, rollout
  worker and grader as processes of their own, killed at random every 30 s (`online_loop.py`, here in small to
  stay below ten minutes).
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
import urllib.request
from collections import defaultdict
from pathlib import Path
from types import ModuleType

HERE = Path(__file__).parent
STARTER = HERE.parents[1] / "data" / "starter"
SETTLED_S = 7.0  # the server gathers events for up to 5 s before it writes them down
NEEDED = (
    "prefect_overhead_share",
    "rows_lost",
    "rows_doubled",
    "judge_errors_as_rewards",
    "kills",
    "pass10_offline",
    "pass10_online",
    "engines_agree",
)

KEEP_A_SERVER = """
import json, os, sys
from pathlib import Path
from flows.runtime.starting import start_server

home = Path(os.environ["PREFECT_HOME"])
print(start_server(home), flush=True)
print(json.loads((home / "server.json").read_text())["pid"], flush=True)
sys.stdin.read()
"""


def one_pass(kind: str, store: str, problems: int) -> None:
    """Ingest, label, deduplicate; run in a process of its own."""
    if kind == "flows":
        from flows.commands.common import use_server

        use_server()  # the way every command goes; it finds the server that runs on its data folder
        from flows import stages

        stages.ingest_flow(store, "plain", str(STARTER), problems)
        stages.label_flow(store)
        stages.deduplicate_flow(store)
        return
    from pipeline.dedup.deduplication import deduplicate
    from pipeline.ingest.ingestion import ingest
    from pipeline.labelling.labeller import label
    from pipeline.store.store import Store

    ingest(Store(store), "plain", str(STARTER), limit=problems)
    label(Store(store))
    deduplicate(Store(store))


def cpu_of(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """CPU seconds of a process by itself, and of the children that it waited for, with theirs."""
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, env=environment, stdout=said, stderr=said)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        own, children = cpu_so_far(process.pid)
        process.wait()
        said.seek(0)
        assert process.returncode == 0, said.read().decode()[-2000:]
    return own, children


def cpu_so_far(pid: int) -> tuple[float, float]:
    """CPU seconds of a process that has not been waited for, and of the children that it waited for."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    user, system, children_user, children_system = (
        int(field) / os.sysconf("SC_CLK_TCK") for field in fields[11:15]
    )
    return user + system, children_user + children_system


def surroundings(data: Path) -> dict[str, str]:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "SPO_"))
    }
    return environment | {"SPO_DATA_DIR": str(data)}


def prefect_overhead(folder: Path, problems: int, rounds: int) -> dict[str, float]:
    """CPU seconds with and without Prefect, medians over rounds, and the share that it adds."""
    environment = surroundings(folder / "data")
    keeper = subprocess.Popen(
        [sys.executable, "-c", KEEP_A_SERVER],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    seconds: dict[str, list[float]] = defaultdict(list)
    try:
        url, pid = keeper.stdout.readline().strip(), int(keeper.stdout.readline())
        seconds["server_start"] = [sum(cpu_so_far(pid))]
        time.sleep(SETTLED_S)
        for number in range(rounds):
            for kind in ("plain", "flows"):
                before, started = sum(cpu_so_far(pid)), time.monotonic()
                command = [sys.executable, "-P", __file__, "--pass", kind, str(folder / f"{kind}-{number}")]
                own, children = cpu_of([*command, "--problems", str(problems)], environment)
                seconds[kind].append(own)
                seconds[f"{kind}_children"].append(children)
                if kind == "flows":
                    time.sleep(SETTLED_S)
                    seconds["server"].append(sum(cpu_so_far(pid)) - before)
                else:
                    seconds["server_idle_minute"].append(
                        60 * (sum(cpu_so_far(pid)) - before) / (time.monotonic() - started)
                    )
        assert runs_of(url) == 3 * rounds, f"{runs_of(url)} flow runs at {url} instead of {3 * rounds}"
    finally:
        keeper.stdin.close()  # the server lives as long as the process that started it
        keeper.wait(60)
    medians = {kind: statistics.median(values) for kind, values in seconds.items()}
    work = medians["plain"] + medians["plain_children"]
    added = medians["flows"] + medians["server"] - medians["plain"]
    return {
        **{f"{kind}_cpu_s": round(value, 2) for kind, value in sorted(medians.items())},
        "prefect_cpu_s": round(added, 2),
        "prefect_overhead_share": round(added / work, 4),
        "whole_difference_share": round(
            (added + medians["flows_children"] - medians["plain_children"]) / work, 4
        ),
    }


def runs_of(url: str) -> int:
    """How many flow runs the server has seen end well: a pass that reported to another server would cost
    this one nothing.
    """
    question = json.dumps({"flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}}}).encode()
    asked = urllib.request.Request(f"{url}/flow_runs/count", question, {"Content-Type": "application/json"})
    with urllib.request.urlopen(asked, timeout=60) as answer:
        return json.load(answer)


def engines_agree(folder: Path, problems: int = 6) -> dict[str, bool | str | None]:
    """Labels, signatures and clusters of one process and of a cluster of processes, compared row by row."""
    tests = module_at(HERE.parent / "flows" / "test_spread.py")
    from pipeline.dedup.deduplication import deduplicate
    from pipeline.labelling.labeller import label

    one = tests.filled(folder / "one", problems)
    label(one)
    deduplicate(one)
    expected, results = tests.contents(one), {}
    for engine in ("dask", "ray"):
        if importlib.util.find_spec(f"prefect_{engine}") is None:
            continue
        store = tests.filled(folder / engine, problems)
        for command in ("label", "deduplicate"):
            subprocess.run(
                [
                    sys.executable,
                    "-m",
                    "flows",
                    command,
                    "--store",
                    store.location,
                    "--runner",
                    engine,
                    "--parts",
                    "3",
                ],
                env=surroundings(folder / "data"),
                check=True,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        results[engine] = tests.contents(store) == expected
    return {
        "engines": ", ".join(results) or "none installed",
        "engines_agree": all(results.values()) if results else None,
    }


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
    parser.add_argument(
        "--minutes", type=float, default=2.5, help="of the loop with kills; the long run is online_loop.py"
    )
    parser.add_argument(
        "--problems", type=int, default=600, help="starter problems of the batch whose cost is compared"
    )
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
