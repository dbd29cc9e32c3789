"""Records by a 16-byte key in a folder: sorted runs that are mapped into memory, so that a look-up touches
only the pages of its keys, whatever the number of records.

New records are a new run; runs of similar size are merged (log-structured merge tree, O'Neil et al. 1996).
The records are derived from a table, which stays the record: `note` says up to where, and whoever uses the
folder builds it again where that does not fit. A run is named after the hash of its content and compared with
it once per process, because a damaged run would give wrong answers. Processes take turns by a lock.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from pipeline.store.data_files import content_hash
from pipeline.store.files import write_whole
from pipeline.store.private_folder import open_regular

KEY_TYPE = "S16"
# A run of this many records is not merged again, which bounds the cost of one call.
LARGEST_RUN = 1_000_000
STATE = "runs.json"
NAME = re.compile(r"[0-9a-f]{32}-(?P<hash>[0-9a-f]{32})\.run")
_compared: set[str] = set()


class KeyRuns:
    """Records of one type, whose first field is `key`, of KEY_TYPE. Use it within `locked`; what `find`
    needs is then mapped, and stays usable.
    """

    def __init__(self, folder: Path, fields: np.dtype[Any], form: str):
        """`form` names what the records mean; records of another form are dropped."""
        self.folder, self.fields, self.form = folder, fields, form
        self.note: dict[str, Any] = {}
        self._runs: list[tuple[str, np.ndarray]] = []

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Be the only process that reads and changes the folder; loads its present state."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with os.fdopen(open_regular(self.folder / "lock", os.O_RDWR), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._load()
            yield

    def __len__(self) -> int:
        return sum(len(run) for _, run in self._runs)

    def clear(self) -> None:
        """Forget all records; what follows is built again."""
        self.note, self._runs = {}, []

    def add(self, records: np.ndarray) -> None:
        """Add records; `save` makes them last."""
        if not len(records):
            return
        parts = [records]
        while (
            self._runs
            and len(self._runs[-1][1]) < 2 * sum(map(len, parts))
            and len(self._runs[-1][1]) + sum(map(len, parts)) <= LARGEST_RUN
        ):
            parts.append(self._runs.pop()[1])
        run = np.concatenate(parts)
        self._runs.append(self._write(run[np.argsort(run["key"], kind="stable")]))

    def find(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(indices, records): for each key that is there, its index in `keys` and one of its records."""
        places, records = [np.zeros(0, np.int64)], [np.zeros(0, self.fields)]
        missing = np.arange(len(keys))
        for _, run in reversed(self._runs):
            place = np.minimum(np.searchsorted(run["key"], keys[missing]), len(run) - 1)
            candidates = run[place]
            equal = candidates["key"] == keys[missing]
            places.append(missing[equal])
            records.append(candidates[equal])
            missing = missing[~equal]
        return np.concatenate(places), np.concatenate(records)

    def contains(self, keys: np.ndarray) -> np.ndarray:
        """Whether each key is there, bool [len(keys)]."""
        contained = np.zeros(len(keys), dtype=bool)
        contained[self.find(keys)[0]] = True
        return contained

    def save(self) -> None:
        """Make the records and the note the folder's state, and delete runs that it no longer has."""
        names = [name for name, _ in self._runs]
        state = {"form": self.form, "runs": names, "note": self.note}
        write_whole(self.folder / STATE, json.dumps(state))
        for path in self.folder.glob("*.run"):
            if path.name not in names:
                path.unlink(missing_ok=True)

    def _load(self) -> None:
        self.clear()
        try:
            state = json.loads((self.folder / STATE).read_text())
            if state["form"] == self.form:
                self._runs = [(name, self._mapped(name)) for name in state["runs"]]
                self.note = dict(state["note"])
        except (OSError, ValueError, KeyError, TypeError):
            self.clear()

    def _mapped(self, name: str) -> np.ndarray:
        """A run by its name. Raises ValueError for one that is damaged, or is not the name of a run."""
        match, path = NAME.fullmatch(name), self.folder / name
        if match is None:
            raise ValueError(f"not the name of a run: {name!r}")
        if name not in _compared and content_hash(path) != match["hash"]:
            raise ValueError(f"{path} is damaged")
        _compared.add(name)
        return np.memmap(path, dtype=self.fields, mode="r")

    def _write(self, run: np.ndarray) -> tuple[str, np.ndarray]:
        content = np.ascontiguousarray(run)
        digest = xxhash.xxh3_128(content.tobytes()).hexdigest()
        name = f"{uuid.uuid4().hex}-{digest}.run"
        with open(self.folder / name, "wb") as file:
            content.tofile(file)
        _compared.add(name)
        return name, np.memmap(self.folder / name, dtype=self.fields, mode="r")
