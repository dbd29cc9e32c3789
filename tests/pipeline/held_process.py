"""A process on a store that stops at one point of its work until it gets a line:
`held_process.py append|compact POINT LOCATION [OPTIONS]`. It prints `held` there, and
at the end what its call returned.

POINT: `commit` is before the log is touched, `flush` and `link` are within the commit to a log on a disk.
"""

import json
import os
import sys

from store_worker import batch

from pipeline.store import Store, disk_log

work, point, location, *options = sys.argv[1:]
store = Store(location, json.loads(options[0]) if options else None)
store.version("trajectories")
positions = {
    "commit": (store.log("trajectories"), "commit"),
    "flush": (disk_log, "flush_all"),
    "link": (os, "link"),
}
owner, name = positions[point]
original = getattr(owner, name)


def held(*arguments, **named):
    setattr(owner, name, original)
    print("held", flush=True)
    sys.stdin.readline()
    return original(*arguments, **named)


setattr(owner, name, held)
if work == "append":
    print(store.append("trajectories", batch("held", 0, 20), producer="held", sequence=0))
else:
    print(store.maintain("trajectories").files_after)
