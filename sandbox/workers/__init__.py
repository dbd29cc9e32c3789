"""Workers: a pool of processes that judge in parallel (`pool.py`), and what each one runs (`worker.py`)."""

from sandbox.workers.pool import Pool, default_cache, judge_version

__all__ = ["Pool", "default_cache", "judge_version"]
