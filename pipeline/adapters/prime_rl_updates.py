"""Files of a run of prime-rl beside its episodes, and the updates that they have for traces
(`src/prime_rl/monitors/file`, commit 048a6e2).

Below `monitors/file/traces/` are `stream/<n>.jsonl` (older: `stream.jsonl`; sealed ones `.zst`) with the
episodes, `stream.index.jsonl`, and `annotations/<producer>/<n>.jsonl` (older: `annotations/<producer>.jsonl`)
with updates {version, trace_id, info, branches}: what was learned after a trace arrived. `info` is merged
into that of the trace, the newest last, as prime-rl's own readers do. The token streams in `branches`
(advantages, the trainer's log-probabilities, entropies) belong to the training step, not to the sample, and
are counted.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from pipeline.adapters import SourceFile
from pipeline.adapters.lines import JsonRow, json_rows

ANNOTATIONS = "annotations"
NOT_USED = "token streams of annotations (advantages, the trainer's log-probabilities): not used"


def with_updates(files: list[SourceFile]) -> list[SourceFile]:
    """The files of episodes, each with the annotations of its run as companions."""
    kinds = {file.name: kind_of(file.name) for file in files}
    episodes = [file for file in files if kinds[file.name] == "episodes"]
    if not episodes:
        return files
    skipped = Counter(f"files of {kind}" for kind in kinds.values() if kind != "episodes")
    updates: dict[str, list[SourceFile]] = {}
    for file in files:
        if kinds[file.name] == ANNOTATIONS:
            updates.setdefault(traces_folder(file.name), []).append(file)
    joined_files = [joined(file, updates.get(traces_folder(file.name), [])) for file in episodes]
    joined_files[0].skipped = files[0].skipped + skipped
    return joined_files


def kind_of(name: str) -> str:
    """What a file of a run has: episodes, annotations, or something that is not read."""
    path = PurePosixPath(name)
    if ".index.jsonl" in path.name:
        return "indices"
    if path.name.startswith("metrics.jsonl"):
        return "metrics"
    if ANNOTATIONS in path.parts[1:-1]:
        return ANNOTATIONS
    return "live traces" if "live" in path.parts[1:-1] else "episodes"


def traces_folder(name: str) -> str:
    """The folder that has `stream` and `annotations`."""
    parts = PurePosixPath(name).parts[:-1]
    for part in (ANNOTATIONS, "stream"):
        if part in parts:
            parts = parts[: parts.index(part)]
    return "/".join(parts)


def joined(file: SourceFile, updates: list[SourceFile]) -> SourceFile:
    if not updates:
        return file
    options = file.options | {"annotations": [one.sha256 for one in updates]}
    return replace(file, options=options, companions=tuple(one.path for one in updates))


class Updates:
    """The `info` of the updates by trace, in a temporary database: there may be more than fit into memory."""

    def __init__(self, file: SourceFile):
        self._database = sqlite3.connect("")
        self._database.execute("create table updates (trace_id text, info text)")
        for path in file.companions:
            stored = SourceFile(path, PurePosixPath(path).name, "", 0, roots=file.roots)
            for row in json_rows(stored):
                if isinstance(row, JsonRow):
                    self._add(row.value, file)
        self._database.execute("create index by_trace on updates (trace_id)")

    def _add(self, update: dict[str, Any], file: SourceFile) -> None:
        if update.get("branches"):
            file.notes[NOT_USED] += 1
        if isinstance(update.get("info"), dict) and update["info"]:
            values = str(update.get("trace_id")), json.dumps(update["info"])
            self._database.execute("insert into updates values (?, ?)", values)

    def apply(self, trace: dict[str, Any]) -> None:
        """Merge the updates of a trace into its `info`, in the order in which they were written."""
        cursor = self._database.execute(
            "select info from updates where trace_id = ? order by rowid", (str(trace.get("id")),)
        )
        for (text,) in cursor.fetchall():
            trace["info"] = merged(trace.get("info") or {}, json.loads(text))

    def close(self) -> None:
        self._database.close()


def merged(old: Any, new: Any) -> Any:
    """Objects key by key, the new value elsewhere."""
    if isinstance(old, dict) and isinstance(new, dict):
        return {**old, **{key: merged(old.get(key), value) for key, value in new.items()}}
    return new
