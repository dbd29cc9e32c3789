"""Every key of a schedule file, from the models that read it."""

from __future__ import annotations

from flows.serving.schedule import Entry, Schedule, Spread, When
from trainer.run import Key, keys_of


def schedule_keys() -> list[Key]:
    """The keys of the file, of each kind of entry, and of events."""
    kinds = [*Entry.__subclasses__(), *Spread.__subclasses__()]
    entries = sorted((kind for kind in kinds if kind is not Spread), key=lambda kind: kind.stage)
    rows = list(keys_of(Schedule, ""))
    for kind in entries:
        rows += keys_of(kind, kind.stage)
    return [*rows, *keys_of(When, "when")]
