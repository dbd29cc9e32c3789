"""`metrics.jsonl`, the log of a run: a line per step, from which a resumed run replays its steps."""

from __future__ import annotations

import contextlib
import json
import logging
import math
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from pipeline.store import flush_file, write_whole
from trainer.run.disk_full import full_disk_named
from trainer.run.loggers import Logger, Sample, scalars_of

LOG = "metrics.jsonl"
REPLAY = "replay.jsonl"  # lines that a resumed run repeats and has not reached again
REJECTED = "rejected.jsonl"  # lines in LOG or REPLAY that are not of the run
Lines = dict[int, dict[str, Any]]  # by step
logger = logging.getLogger(__name__)


class RunLog:
    """Writes the lines, and passes their figures to `loggers`, but those of steps that were `sent`
    before only to loggers that replace them. `enabled` is False on all ranks but 0.
    """

    def __init__(
        self,
        folder: Path,
        *,
        loggers: Sequence[Logger] = (),
        sent: Collection[int] = (),
        enabled: bool = True,
    ):
        self._file = open(folder / LOG, "a") if enabled else None  # noqa: SIM115 (closed by __exit__)
        self._loggers, self._sent = loggers, frozenset(sent)

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, error_type: type[BaseException] | None, *_: object) -> None:
        for target in (self._file, *self._loggers):
            if target:
                # After a failed write the file fails again, and would hide which one it was.
                with contextlib.suppress(OSError) if error_type else contextlib.nullcontext():
                    target.close()

    def write(self, figures: dict) -> None:
        """Add the line of a step."""
        if self._file:
            with full_disk_named(self._file.name):
                self._file.write(json.dumps(figures) + "\n")
                self._file.flush()
        scalars = scalars_of(figures) if self._loggers else {}
        for logger in self._that_take(figures["step"]):
            logger.log(figures["step"], scalars)

    def write_samples(self, step: int, samples: Sequence[Sample]) -> None:
        """Pass some completions of the policy of a step to the loggers."""
        for logger in self._that_take(step) if samples else ():
            logger.log_samples(step, samples)

    def _that_take(self, step: int) -> list[Logger]:
        return [logger for logger in self._loggers if logger.replaces or step not in self._sent]


def flush_log(folder: Path) -> None:
    """A checkpoint resumes after the lines before it: a power cut must not take them and leave the
    checkpoint.
    """
    if (folder / LOG).exists():
        flush_file(folder / LOG)


def truncate_log(folder: Path, first_step: int, steps: int, sources: Collection[str]) -> Lines:
    """Drop the lines from `first_step` on; returns those that were dropped, by step.

    They stay in REPLAY beside the log until the run is done, because a run may be killed again before it is
    as far. A line that is not of this run (of `steps` steps and these `sources`) is named and passed over:
    it goes to REJECTED as it is. A step whose line is lost is repeated as the step before was.
    """
    log, replay = folder / LOG, folder / REPLAY
    logged, rejected = _read(log, steps, sources)
    remembered, rejected_too = _read(replay, steps, sources)
    if rejected or rejected_too:
        with open(folder / REJECTED, "ab") as file:
            file.writelines(line + b"\n" for line in (*rejected, *rejected_too))
        flush_file(folder / REJECTED)
    known = {**remembered, **logged}
    dropped = {step: line for step, line in known.items() if step >= first_step}
    if dropped:
        write_whole(replay, _text(dropped))
    write_whole(log, _text({step: line for step, line in logged.items() if step < first_step}))
    return {**dropped, **_lost(known, first_step)}


def _lost(known: Lines, first_step: int) -> Lines:
    """Lines in place of those that are lost before the last step: watermark and weights as of the step
    before.
    """
    lost: Lines = {}
    for step in range(max(first_step, min(known, default=0)), max(known, default=0)):
        if step not in known:
            before = max(other for other in known if other < step)
            lost[step] = {**known[before], "step": step}
            logger.warning(
                "step %d has no line in %s; it is repeated with the store and the weights of step %d",
                step, LOG, before,
            )  # fmt: skip
    return lost


def steps_done(folder: Path) -> int:
    """Number of steps in the log; the last may be below the configured one if the run ended early."""
    lines = (folder / LOG).read_bytes().splitlines()
    return int(json.loads(lines[-1])["step"]) + 1


def forget_replay(folder: Path) -> None:
    """A run that is done repeats nothing."""
    (folder / REPLAY).unlink(missing_ok=True)


def _read(path: Path, steps: int, sources: Collection[str]) -> tuple[Lines, list[bytes]]:
    """The lines of a log by step, and those that are not of this run, named in the log of this process."""
    lines: Lines = {}
    rejected = []
    content = path.read_bytes() if path.is_file() else b""
    for number, text in enumerate(content.split(b"\n"), start=1):
        if not text and number > content.count(b"\n"):
            break
        try:
            line = _line(text, steps, sources)
        except (ValueError, RecursionError) as error:
            cut = number > content.count(b"\n")
            reason = "cut short" if cut else error
            logger.warning("%s, line %d: not a step of this run, passed over: %s", path, number, reason)
            rejected.append(text)
        else:
            lines[line["step"]] = line
    return lines, rejected


def _line(text: bytes, steps: int, sources: Collection[str]) -> dict[str, Any]:
    """Raises ValueError with the reason why a line is not one of a run."""
    line = json.loads(text)
    if not isinstance(line, dict):
        raise ValueError("not an object")
    if missing := [name for name in ("step", "watermark", "overrides") if name not in line]:
        raise ValueError(f"{missing[0]} is missing")
    step, watermark, overrides = line["step"], line["watermark"], line["overrides"]
    if not _is_count(step) or step >= steps:
        raise ValueError(f"step is {step!r}, not a number from 0 to {steps - 1}")
    if not isinstance(watermark, dict) or not all(type(version) is int for version in watermark.values()):
        raise ValueError("watermark has something else than a version for each table")
    if not isinstance(overrides, dict) or not all(map(_is_weight, overrides.values())):
        raise ValueError("overrides has something else than a weight for each source")
    if unknown := sorted(overrides.keys() - set(sources)):
        raise ValueError(f"overrides names {unknown[0]!r}, which is not a source of this run")
    return line


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_weight(value: object) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and 0 <= value < math.inf  # type: ignore[operator]


def _text(lines: Lines) -> str:
    return "".join(json.dumps(line) + "\n" for _, line in sorted(lines.items()))
