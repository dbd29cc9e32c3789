"""Pins: versions of tables that maintenance keeps, by label and by published corpus. They are rows of a table
of the store, so they are committed like all others."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from pipeline.later import later
from pipeline.store.appending import TableLog, sweeps
from pipeline.store.errors import StoreError
from pipeline.store.snapshot import Snapshot

if TYPE_CHECKING:
    import polars as pl
else:
    pl = later("polars")

# Each failed one is another maintenance between two looks.
PIN_ATTEMPTS = 20


class PinnedStore(Protocol):
    """What is needed of a `Store`."""

    def append(self, name: str, rows: pl.DataFrame, *, producer: str, sequence: int) -> bool: ...
    def read(self, name: str, columns: list[str] | None = None) -> pl.DataFrame: ...
    def snapshot(self, name: str, version: int | None = None) -> Snapshot: ...
    def version(self, name: str) -> int: ...
    def pins(self, names: list[str] | None = None) -> dict[str, int]: ...
    def last_sequence(self, name: str, producer: str) -> int: ...
    def log(self, name: str) -> TableLog: ...


def pin(store: PinnedStore, label: str, versions: Mapping[str, int] | None) -> dict[str, int]:
    """Pin those versions, or the present ones; the versions. See `Store.pin`."""
    for _ in range(PIN_ATTEMPTS):
        chosen = dict(store.pins() if versions is None else versions)
        for name, version in chosen.items():
            store.snapshot(name, version)
        write_pin(store, label, chosen, held=True)
        # Maintenance announces in the log that it deletes files, then looks at the pins once more. So it has
        # seen this pin, or its announcement is seen here.
        if versions is not None or not any(swept_after(store, *item) for item in chosen.items()):
            break
    missing = [file for item in chosen.items() for file in store.snapshot(*item).missing_files()]
    if missing:
        write_pin(store, label, {}, held=False)
        raise StoreError(f"cannot pin {label}: {missing[0]} is gone, deleted by maintenance")
    return chosen


def swept_after(store: PinnedStore, name: str, version: int) -> bool:
    now = store.version(name)
    return version < now and sweeps(store.log(name), version, now)


def pinned(store: PinnedStore) -> dict[str, dict[str, int]]:
    """Versions by label, and by `corpus/<corpus_id>` for published corpora."""
    latest = store.read("pins").sort("revision").unique("label", keep="last", maintain_order=True)
    held = latest.filter("held")
    corpora = store.read("corpora", ["corpus_id", "pins"])
    recorded = dict(zip(held["label"], map(json.loads, held["versions"]), strict=True))
    return recorded | {
        f"corpus/{identity}": json.loads(versions) for identity, versions in corpora.iter_rows()
    }


def write_pin(store: PinnedStore, label: str, versions: dict[str, int], *, held: bool) -> None:
    revision = store.last_sequence("pins", f"pin/{label}") + 1
    row = {
        "label": label,
        "revision": revision,
        "versions": json.dumps(versions),
        "held": held,
        "pinned_at": datetime.now(UTC),
    }
    if not store.append("pins", pl.DataFrame([row]), producer=f"pin/{label}", sequence=revision):
        raise StoreError(f"pin {label} was changed by another process at this moment; look, and try again")
