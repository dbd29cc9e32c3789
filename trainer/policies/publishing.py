"""Published policies: how a run publishes its policy during training, and how others look it up in the store.

A run publishes RUN@STEP in the table `policies`; the weights are in the run's folder as `policy-<step>/`,
written before the row. The last few weights are kept, and older ones that an evaluation or a pin with the
label `policy/<policy_id>` refers to. Rows in `policies` are never deleted: samples refer to them.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from pipeline.store import Policies, Store
from trainer.policies.policy import Policy, load_policy
from trainer.policies.sealed import numbered, remove_folder, step_number

POLICY = "policy"  # folders of a run: policy-<step>
PIN = "policy/"  # a pin under this and a policy's id keeps its weights


class PolicyNotFound(LookupError):
    """No policy by that name; the message lists known ones."""


@dataclass(frozen=True)
class PublishedPolicy:
    """A row of `policies` and the folder of its weights; `folder` is None if only a server has them."""

    policy_id: str
    folder: Path | None
    run_id: str | None
    step: int | None
    parent_id: str | None

    def load(self) -> Policy:
        if self.folder is None:
            raise PolicyNotFound(f"policy {self.policy_id} has no weights here")
        return load_policy(self.folder)


@dataclass(frozen=True)
class Publisher:
    """Publishes the policies of one run. A step is published once, even if a killed run repeats it."""

    store: Store
    run_id: str
    parent_id: str | None
    keep: int

    def policy_id(self, step: int) -> str:
        return f"{self.run_id}@{step}"

    def is_published(self, step: int) -> bool:
        return self.policy_id(step) in self.store.read("policies", ["policy_id"])["policy_id"].to_list()

    def publish(self, step: int, folder: Path) -> None:
        """Record the policy in `folder`, and delete weights that are no longer needed."""
        publish_policy(
            self.store,
            load_policy(folder),
            folder.resolve(),
            policy_id=self.policy_id(step),
            parent_id=self.parent_id,
            run_id=self.run_id,
            step=step,
        )
        self.prune(folder.parent)

    def prune(self, run_folder: Path) -> list[Path]:
        """Delete the weights of old policies in the run's folder; returns the deleted folders."""
        rows = self.store.read("evaluations", ["policy_id", "run_id", "step"])
        # The run's own evaluations, which name the step, are its validation: they need no weights again.
        own_validation = (pl.col("run_id") == self.run_id) & pl.col("step").is_not_null()
        evaluated = set(rows.filter(~own_validation.fill_null(False))["policy_id"])
        pinned = {label.removeprefix(PIN) for label in self.store.pinned() if label.startswith(PIN)}
        published = set(self.store.read("policies", ["policy_id"])["policy_id"])
        own = [f for f in numbered(run_folder, POLICY) if self.policy_id(step_number(f)) in published]
        deleted = [f for f in own[: -self.keep] if self.policy_id(step_number(f)) not in evaluated | pinned]
        for folder in deleted:
            remove_folder(folder)
        return deleted


def newest_policy(store: Store, run_id: str) -> PublishedPolicy | None:
    """The last published policy of a run whose weights exist; None before the first."""
    rows = store.read("policies").filter((pl.col("run_id") == run_id) & pl.col("step").is_not_null())
    for row in rows.sort("step", "policy_id", descending=True).iter_rows(named=True):
        if has_weights(row["folder"]):
            return _published(row)
    return None


def newest_published(store: Store) -> PublishedPolicy:
    """The last published policy of any run whose weights exist. Raises PolicyNotFound."""
    rows = store.read("policies").sort("created_at", descending=True)
    for row in rows.iter_rows(named=True):
        if has_weights(row["folder"]):
            return _published(row)
    raise PolicyNotFound(
        f"no policy with weights in {store.location}; {rows.height} are recorded without;"
        " train one with `spo train`"
    )


def is_finished(store: Store, run_id: str) -> bool:
    """Whether the run has published its final policy, which has the run's own name."""
    return run_id in store.read("policies", ["policy_id"])["policy_id"].to_list()


def find_policy(store: Store, name: str) -> PublishedPolicy:
    """A policy by its id, a run by its newest policy, or a policy's folder, which is published under its path
    if it is new.

    Raises PolicyNotFound.
    """
    rows = store.read("policies").sort("created_at")
    named = rows.filter(pl.col("policy_id") == name)
    if named.height:
        row = named.row(0, named=True)
        if not has_weights(row["folder"]):
            place = f"no longer in {row['folder']}" if row["folder"] else "not kept"
            raise PolicyNotFound(f"policy {name} is published, but its weights are {place}")
        return _published(row)
    if newest := newest_policy(store, name):
        return newest
    folder = Path(name)
    if has_weights(name):
        recorded = rows.filter(pl.col("folder").is_in([name, str(folder), str(folder.resolve())]))
        if recorded.is_empty():
            publish_policy(store, load_policy(folder), folder.resolve(), policy_id=name.strip("/"))
            return find_policy(store, name.strip("/"))
        return _published(recorded.row(0, named=True))
    known = ", ".join(rows["policy_id"].tail(8)) or "none"
    raise PolicyNotFound(f"no policy, run or folder {name}; published last: {known}")


def has_weights(folder: str | Path) -> bool:
    """Whether a folder holds a model; the empty string names none."""
    return bool(str(folder)) and (Path(folder) / "config.json").is_file()


def _published(row: dict[str, Any]) -> PublishedPolicy:
    return PublishedPolicy(
        row["policy_id"], Path(row["folder"]), row["run_id"], row["step"], row["parent_id"]
    )


def publish_policy(
    store: Store,
    policy: Policy,
    folder: Path | None,
    *,
    policy_id: str,
    parent_id: str | None = None,
    run_id: str | None = None,
    step: int | None = None,
    details: dict | None = None,
) -> None:
    """Record a policy that is saved in `folder` (None: nowhere), once; raises ValueError if the name
    belongs to other weights.
    """
    fingerprint = policy.fingerprint()
    known = store.read("policies", ["policy_id", "details"]).filter(pl.col("policy_id") == policy_id)
    if known.height:
        changed = [
            k for k, v in json.loads(known["details"][0])["fingerprint"].items() if fingerprint.get(k) != v
        ]
        if changed:
            raise ValueError(
                f"policy {policy_id} is already published with another {changed[0]};"
                " publish it under another name"
            )
        return
    row = {
        "policy_id": policy_id,
        "fingerprint": digest(fingerprint),
        "parent_id": parent_id,
        "run_id": run_id,
        "step": step,
        "folder": str(folder or ""),
        "details": json.dumps({"fingerprint": fingerprint, **(details or {})}, sort_keys=True),
        "created_at": datetime.now(UTC),
    }
    frame = pl.DataFrame([row], schema=Policies.create_empty().schema)
    store.append("policies", frame, producer=f"policy/{policy_id}", sequence=0)


def digest(fingerprint: dict[str, str]) -> str:
    return hashlib.blake2b(json.dumps(fingerprint, sort_keys=True).encode(), digest_size=12).hexdigest()
