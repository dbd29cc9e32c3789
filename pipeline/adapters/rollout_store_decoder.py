"""Decoder process for a RolloutStore: prints its records as JSON lines.

    python rollout_store_decoder.py FOLDER MEMORY_BYTES CPU_S

The package's native code reads a file of unknown origin, so it runs here, with limits and on a copy: opening
a store writes to it. Imports nothing of this project.
"""

from __future__ import annotations

import json
import resource
import sys

AT_ONCE = 500


def main(folder: str, memory_bytes: int, cpu_s: int) -> None:
    from lance_context import RolloutStore

    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s))
    store = RolloutStore.open(folder)
    store.flush()
    offset = 0
    while records := store.list(limit=AT_ONCE, offset=offset):
        for record in records:
            print(json.dumps(record, default=str))
        offset += len(records)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
