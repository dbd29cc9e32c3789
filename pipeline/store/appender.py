"""Appends of a producer that must be one process at a time, such as a pass of deduplication."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from pipeline.store.errors import StoreError

if TYPE_CHECKING:
    import polars as pl


class Appends(Protocol):
    """What is needed of a `Store`."""

    def append(self, name: str, rows: pl.DataFrame, *, producer: str, sequence: int) -> bool: ...
    def last_sequence(self, name: str, producer: str) -> int: ...


class Appender:
    """Appends to some tables as the only process of a producer. Make it before reading what the tables lack:
    every commit of another process of this producer that came since is found at the next append.
    """

    def __init__(self, store: Appends, producer: str, *names: str):
        self.store, self.producer = store, producer
        self.sequences = {name: store.last_sequence(name, producer) for name in names}

    def append(self, name: str, rows: pl.DataFrame) -> None:
        """Append rows to one of the tables. Raises StoreError, and adds nothing, if another process has
        appended for this producer since: its rows may be the same.
        """
        if not rows.height:
            return
        sequence = self.sequences[name] + 1
        if not self.store.append(name, rows, producer=self.producer, sequence=sequence):
            raise self._overtaken(name)
        self.sequences[name] = sequence

    def check(self) -> None:
        """Raise StoreError if another process has appended for this producer since."""
        for name, sequence in self.sequences.items():
            if self.store.last_sequence(name, self.producer) != sequence:
                raise self._overtaken(name)

    def _overtaken(self, name: str) -> StoreError:
        return StoreError(
            f"{name}: another process appended as {self.producer} at the same time; what it wrote holds, and"
            " nothing is written twice: try again"
        )
