"""What the run's figures are based on: policies, corpora with their pins, judge and isolation, and the
versions of the tables.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import duckdb

from pipeline.evaluation.report.runfolder import Run
from pipeline.store import query

POLICIES = """
SELECT policy_id, fingerprint, parent_id, run_id, step, created_at FROM policies
WHERE policy_id IN (SELECT unnest($names)) ORDER BY created_at, policy_id
"""

CORPORA = """
SELECT corpus_id, name, reward, pins, len(rows) AS rows, published_at FROM corpora
ORDER BY published_at DESC, corpus_id LIMIT 10
"""

JUDGES = """
SELECT judge_version, tier, count(*) AS verdicts, min(judged_at) AS first, max(judged_at) AS last
FROM verdicts GROUP BY judge_version, tier ORDER BY first, judge_version, tier
"""

REFERENCES = """
SELECT reference, count(*) AS scored FROM reference_scores GROUP BY reference
ORDER BY scored DESC, reference LIMIT 10
"""


@dataclass(frozen=True)
class Lineage:
    """`unpublished`: policies that the run names and the table `policies` lacks; `versions`: of the tables
    that the report read.
    """

    policies: list[dict]
    unpublished: list[str]
    corpora: list[dict]
    judges: list[dict]
    references: list[dict]
    versions: dict[str, int]


def lineage(connection: duckdb.DuckDBPyConnection, run: Run, versions: dict[str, int]) -> Lineage:
    """Where the run's figures come from; `versions` are those that `connection` reads."""
    names = [name for name in (run.reference_policy, *(seed.policy_id for seed in run.seeds)) if name]
    policies = query(connection, POLICIES, {"names": names}).to_dicts()
    known = {row["policy_id"] for row in policies}
    corpora = query(connection, CORPORA).to_dicts()
    for corpus in corpora:
        corpus["pins"] = _pins_in_words(corpus["pins"])
    return Lineage(
        policies,
        [name for name in names if name not in known],
        corpora,
        query(connection, JUDGES).to_dicts(),
        query(connection, REFERENCES).to_dicts(),
        {name: version for name, version in versions.items() if version >= 0},
    )


def _pins_in_words(pins: str) -> str:
    """`{"verdicts": 3}` as `verdicts 3`; text that is not a JSON object stays as it is."""
    try:
        versions = json.loads(pins)
    except ValueError:
        return pins
    return (
        ", ".join(f"{table} {version}" for table, version in versions.items())
        if isinstance(versions, dict)
        else pins
    )
