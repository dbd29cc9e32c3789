"""Checks of the whole store, asked for on its page: `spo store check` and `spo store ledger`.

They may take long, so each runs in a process of its own with a low priority, one at a time, and its result is
remembered while the explorer runs. The process ends with the explorer.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field, replace
from typing import Any

from flows.view.search import end_with_input
from pipeline.store import Store, StoreError, check_ledger, check_store

# What a check looks at, by the name in a URL: title, command, and what it does.
CHECKS = {
    "rows": ("Rows", "spo store ledger", "rows twice or lost, and judge errors that have a reward"),
    "files": ("Files", "spo store check", "every byte against the hashes of the commits; contracts; pins"),
}
SHOWN_FAULTS = 200


@dataclass(frozen=True)
class Outcome:
    """How far a check is. `looking_at` is the table in turn while it runs; `faults` are lines; `fault` is why
    the check itself did not end.
    """

    begun_s: float
    looking_at: str | None = ""
    ended_s: float = 0.0
    faults: list[str] = field(default_factory=list)
    count: int = 0
    summary: str = ""
    fault: str | None = None

    @property
    def runs(self) -> bool:
        return self.looking_at is not None

    @property
    def seconds(self) -> float:
        return (time.time() if self.runs else self.ended_s) - self.begun_s


class Checking:
    """Starts checks of one store, and has their outcomes. Safe for threads."""

    def __init__(self, location: str) -> None:
        self.location = location
        self._outcomes: dict[str, Outcome] = {}
        self._lock = threading.Lock()

    def outcomes(self) -> dict[str, Outcome]:
        with self._lock:
            return dict(self._outcomes)

    @property
    def state(self) -> tuple[str, bool]:
        """A text that changes when a page of the outcomes would, and whether no check runs."""
        outcomes = self.outcomes()
        parts = (f"{kind}-{one.begun_s}-{one.looking_at}" for kind, one in outcomes.items())
        return ".".join(parts), not any(one.runs for one in outcomes.values())

    def start(self, kind: str) -> None:
        """Begin a check, unless one runs. Raises KeyError for an unknown one."""
        CHECKS[kind]
        with self._lock:
            if any(one.runs for one in self._outcomes.values()):
                return
            self._outcomes[kind] = Outcome(time.time())
        threading.Thread(target=self._follow, args=(kind,), daemon=True).start()

    def _follow(self, kind: str) -> None:
        command = [sys.executable, "-P", "-c", f"from {__name__} import main; main()", self.location, kind]
        faults, summary, fault = [], "", "it ended without a result"
        # It ends when this end of its input is closed, however this process ends.
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        ) as process:
            assert process.stdout
            for line in process.stdout:
                said = json.loads(line)
                if "looking_at" in said:
                    self._set(kind, replace(self._outcomes[kind], looking_at=said["looking_at"]))
                else:
                    faults, summary, fault = said["faults"], said["summary"], said["fault"]
        done = replace(self._outcomes[kind], looking_at=None, ended_s=time.time(), summary=summary)
        self._set(kind, replace(done, faults=faults[:SHOWN_FAULTS], count=len(faults), fault=fault))

    def _set(self, kind: str, outcome: Outcome) -> None:
        with self._lock:
            self._outcomes[kind] = outcome


def checked(location: str, kind: str) -> dict[str, Any]:
    """The faults as lines, and a summary. Raises StoreError."""
    store = Store(location)
    if kind == "rows":
        _say(looking_at="all tables")
        ledger = check_ledger(store)
        faults = [f"{what}: {rows:,} rows" for what, rows in ledger.details.items()]
        return {"faults": faults, "summary": "keys, batches, rounds of workers, rewards of judge errors"}
    report = check_store(store, lambda table: _say(looking_at=table))
    faults = [f"{one.table or 'store'}: {one.kind}: {one.where}: {one.what}" for one in report.findings]
    parts = [
        f"{report.entries:,} log entries", f"{report.files:,} files", f"{report.rows:,} rows",
        *([f"{report.without_hash:,} files have no hash"] if report.without_hash else []),
        *([f"{report.uncommitted:,} files of no commit"] if report.uncommitted else []),
        *([] if report.references_checked else ["references not checked: tables cannot be read"]),
    ]  # fmt: skip
    return {"faults": faults, "summary": ", ".join(parts), "bytes": report.bytes}


def _say(**what: Any) -> None:
    print(json.dumps(what), flush=True)


def main() -> None:
    location, kind = sys.argv[1:]
    os.nice(10)
    threading.Thread(target=end_with_input, args=(sys.stdin.fileno(),), daemon=True).start()
    try:
        _say(**checked(location, kind), fault=None)
    except StoreError as error:
        _say(faults=[], summary="", fault=str(error))
