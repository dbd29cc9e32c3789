"""Policies that are published while a run goes on, and how others find them: by the store alone.

A run publishes RUN@STEP into `policies`; its weights lie in the run's folder as `policy-<step>/`, written
beside it and renamed, so that whoever finds the row finds the weights. The last few are kept, and of the
older ones those that an evaluation or a pin with the label `policy/<policy_id>` refers to. Rows in `policies`
stay: samples lead back to them.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from pipeline.store import Policies, Store
from trainer.policies.policy import Policy, load_policy

PIN = "policy/"  # a pin under this and a policy's id keeps its weights


class PolicyNotFound(LookupError):
    """No policy by that name; the message lists what there is."""


@dataclass(frozen=True)
class Found:
    """A published policy and the folder of its weights; `folder` is None for one that only a server has."""

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
    """Publishes the policies of one run. A step is published once, however often a killed run comes by it
    again.
    """

    store: Store
    run_id: str
    parent_id: str | None
    keep: int

    def policy_id(self, step: int) -> str:
        return f"{self.run_id}@{step}"

    def is_published(self, step: int) -> bool:
        return self.policy_id(step) in self.store.read("policies", ["policy_id"])["policy_id"].to_list()

    def publish(self, step: int, folder: Path) -> None:
        """Record the policy that lies in `folder`, and drop weights that are no longer needed."""
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
        """Delete the weights of old policies in the run's folder; returns the folders that went."""
        evaluated = set(self.store.read("evaluations", ["policy_id"])["policy_id"])
        pinned = {label.removeprefix(PIN) for label in self.store.pinned() if label.startswith(PIN)}
        old = published_folders(run_folder)[: -self.keep]
        gone = [folder for folder in old if self.policy_id(step_of(folder)) not in evaluated | pinned]
        for folder in gone:
            dying = folder.parent / f".{folder.name}.gone"
            shutil.rmtree(dying, ignore_errors=True)
            os.replace(folder, dying)  # a reader finds the weights whole or not at all
            shutil.rmtree(dying)
        return gone


def published_folders(run_folder: Path) -> list[Path]:
    """Weights that a run published, oldest first."""
    return sorted(run_folder.glob("policy-*"), key=step_of)


def step_of(folder: Path) -> int:
    return int(folder.name.removeprefix("policy-"))


def newest_policy(store: Store, run_id: str) -> Found | None:
    """The policy of a run that was published last and whose weights are there; None before the first."""
    rows = store.read("policies").filter((pl.col("run_id") == run_id) & pl.col("step").is_not_null())
    for row in rows.sort("step", "policy_id", descending=True).iter_rows(named=True):
        if has_weights(row["folder"]):
            return found(row)
    return None


def newest_of_all(store: Store) -> Found:
    """The policy that was published last, of all whose weights are there. Raises PolicyNotFound."""
    rows = store.read("policies").sort("created_at", descending=True)
    for row in rows.iter_rows(named=True):
        if has_weights(row["folder"]):
            return found(row)
    raise PolicyNotFound(
        f"no policy with weights in {store.location}; {rows.height} are recorded without; spo train makes one"
    )


def is_finished(store: Store, run_id: str) -> bool:
    """Whether the run has published its final policy, which bears the run's own name."""
    return run_id in store.read("policies", ["policy_id"])["policy_id"].to_list()


def find_policy(store: Store, name: str) -> Found:
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
        return found(row)
    if newest := newest_policy(store, name):
        return newest
    folder = Path(name)
    if has_weights(name):
        lying = rows.filter(pl.col("folder").is_in([name, str(folder), str(folder.resolve())]))
        if lying.is_empty():
            publish_policy(store, load_policy(folder), folder.resolve(), policy_id=name.strip("/"))
            return find_policy(store, name.strip("/"))
        return found(lying.row(0, named=True))
    known = ", ".join(rows["policy_id"].tail(8)) or "none"
    raise PolicyNotFound(f"no policy, run or folder {name}; published last: {known}")


def has_weights(folder: str) -> bool:
    return bool(folder) and (Path(folder) / "config.json").is_file()


def found(row: dict[str, Any]) -> Found:
    return Found(row["policy_id"], Path(row["folder"]), row["run_id"], row["step"], row["parent_id"])


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
    stands for other weights.
    """
    fingerprint = policy.fingerprint()
    known = store.read("policies", ["policy_id", "details"]).filter(pl.col("policy_id") == policy_id)
    if known.height:
        changed = [
            k for k, v in json.loads(known["details"][0])["fingerprint"].items() if fingerprint.get(k) != v
        ]
        if changed:
            raise ValueError(
                f"policy {policy_id} is already published with another {changed[0]}; publish it under another name"
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
