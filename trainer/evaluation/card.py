"""The model card of a policy: what it was trained on, with which settings and versions, and how it did.

Format: https://huggingface.co/docs/hub/model-cards. Only what the store and the policy's folder say is
written; what they do not say is left out.
"""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import polars as pl

from pipeline.evaluation import Estimate, rates, without_seed
from pipeline.store import Store, connect_for, query
from sandbox import judge_version
from trainer.policies import PublishedPolicy

PACKAGES = ("spo", "torch", "transformers", "tokenizers", "deltalake")
TRAINED_ON = """
select p.source, coalesce(p.licence, 'not stated') as licence, count(*) as problems
from problems p where p.split = 'train' group by all order by problems desc, 1, 2
"""


def model_card(store: Store, policy: PublishedPolicy, licence: str = "other") -> str:
    """Markdown with a YAML header, for `README.md` beside the weights."""
    rows = store.read("policies").filter(pl.col("policy_id") == policy.policy_id)
    details = json.loads(rows["details"][0]) if rows.height else {}
    parts = [
        _header(policy, licence),
        f"# {policy.policy_id}\n\n" + _origin(policy, details),
        _training(details.get("config")),
        _data(store, details.get("config")),
        _figures(store, policy),
        _versions(details.get("fingerprint", {}), policy),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _header(policy: PublishedPolicy, licence: str) -> str:
    values = {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "license": licence,
        "tags": ["code", "reinforcement-learning", "soft-policy-optimization"],
    }
    # JSON is YAML: names from a store cannot end the header or add keys to it.
    return "---\n" + "\n".join(f"{name}: {json.dumps(value)}" for name, value in values.items()) + "\n---"


def _origin(policy: PublishedPolicy, details: dict[str, Any]) -> str:
    if policy.run_id is None:
        made = f"adopted from {details['model']}" if "model" in details else "a policy of its own"
        return f"A causal language model that writes programs: {made}."
    start = f", from `{policy.parent_id}`" if policy.parent_id else ""
    return f"A causal language model that writes programs, after step {policy.step} of the run" + (
        f" `{policy.run_id}`{start}."
    )


def _training(config: dict[str, Any] | None) -> str:
    if config is None:
        return ""
    objective = {name: value for name, value in config["objective"].items() if name != "name"}
    sections = {
        f"Objective `{config['objective']['name']}`": objective,
        "Optimiser": config["optimiser"],
        "Training": config["training"],
    }
    lines = [f"* {title}: `{json.dumps(values, sort_keys=True)}`" for title, values in sections.items()]
    return "## How it was trained\n\n" + "\n".join([*lines, f"* Seed: {config['seed']}"])


def _data(store: Store, config: dict[str, Any] | None) -> str:
    if config is None:
        return ""
    rows = [
        [source["name"], source.get("corpus") or "", source["where"], json.dumps(source["weight"])]
        for source in config["source"]
    ]
    text = "## Training data\n\n" + _table(["source", "corpus id", "rows", "weight"], rows)
    with connect_for(store, TRAINED_ON) as connection:
        trained = query(connection, TRAINED_ON)
    text += "\n\nProblems of split `train` in the store:\n\n"
    text += _table(trained.columns, [list(map(str, row)) for row in trained.iter_rows()])
    pins = store.pins(["problems", "trajectories", "verdicts"])
    return text + f"\n\nTable versions at this time: `{json.dumps(pins, sort_keys=True)}`"


def _figures(store: Store, policy: PublishedPolicy) -> str:
    rows = store.read("evaluations").filter(pl.col("policy_id") == policy.policy_id)
    if rows.is_empty():
        return "## Figures\n\nIt has not been evaluated."
    seedless = pl.Series([without_seed(text) for text in rows["settings"]])
    table = []
    for settings in sorted(set(seedless)):
        part = rows.filter(seedless == settings)
        figures = rates(part)
        splits = ", ".join(sorted(set(part["split"])))
        counts = [splits, str(part["problem_id"].n_unique()), str(part["samples"].sum())]
        table.append([*counts, _shown(figures["pass@1"]), _shown(figures["pass@10"]), f"`{settings}`"])
    head = ["split", "problems", "samples", "pass@1", "pass@10", "settings"]
    return "## Figures\n\nMeans over problems with 95 % intervals.\n\n" + _table(head, table)


def _shown(estimate: Estimate | None) -> str:
    return f"{estimate.mean:.3f} ({estimate.low:.3f} to {estimate.high:.3f})" if estimate else ""


def _versions(fingerprint: dict[str, str], policy: PublishedPolicy) -> str:
    figures = {}
    for package in PACKAGES:
        try:
            figures[package] = version(package)
        except PackageNotFoundError:
            continue
    figures["judge"] = judge_version()
    lines = [f"* {name} {value}" for name, value in figures.items()]
    lines += [f"* fingerprint of {name}: `{value}`" for name, value in sorted(fingerprint.items())]
    asked = [name for name in ("prompt.jinja", "prompt.json") if _has(policy.folder, name)]
    own = f"its own template, in {' and '.join(asked)}" if asked else "a template of this software"
    return "## Versions\n\n" + "\n".join([*lines, f"* prompts: {own}"])


def _has(folder: Path | None, name: str) -> bool:
    return folder is not None and (folder / name).is_file()


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(value) for value in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
