"""How many processors this process may use, and whether others use them already."""

from __future__ import annotations

import math
import os
from pathlib import Path

CGROUP_V2 = Path("/sys/fs/cgroup")
CGROUP_V1 = Path("/sys/fs/cgroup/cpu")
OWN_GROUP = Path("/proc/self/cgroup")
# Runnable processes per processor from which work that waits for all of its threads is many times slower.
BUSY = 1.5


def usable_processors() -> int:
    """Processors that the affinity and the control groups of this process leave to it, one at least."""
    allowed = len(os.sched_getaffinity(0))
    quotas = [quota for folder in control_groups() if (quota := quota_of(folder)) is not None]
    return max(1, min([allowed, *(math.ceil(quota) for quota in quotas)]))


def control_groups() -> list[Path]:
    """Folders of the control groups of this process that may limit its CPU time, and of those above them."""
    folders = [CGROUP_V2, CGROUP_V1]
    try:
        lines = OWN_GROUP.read_text().splitlines()
    except OSError:
        return folders
    for line in lines:
        _, controllers, path = line.split(":", 2)
        root = CGROUP_V2 if not controllers else CGROUP_V1 if "cpu" in controllers.split(",") else None
        if root is not None:
            own = root / path.lstrip("/")
            folders += [folder for folder in (own, *own.parents) if folder.is_relative_to(root)]
    return folders


def quota_of(folder: Path) -> float | None:
    """The processors' time that a control group has, in processors; None where it sets no limit."""
    try:
        if (limit := folder / "cpu.max").exists():
            quota, period = limit.read_text().split()
            return None if quota == "max" else int(quota) / int(period)
        quota, period = ((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return None if int(quota) <= 0 else int(quota) / int(period)
    except (OSError, ValueError):
        return None


def overload() -> str:
    """What to say where others use the processors already; empty if they do not."""
    load, count = os.getloadavg()[0], usable_processors()
    if load <= BUSY * count:
        return ""
    return (
        f"{load:.0f} processes want to run on {count} processors: work takes many times as long where its"
        " threads wait for each other; set OMP_NUM_THREADS=1, or wait until the machine has less to do"
    )
