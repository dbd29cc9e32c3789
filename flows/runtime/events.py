"""Events that a labelling run emits, and the thresholds that start entries of a schedule.

A labelling run that adds verdicts emits `spo.labelled` with its counts. A `[[when]]` of a schedule file is
stored in a Prefect variable: its threshold, and the number of verdicts at which it was last reached. The run
that reaches it again emits `spo.threshold`, and an automation of the server starts the deployment. If a run
is killed between its last append and the event, the next run counts from the same number. So a threshold may
be announced twice, but it is never lost.
"""

from __future__ import annotations

import hashlib
import re

from prefect.client.orchestration import get_client
from prefect.events import emit_event
from prefect.variables import Variable
from pydantic import BaseModel, ConfigDict

from pipeline.store import Store

LABELLED, THRESHOLD = "spo.labelled", "spo.threshold"
_PREFIX = "spo_when_"


class Threshold(BaseModel):
    """A `[[when]]` as the server stores it. `seen`: number of verdicts when it was last reached."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str
    store: str
    labelled_rows: int
    run: str
    seen: int


def announce_labelled(store: str, counts: dict[str, int]) -> list[str]:
    """Emit the counts of a labelling run, and the thresholds that it reached. Returns the names of these."""
    opened = Store(store)
    total = opened.statistics("verdicts").rows
    emit_event(
        LABELLED,
        {"prefect.resource.id": _resource(opened.location)},
        payload={"rows": total, "verdicts": counts},
    )
    reached = []
    for threshold in thresholds():
        new = total - threshold.seen
        if threshold.store == opened.location and new >= threshold.labelled_rows:
            emit_event(
                THRESHOLD,
                {"prefect.resource.id": rule_id(threshold.name, threshold.store)},
                payload={"new_rows": new, "rows": total},
            )
            _save(threshold.model_copy(update={"seen": total}))
            reached.append(threshold.name)
    return reached


def thresholds() -> list[Threshold]:
    """All thresholds that the server stores."""
    return list(_thresholds_by_variable().values())


def _thresholds_by_variable() -> dict[str, Threshold]:
    with get_client(sync_client=True) as client:
        return {
            v.name: Threshold.model_validate(v.value)
            for v in client.read_variables()
            if v.name.startswith(_PREFIX)
        }


def watch(name: str, store: str, labelled_rows: int, run: str) -> None:
    """Store a threshold on the server. An existing one keeps its count."""
    opened = Store(store)
    seen = next((t.seen for t in thresholds() if t.name == name and t.store == opened.location), None)
    count = opened.statistics("verdicts").rows if seen is None else seen
    _save(Threshold(name=name, store=opened.location, labelled_rows=labelled_rows, run=run, seen=count))


def forget_others(names: set[str], store: str) -> None:
    """Delete the thresholds of a store that are no longer in its schedule file."""
    with get_client(sync_client=True) as client:
        for variable, threshold in _thresholds_by_variable().items():
            if threshold.store == store and threshold.name not in names:
                client.delete_variable_by_name(variable)


def _save(threshold: Threshold) -> None:
    Variable.set(_variable_name(threshold), threshold.model_dump(), tags=["spo"], overwrite=True)


def _variable_name(threshold: Threshold) -> str:
    """Prefect allows lower-case letters, digits and underscores; the hash keeps names and stores apart."""
    digest = hashlib.blake2b(rule_id(threshold.name, threshold.store).encode(), digest_size=6).hexdigest()
    return f"{_PREFIX}{re.sub('[^a-z0-9]+', '_', threshold.name.lower())[:80]}_{digest}"


def rule_id(name: str, store: str) -> str:
    """Id of the event resource that the automation of a `[[when]]` matches."""
    return f"{_resource(store)}.when.{name}"


def _resource(store: str) -> str:
    return f"spo.store.{hashlib.blake2b(store.encode(), digest_size=8).hexdigest()}"
