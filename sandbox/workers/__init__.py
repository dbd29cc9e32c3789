"""Workers: a pool of processes that judge in parallel (`pool.py`), and what each one runs (`worker.py`)."""

from sandbox.workers.pool import Pool, Result, default_cache, judge_version

__all__ = ["Pool", "Result", "default_cache", "judge_version"]
