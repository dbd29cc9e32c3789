"""Random bits of a store are changed, one at a time, in data files, log entries, copies of entries and
checkpoints: a check must find each. For a test and for the benchmark.
"""

from __future__ import annotations

import random
import sys
import tempfile
from pathlib import Path

sys.path.append(str(Path(__file__).parent))

from store_worker import batch

from pipeline.store import Store, check_store

ROWS = 4
PROBLEM = {
    "problem_id": "src/a",
    "source": "src",
    "split": "train",
    "title": "a",
    "statement": "Print the sum.",
    "input_mode": "stdin",
    "checker": "tokens",
    "case_sensitive": True,
    "tags": ["sums"],
    "test_set_hash": "none",
    "test_count": 0,
    "batch_id": "b",
    "source_file": "problems.jsonl",
    "source_line": 1,
}


def append(store: Store, sequence: int) -> bool:
    """A commit with files in two partitions."""
    import polars as pl

    rows = batch("p", sequence, ROWS).with_columns(origin=pl.Series(["human", "online"] * (ROWS // 2)))
    return store.append("trajectories", rows, producer="p", sequence=sequence)


def make_store(location: Path) -> Store:
    """A small store with compacted, older and new data files, two checkpoints, and entries after them."""
    import polars as pl

    store = Store(location)
    store.append("problems", pl.DataFrame([PROBLEM]), producer="p", sequence=0)
    for sequence in range(8):
        append(store, sequence)
        if sequence in (3, 6):
            store.maintain("trajectories")
    return store


def files_by_kind(location: Path) -> dict[str, list[Path]]:
    """Every file of a store whose content matters, by what it is."""
    kinds: dict[str, list[Path]] = {}
    for path in sorted(path for path in location.rglob("*") if path.is_file()):
        if "_delta_log" in path.parts:
            kind = "entry" if path.name[0] == "0" and path.suffix == ".json" else "checkpoint"
        elif "_spo" in path.parts:
            kind = "copy" if path.suffix == ".json" else ""
        else:
            kind = "data"
        if kind:
            kinds.setdefault(kind, []).append(path)
    return kinds


def attempt(count: int, *, seed: int = 0) -> dict:
    """Change that many random bits of a store, one at a time, and check it each time.

    Kinds of files are chosen alike, then a file, then a bit. Returns `tried`, `undetected` (checks that did
    not name the changed file), `by_kind` (bits by kind of file) and `details` of what was not detected.
    """
    draw = random.Random(seed)
    by_kind: dict[str, int] = {}
    details: list[str] = []
    with tempfile.TemporaryDirectory(prefix="bit-flips-") as folder:
        location = Path(folder, "store")
        store = make_store(location)
        if faults := check_store(store).findings:
            raise RuntimeError(f"the store has faults before any bit is changed: {faults}")
        kinds = files_by_kind(location)
        for _ in range(count):
            kind = draw.choice(sorted(kinds))
            path = draw.choice(kinds[kind])
            bit = draw.randrange(8 * path.stat().st_size)
            by_kind[kind] = by_kind.get(kind, 0) + 1
            if not found_with_bit_changed(store, path, bit):
                details.append(f"{path.relative_to(location)}, bit {bit}")
    return {"tried": count, "undetected": len(details), "by_kind": by_kind, "details": details}


def found_with_bit_changed(store: Store, path: Path, bit: int) -> bool:
    """Whether a check names a file, one bit of which is changed while it looks."""
    content = path.read_bytes()
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    path.write_bytes(changed)
    try:
        return any(finding.where == str(path) for finding in check_store(store).findings)
    finally:
        path.write_bytes(content)
