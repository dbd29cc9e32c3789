"""Pages of one record: problem, trajectory, policy, corpus, batch, refused row."""

from __future__ import annotations

from functools import partial
from itertools import groupby
from typing import Any

from flows.view.comparison import compare_corpora, listing, statistics_side_by_side
from flows.view.computing import ComputeError
from flows.view.connections import rows
from flows.view.credit import DEFAULT_BETA, Choice, read_credit
from flows.view.programs import nearest
from flows.view.records import NEAREST, read_one, read_problem, read_record, read_trajectory
from flows.view.runs import list_runs
from flows.view.visit import NotFound, Visit

Answer = tuple[str, dict[str, Any]]
CORPUS_ROWS = 200
FIND_PAGES = {"refused row": "refused"}


def problem(visit: Visit) -> Answer:
    """A problem, its tests, pass rates, and its trajectories by cluster."""
    facts = _existing(read_problem(visit.connection, visit.get("id")), "problem", visit)

    def cluster(one: dict[str, Any]) -> str:
        return one["cluster_id"] or one["trajectory_id"]

    clusters = [list(members) for _, members in groupby(facts["trajectories"], cluster)]
    return "problem.html", facts | {"clusters": clusters}


def trajectory(visit: Visit) -> Answer:
    """A trajectory, its verdicts with the first failure, the nearest accepted program by a human, credit,
    duplicates and lineage.
    """
    facts = _existing(read_trajectory(visit.connection, visit.get("id")), "trajectory", visit)
    row = facts["trajectory"]
    candidates = []
    if row["program"]:
        wanted = {"problem": row["problem_id"], "language": row["language"], "id": row["trajectory_id"]}
        candidates = rows(visit.connection, NEAREST, wanted)
    return "trajectory.html", facts | {
        "nearest": nearest(row["program"], candidates),
        "candidates": len(candidates),
        "runs": sorted(list_runs(visit.explorer.runs)),
        **_credit(visit, row),
    }


def _credit(visit: Visit, row: dict[str, Any]) -> dict[str, Any]:
    """The heat map that the address asks for with `policy`, `reference`, `colour` and `beta`; and `compute`,
    the folder of a policy that has not scored this row.
    """
    computing, computed, fault = visit.explorer.computing, [], None
    if folder := visit.get("compute"):
        try:
            computed = [computing.scored(visit.at, row["trajectory_id"], folder)]
        except ComputeError as error:
            fault = str(error)
    choice = Choice(
        visit.get("policy") or (folder if computed else ""),
        visit.get("reference"),
        visit.get("colour"),
        visit.number("beta", DEFAULT_BETA, 1e-3, 100.0),
    )
    credit = read_credit(visit.connection, row, visit.explorer.tokenizers, choice, computed)
    at_hand = computing.policies() if row["program"] or row["token_ids"] else []
    return {"credit": credit, "at_hand": at_hand, "compute": folder, "compute_fault": fault}


def policy(visit: Visit) -> Answer:
    """A published policy, its evaluations, and the origins of its samples."""
    wanted = {"id": visit.get("id")}
    policy = read_one(visit.connection, "policy", wanted["id"])
    samples = rows(
        visit.connection,
        """SELECT origin, count(*) AS samples, count(DISTINCT problem_id) AS problems
        FROM trajectories WHERE policy_id = $id GROUP BY origin ORDER BY origin""",
        wanted,
    )
    if policy is None and not samples:
        raise NotFound(f"no policy {wanted['id'][:100]!r}, published or as an author of trajectories")
    scores = rows(
        visit.connection,
        """SELECT policy, k, seeds, problems, left_out, pass_at_k, standard_error, settings FROM pass_at_k
        WHERE policy = $id ORDER BY settings, k LIMIT 100""",
        wanted,
    )
    facts = {"record": policy, "samples": samples, "scores": scores, "identity": wanted["id"]}
    return "policy.html", facts


def corpus(visit: Visit) -> Answer:
    """A published corpus: its definition, statistics and first rows."""
    corpus = _existing(read_one(visit.connection, "corpus", visit.get("id")), "corpus", visit)
    first = rows(
        visit.connection,
        f"""WITH chosen AS (
            SELECT unnest(rows[1:{CORPUS_ROWS}]) AS trajectory_id FROM corpora WHERE corpus_id = $id
        )
        SELECT trajectory_id, problem_id, origin, policy_id, language, length(program) AS characters
        FROM chosen JOIN trajectories USING (trajectory_id) ORDER BY trajectory_id""",
        {"id": visit.get("id")},
    )
    others = rows(
        visit.connection,
        """SELECT corpus_id, name, published_at, len(rows) AS rows FROM corpora
        WHERE corpus_id <> $id ORDER BY name <> $name, published_at DESC LIMIT 200""",
        {"name": corpus["name"], "id": corpus["corpus_id"]},
    )
    return "corpus.html", {"record": corpus, "first": first, "others": others}


def comparison(visit: Visit) -> Answer:
    """The difference from the corpus `id` to the corpus `to`."""
    ids = visit.get("id"), visit.get("to")
    before, after = (read_one(visit.connection, "corpus", one) for one in ids)
    if before is None or after is None:
        missing = ids[0] if before is None else ids[1]
        raise NotFound(f"no corpus {missing[:100]!r} at these versions of the store")
    return "comparison.html", {
        "before": before,
        "after": after,
        "statistics": statistics_side_by_side(before["statistics"], after["statistics"]),
        "listing": partial(listing, *ids),
        **compare_corpora(visit.connection, *ids),
    }


def batch(visit: Visit) -> Answer:
    """An ingested file and what became of its rows; of a rollout, which has no row in `batches`, its rows."""
    identity = visit.get("id")
    counts = rows(
        visit.connection,
        """SELECT in_table, count(*) AS rows FROM lineage
        WHERE batch_id = $id GROUP BY in_table ORDER BY in_table""",
        {"id": identity},
    )
    batch = read_one(visit.connection, "batch", identity)
    if batch is None and not counts:
        raise NotFound(f"no batch {identity[:100]!r}")
    return "batch.html", {"record": batch, "counts": counts, "identity": identity}


def refused(visit: Visit) -> Answer:
    """A refused row, whole."""
    refusal = _existing(read_one(visit.connection, "refused row", visit.get("id")), "refused row", visit)
    raw = refusal.pop("raw") or b""
    return "refused.html", {"record": refusal, "raw": raw.decode("utf-8", errors="backslashreplace")}


def find(visit: Visit) -> Any:
    """The page of whatever has this id."""
    from starlette.responses import RedirectResponse

    identity = visit.get("id").strip()
    record = read_record(visit.connection, identity)
    if record is None:
        kinds = "problem, trajectory, policy, corpus, batch or refused row"
        raise NotFound(f"nothing has the id {identity[:100]!r}; it is the whole id of a {kinds}")
    return RedirectResponse(visit.link(FIND_PAGES.get(record[0], record[0]), id=identity), 303)


def _existing(facts: dict[str, Any] | None, kind: str, visit: Visit) -> dict[str, Any]:
    if facts is None:
        raise NotFound(f"no {kind} {visit.get('id')[:100]!r} at these versions of the store")
    return facts
