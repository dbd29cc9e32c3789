"""Events: what a labelling tells the server, and the thresholds at which it sets something off.

Every labelling that adds verdicts emits `spo.labelled` with its counts. A `[[when]]` of a schedule file keeps its threshold and
the number of verdicts at which it was last reached in a Prefect variable; the labelling that reaches it again emits
`spo.threshold`, on which the server's automation starts a deployment. A labelling killed between its last append and the event
loses nothing: the next one counts from the same number. A threshold may thus be announced twice, never be forgotten.
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
PREFIX = "spo_when_"


class Threshold(BaseModel):
    """`[[when]]` as the server keeps it: `seen` verdicts of the store were there when it was last reached."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str
    store: str
    labelled_rows: int
    run: str
    seen: int


def announce_labelled(store: str, counts: dict[str, int]) -> list[str]:
    """Emit what a labelling that added verdicts did, and the thresholds that are reached now. Returns the names of these."""
    opened = Store(store)
    total = opened.statistics("verdicts").rows
    emit_event(
        LABELLED,
        {"prefect.resource.id": resource_of(opened.location)},
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
            keep(threshold.model_copy(update={"seen": total}))
            reached.append(threshold.name)
    return reached


def thresholds() -> list[Threshold]:
    return list(kept().values())


def kept() -> dict[str, Threshold]:
    """Thresholds by the names of their variables."""
    with get_client(sync_client=True) as client:
        return {
            v.name: Threshold.model_validate(v.value)
            for v in client.read_variables()
            if v.name.startswith(PREFIX)
        }


def watch(name: str, store: str, labelled_rows: int, run: str) -> None:
    """Have the server keep a threshold; one that is there already goes on counting from where it was."""
    opened = Store(store)
    seen = next((t.seen for t in thresholds() if t.name == name and t.store == opened.location), None)
    now = opened.statistics("verdicts").rows if seen is None else seen
    keep(Threshold(name=name, store=opened.location, labelled_rows=labelled_rows, run=run, seen=now))


def forget_others(names: set[str], store: str) -> None:
    """Delete the thresholds of a store that its schedule file no longer has."""
    with get_client(sync_client=True) as client:
        for variable, threshold in kept().items():
            if threshold.store == store and threshold.name not in names:
                client.delete_variable_by_name(variable)


def keep(threshold: Threshold) -> None:
    Variable.set(variable_name(threshold), threshold.model_dump(), tags=["spo"], overwrite=True)


def variable_name(threshold: Threshold) -> str:
    """Prefect takes lower-case letters, digits and underscores; the hash keeps names and stores apart."""
    digest = hashlib.blake2b(rule_id(threshold.name, threshold.store).encode(), digest_size=6).hexdigest()
    return f"{PREFIX}{re.sub('[^a-z0-9]+', '_', threshold.name.lower())[:80]}_{digest}"


def rule_id(name: str, store: str) -> str:
    return f"{resource_of(store)}.when.{name}"


def resource_of(store: str) -> str:
    return f"spo.store.{hashlib.blake2b(store.encode(), digest_size=8).hexdigest()}"
