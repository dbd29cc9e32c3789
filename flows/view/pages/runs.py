"""Runs of training: curves of one run or several, and the figures of a step."""

from __future__ import annotations

import math
from typing import Any

from flows.view.charts import Line, line_chart
from flows.view.runs import (
    CURVES,
    Metrics,
    list_runs,
    other_columns,
    read_config,
    read_metrics,
    run_folder,
    series,
    sources_of,
)
from flows.view.visit import NotFound, Visit
from pipeline.store import Store, StoreError

Answer = tuple[str, dict[str, Any]]
MOST_RUNS = 8
MAX_WINDOW = 10_000
BATCH_S = 25.0


def overview(visit: Visit) -> Answer:
    """All runs below the folder of runs."""
    folder = visit.explorer.runs
    summaries = []
    for name, path in sorted(list_runs(folder).items()):
        status = (path / "metrics.jsonl").stat()
        summaries.append({"name": name, "bytes": status.st_size, "changed_s": status.st_mtime})
    return "runs.html", {"runs": summaries, "folder": str(folder)}


def run(visit: Visit) -> Answer:
    """Curves of the runs named by `run` (repeated), over each other.

    `smooth` is the number of steps of a running mean, `log=1` a logarithmic axis, `by=source` one line per
    source of the mixture, `column` further columns.
    """
    names = list(dict.fromkeys(visit.all("run")))[:MOST_RUNS]
    if not names:
        raise NotFound("no run is named; the page of runs lists them")
    read = [read_metrics(visit.explorer.runs, name) for name in names]
    longest = max((len(one.steps) for one in read), default=0)
    window = visit.integer("smooth", max(1, longest // 25), 1, MAX_WINDOW)
    log, by_source = visit.get("log") == "1", visit.get("by") == "source"
    others = list(dict.fromkeys(column for one in read for column in other_columns(one)))
    chosen = [column for column in visit.all("column") if column in others]
    charts = []

    def address(line: Line, number: int) -> str:
        return visit.link("step", run=line.run, step=str(number))

    for column in (*CURVES, *chosen):
        title, unit = CURVES.get(column, (column, column))
        lines = [line for one in read for line in _lines(one, column, by_source)]
        if any(line.values for line in lines):
            drawing = line_chart(title, unit, lines, window=window, log=log, address=address)
            charts.append(
                {"title": title, "column": column, "svg": drawing, "labels": [x.label for x in lines]}
            )
    return "run.html", {
        "runs": read,
        "names": names,
        "charts": charts,
        "verdicts": [_verdicts(one) for one in read],
        "window": window,
        "log": log,
        "by_source": by_source,
        "others": others,
        "chosen": chosen,
        "known": sorted(list_runs(visit.explorer.runs)),
        "settings": _settings(visit, names),
    }


def step(visit: Visit) -> Answer:
    """The figures of one step: of the batch and of each source, and the versions it read."""
    name, number = visit.get("run"), visit.integer("step", 0, 0, 10**9)
    metrics = read_metrics(visit.explorer.runs, name)
    index = next((i for i, one in enumerate(metrics.steps) if one["step"] == number), None)
    if index is None:
        raise NotFound(f"run {name[:100]!r} has no step {number} in its log")
    figures = metrics.steps[index]
    rows, missing = _batch(visit, name, metrics, number) if visit.get("rows") else ([], None)
    by_source = {k: v for k, v in (figures.get("sources") or {}).items() if isinstance(v, dict)}
    return "step.html", {
        "name": name,
        "figures": {k: v for k, v in figures.items() if not isinstance(v, dict)},
        "rows": rows,
        "missing": missing,
        "nested": {k: v for k, v in figures.items() if isinstance(v, dict) and k != "sources"},
        "by_source": by_source,
        "columns": list(dict.fromkeys(c for one in by_source.values() for c in one if c != "verdicts")),
        "before": metrics.steps[index - 1]["step"] if index else None,
        "after": metrics.steps[index + 1]["step"] if index + 1 < len(metrics.steps) else None,
    }


def _batch(visit: Visit, name: str, metrics: Metrics, step: int) -> tuple[list[dict[str, Any]], str | None]:
    """The rows of a batch, drawn again from the store of the page, or a sentence why they cannot be."""
    from trainer.data import StreamError
    from trainer.run import NotReplayed, replay_batch

    store = Store(visit.explorer.location)
    try:
        replayed = replay_batch(
            run_folder(visit.explorer.runs, name), store, metrics.steps, step, limit_s=BATCH_S
        )
    except (NotReplayed, StreamError, StoreError, KeyError) as error:
        return [], f"The rows cannot be drawn again: {error}"
    rows = [
        {
            "trajectory_id": row.trajectory_id,
            "source": row.source,
            "verdict": row.verdict,
            "reward": row.reward,
            "problem_id": row.problem_id,
            "tokens": len(row.completion_ids),
            "log pi_ref": _finite(row.reference_logprob),
            "log mu": _finite(row.behaviour_logprob),
            "selection weight": _finite(row.selection_weight),
        }
        for row in replayed
    ]
    return rows, None


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _lines(metrics: Metrics, column: str, by_source: bool) -> list[Line]:
    if not by_source:
        return [Line(metrics.name, *series(metrics, column), metrics.name)]
    return [
        Line(f"{metrics.name}: {source}", *series(metrics, column, source), metrics.name)
        for source in sources_of(metrics)
    ]


def _verdicts(metrics: Metrics) -> dict[str, Any]:
    """Verdicts of fresh rows (of the source `online`) over the run, in ten parts."""
    parts = []
    size = max(1, -(-len(metrics.steps) // 10))
    for begin in range(0, len(metrics.steps), size):
        counts: dict[str, int] = {}
        for figures in metrics.steps[begin : begin + size]:
            fresh = (figures.get("sources") or {}).get("online") or {}
            for verdict, count in (fresh.get("verdicts") or {}).items():
                counts[verdict] = counts.get(verdict, 0) + int(count)
        steps = metrics.steps[begin : begin + size]
        parts.append({"first": steps[0]["step"], "last": steps[-1]["step"], "counts": counts})
    names = sorted({verdict for part in parts for verdict in part["counts"]})
    return {"name": metrics.name, "names": names, "parts": [part for part in parts if part["counts"]]}


def _settings(visit: Visit, names: list[str]) -> list[dict[str, Any]]:
    """Settings of the runs by dotted name; of several runs only those that differ."""
    flat = [dict(_flat(read_config(visit.explorer.runs, name))) for name in names]
    keys = list(dict.fromkeys(key for one in flat for key in one))
    rows = [{"key": key, "values": [one.get(key, "") for one in flat]} for key in keys]
    return [row for row in rows if len(names) == 1 or len(set(row["values"])) > 1]


def _flat(value: Any, path: str = "") -> list[tuple[str, str]]:
    if isinstance(value, dict) and value:
        return [
            pair for k, inner in value.items() for pair in _flat(inner, f"{path}.{k}" if path else str(k))
        ]
    if isinstance(value, list) and any(isinstance(one, dict) for one in value):
        return [pair for i, inner in enumerate(value) for pair in _flat(inner, f"{path}[{i}]")]
    return [(path, "" if value is None else str(value))]
