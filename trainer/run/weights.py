"""Weights of sources that are changed during a run: `weights.jsonl` in its folder, which the loop reads."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.store import flush_file

WEIGHTS = "weights.jsonl"
logger = logging.getLogger(__name__)


class _Change(BaseModel):
    """A line of the file."""

    model_config = ConfigDict(extra="forbid", strict=True)
    weights: dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)] | None]
    asked_at: str | None = None


def change_weights(run_folder: Path, weights: dict[str, float | None]) -> None:
    """Change weights of a run from its next step on; None gives a source back to its schedule."""
    line = json.dumps({"weights": weights, "asked_at": datetime.now(UTC).isoformat()}) + "\n"
    with open(run_folder / WEIGHTS, "ab+") as file:
        if file.tell():
            file.seek(-1, 2)
            # A line that a kill or a full disk cut short must not take this one with it.
            line = line if file.read(1) == b"\n" else "\n" + line
        file.write(line.encode())
    flush_file(run_folder / WEIGHTS)


class WeightChanges:
    """The changes of a run's weights, read again at each step. Lines that are not changes of its sources are
    named in the log, once, and passed over.
    """

    def __init__(self, run_folder: Path, sources: Collection[str]):
        self._path, self._sources = run_folder / WEIGHTS, set(sources)
        self._named: set[tuple[int, bytes]] = set()
        self._unfinished: tuple[int, bytes] | None = None

    def now(self) -> dict[str, float]:
        """The weights that are changed now: all lines in order."""
        weights: dict[str, float | None] = {}
        *lines, last = self._path.read_bytes().split(b"\n") if self._path.is_file() else [b""]
        for number, line in enumerate(lines, start=1):
            try:
                weights |= self._change(line)
            except ValueError as error:
                self._name(number, line, str(error))
        self._check_unfinished(len(lines) + 1, last)
        return {name: weight for name, weight in weights.items() if weight is not None}

    def _change(self, line: bytes) -> dict[str, float | None]:
        """Raises ValueError with the reason why a line is not a change."""
        try:
            change = _Change.model_validate_json(line)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise ValueError(f"{where}: {first['msg']}" if where else first["msg"]) from error
        if unknown := sorted(change.weights.keys() - self._sources):
            raise ValueError(
                f"{unknown[0]!r} is not a source of this run; there are: {', '.join(sorted(self._sources))}"
            )
        return change.weights

    def _check_unfinished(self, number: int, line: bytes) -> None:
        """A last line without its end may still be written; one that stays so was cut short."""
        if line and self._unfinished == (number, line):
            self._name(number, line, "cut short")
        self._unfinished = (number, line)

    def _name(self, number: int, line: bytes, reason: str) -> None:
        if (number, line) not in self._named:
            self._named.add((number, line))
            logger.warning(
                "%s, line %d: not a change of weights, passed over: %s", self._path, number, reason
            )
