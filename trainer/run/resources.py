"""How a training process uses the processors and the memory of its machine."""

from __future__ import annotations

import ctypes
from contextlib import suppress

import torch

from sandbox import usable_processors

# Parameters of mallopt(3), as in glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
KEPT_BYTES = 256 << 20
LARGEST_FROM_HEAP = 1 << 30


def limit_threads() -> None:
    """Use no more threads than the control group of this process leaves it processors: a step waits for all
    of its threads, and torch counts those of the machine.
    """
    if torch.get_num_threads() > usable_processors():
        torch.set_num_threads(usable_processors())


def keep_freed_memory() -> None:
    """Let glibc keep up to KEPT_BYTES of freed memory for the next step. Else each large tensor on a CPU is
    mapped anew, and its pages are cleared by the kernel: a sixth of the time of a step of a small policy.
    Other C libraries are left as they are.
    """
    with suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_THRESHOLD, LARGEST_FROM_HEAP)
        mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
