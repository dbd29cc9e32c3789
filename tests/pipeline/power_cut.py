"""Power cuts while a store is written: every state of the disk that the flushes allow is opened, and must
have every acknowledged row, once, and no half commit; and the writer must be able to go on. `run` is for a
test and for the benchmark.

The writer runs in a process of its own, whose system calls are recorded; it prints a line when a call of the
store has returned.
"""

from __future__ import annotations

import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
sys.path.append(str(HERE))

from recorded_disk import Disk, PowerCut, Tree, record, signature, tree_of, write_tree  # noqa: E402
from store_worker import batch  # noqa: E402

from pipeline.store import Store  # noqa: E402

ROWS = 4
# Where the store keeps copies that nobody needs: what is not flushed there is chosen together, see
# `PowerCut`.
SPARE = "_spo"
NO_FLUSHES = "import os; os.fsync = lambda descriptor: None\n"
BEGIN = f"import sys; sys.path.append({str(HERE)!r})\nfrom power_cut import *\nroot = Path(sys.argv[1])\n"


def rows_of(sequence: int):
    """A commit with files in two partitions."""
    import polars as pl

    return batch("p", sequence, ROWS).with_columns(origin=pl.Series(["human", "online"] * (ROWS // 2)))


def append(store: Store, sequence: int) -> bool:
    return store.append("trajectories", rows_of(sequence), producer="p", sequence=sequence)


def say(line: object) -> None:
    print(line, flush=True)


@dataclass(frozen=True)
class Scenario:
    """What a writer does, from which beginning, and how a state after a cut is judged."""

    name: str
    script: str
    judge: Callable[[Path, set[str]], str | None]
    prepare: Callable[[Path], set[str]] = lambda root: set()


def six_commits(root: Path) -> set[str]:
    store = Store(root / "store")
    return {str(sequence) for sequence in range(6) if append(store, sequence)}


def judge_store(place: Path, acknowledged: set[str]) -> str | None:
    """What is wrong with the store in a state; None if nothing is."""
    store = Store(place / "store")
    ids = store.read("trajectories", ["trajectory_id"])["trajectory_id"].to_list()
    seen = Counter(name.split("/")[1] for name in ids)
    if len(set(ids)) != len(ids) or any(count != ROWS for count in seen.values()):
        return f"half or doubled: {dict(seen)}"
    if not acknowledged <= set(seen):
        return f"lost: {sorted(acknowledged - set(seen))}"
    next_one = store.last_sequence("trajectories", "p") + 1
    if next_one != len(seen) or not append(store, next_one):
        return f"the writer cannot go on with {next_one} after {sorted(seen)}"
    if Store(place / "store").read("trajectories").height != (len(seen) + 1) * ROWS:
        return "rows differ after the next append"
    return None


OLD, NEW = "old " * 100, "new " * 1000
PUBLISHED = {"weights.bin": b"w" * 50_000, "nested/tokenizer.json": b"{}" * 100, "config.json": b"{}"}


def write_policy(folder: Path) -> None:
    for name, content in PUBLISHED.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)


def judge_folder(place: Path, acknowledged: set[str]) -> str | None:
    target, config = place / "run/final", place / "run/config.json"
    if "published" in acknowledged and not target.exists():
        return "lost: the published folder"
    if target.exists():
        actual = {str(p.relative_to(target)): p.read_bytes() for p in target.rglob("*") if p.is_file()}
        if actual != PUBLISHED:
            return "half: the published folder"
    texts = {"": {None, OLD, NEW}, "old": {OLD, NEW}, "new": {NEW}}
    least = "new" if "new" in acknowledged else "old" if "old" in acknowledged else ""
    if (config.read_text() if config.exists() else None) not in texts[least]:
        return f"config.json is not {least}"
    return None


SCENARIOS = (
    Scenario(
        "creation and appends",
        "store = Store(root / 'store')\nfor n in range(3): append(store, n); say(n)",
        judge_store,
    ),
    Scenario(
        "compaction, checkpoints and sweeping",
        "store = Store(root / 'store')\n"
        "for n in (6, 7): store.maintain('trajectories', retention_hours=0); append(store, n); say(n)\n"
        "store.maintain('trajectories')",
        judge_store,
        six_commits,
    ),
    Scenario(
        "published folders and whole files",
        "from pipeline.store import publish_folder, write_whole\n"
        "publish_folder(root / 'run/final', write_policy); say('published')\n"
        "write_whole(root / 'run/config.json', OLD); say('old')\n"
        "write_whole(root / 'run/config.json', NEW); say('new')",
        judge_folder,
    ),
)


@dataclass
class Outcome:
    """States that were opened, those in which something acknowledged was lost or something half was
    visible, and what that was.
    """

    states: int = 0
    lost: int = 0
    faults: list[str] = field(default_factory=list)
    # By scenario: states that were opened, and different states that were made to choose from.
    by_scenario: dict[str, tuple[int, int]] = field(default_factory=dict)


def run(
    states_per_scenario: int, *, seed: int = 0, states_per_moment: int = 256, flushes: bool = True
) -> Outcome:
    """Record each scenario once and open its states, a random share of them where there are more than asked
    for.

    After each call every combination of what is not flushed is made, or `states_per_moment` of them by chance
    where there are more. Without flushes, states must be found that lose something: or else nothing is tested
    here.
    """
    outcome = Outcome()
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(prefix="power-cut-", dir=memory) as folder:
        for number, scenario in enumerate(SCENARIOS):
            work = Path(folder, str(number))
            root = work / "root"
            root.mkdir(parents=True)
            before = scenario.prepare(root)
            disk = Disk(root)
            script = BEGIN + ("" if flushes else NO_FLUSHES) + scenario.script
            calls = record([sys.executable, "-c", script, str(root)], root, HERE.parents[1])
            states = Sample(states_per_scenario, random.Random(seed))
            make_states(disk, calls, before, states_per_moment, states)
            for tree, acknowledged in states.chosen:
                open_state(scenario, tree, acknowledged, work / "state", outcome)
            outcome.by_scenario[scenario.name] = (len(states.chosen), states.offered)
            outcome.states += len(states.chosen)
    return outcome


@dataclass
class Sample:
    """A fair share of all that is offered, without knowing how much that will be."""

    size: int
    draw: random.Random
    offered: int = 0
    chosen: list[tuple[Tree, set[str]]] = field(default_factory=list)

    def place(self) -> int | None:
        """Where the next one goes, if it is taken."""
        self.offered += 1
        place = self.offered - 1 if self.offered <= self.size else self.draw.randrange(self.offered)
        return place if place < self.size else None


def make_states(disk: Disk, calls: list, before: set[str], per_moment: int, states: Sample) -> None:
    """Offer every different state after every call, with what was acknowledged by then."""
    said, seen = b"", set()
    for call in calls:
        said += disk.apply(*call)
        acknowledged = before | set(said.decode().splitlines())
        if call[1] in ("close", "lseek", "fcntl", "dup"):
            continue
        for chosen in PowerCut(disk, SPARE).states(per_moment, states.draw):
            key = (signature(disk.top, chosen), len(acknowledged))
            if key in seen:
                continue
            seen.add(key)
            if (place := states.place()) is not None:
                states.chosen[place : place + 1] = [(tree_of(disk.top, chosen), acknowledged)]


def open_state(scenario: Scenario, tree: Tree, acknowledged: set[str], place: Path, outcome: Outcome) -> None:
    write_tree(tree, place)
    try:
        fault = scenario.judge(place, acknowledged)
    except Exception as error:
        fault = f"{type(error).__name__}: {error}"
    finally:
        shutil.rmtree(place)
    if fault:
        outcome.lost += 1
        outcome.faults.append(f"{scenario.name}: {fault}")
