"""`metrics.jsonl`, the log of a run: a line per step, from which steps are replayed after a run was stopped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pipeline.store import flush_file, write_whole
from trainer.run.checks import TrainingError

LOG = "metrics.jsonl"
REPLAY = "replay.jsonl"  # lines that a resumed run repeats and has not reached again


class RunLog:
    """Writes the lines, and TensorBoard's event files where they are asked for. `enabled` is False on all
    ranks but 0.
    """

    def __init__(self, folder: Path, first_step: int, *, tensorboard: bool = False, enabled: bool = True):
        self._file = open(folder / LOG, "a") if enabled else None  # noqa: SIM115 (closed by __exit__)
        self._board = _board_writer(folder, first_step) if tensorboard and enabled else None

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, *_: object) -> None:
        for target in (self._file, self._board):
            if target:
                target.close()

    def write(self, figures: dict) -> None:
        """Add the line of a step."""
        if self._file:
            self._file.write(json.dumps(figures) + "\n")
            self._file.flush()
        if self._board:
            for name, value in _scalars(figures):
                self._board.add_scalar(name, value, figures["step"])


def flush_log(folder: Path) -> None:
    """A checkpoint resumes after the lines before it: a power cut must not take them and leave the
    checkpoint.
    """
    if (folder / LOG).exists():
        flush_file(folder / LOG)


def truncate_log(folder: Path, first_step: int) -> dict[int, dict[str, Any]]:
    """Drop the lines from `first_step` on, and one that a kill cut short; returns the lines that were
    dropped, by step.

    They stay in REPLAY beside the log until the run is done, because a run may be killed again before it is
    as far.
    """
    log, replay = folder / LOG, folder / REPLAY
    lines = _lines(log)
    dropped = {line["step"]: line for line in [*_lines(replay), *lines] if line["step"] >= first_step}
    if dropped:
        write_whole(replay, "".join(json.dumps(line) + "\n" for _, line in sorted(dropped.items())))
    write_whole(log, "".join(json.dumps(line) + "\n" for line in lines if line["step"] < first_step))
    return dropped


def forget_replay(folder: Path) -> None:
    """A run that is done repeats nothing."""
    (folder / REPLAY).unlink(missing_ok=True)


def _lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a log up to one that a kill cut short; none where there is no file."""
    lines = []
    for text in path.read_text().splitlines() if path.exists() else []:
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            break
    return lines


def _board_writer(folder: Path, first_step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise TrainingError(
            f"tensorboard needs the extra `tensorboard` ({error.name} is missing): pip install 'spo[tensorboard]'"
        ) from error
    return SummaryWriter(str(folder / "tensorboard"), purge_step=first_step)


def _scalars(figures: dict, prefix: str = "") -> list[tuple[str, float]]:
    """The numbers of a log line under names with slashes; table versions are excluded."""
    scalars = []
    for name, value in figures.items():
        if isinstance(value, dict) and name != "watermark":
            scalars += _scalars(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and name != "step":
            scalars.append((prefix + name, float(value)))
    return scalars
