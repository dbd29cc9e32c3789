"""Runs of training: curves of one run or several, and the figures of a step."""

from __future__ import annotations

import json
import math
from pathlib import PurePath
from typing import Any

from flows.view.batches import BATCH_S, batch_of
from flows.view.charts import Line, line_chart
from flows.view.connections import rows
from flows.view.runs import (
    CURVES,
    Metrics,
    list_runs,
    other_columns,
    progress_of,
    read_config,
    read_metrics,
    run_folder,
    series,
    sources_of,
)
from flows.view.versions import newest
from flows.view.visit import NotFound, Visit
from pipeline.store import Store, StoreError

Answer = tuple[str, dict[str, Any]]
MOST_RUNS = 8
MAX_WINDOW = 10_000
LATEST_STEPS = 10
PUBLISHED = """
SELECT p.run_id, p.policy_id, p.step, p.parent_id, p.created_at, e.settings, e.k, e.pass_at_k, e.problems
FROM policies p LEFT JOIN pass_at_k e ON e.policy = p.policy_id
WHERE list_contains($runs, p.run_id) ORDER BY p.run_id, p.step NULLS LAST, p.policy_id, e.settings, e.k
LIMIT 500
"""
STEP_COLUMNS = (
    "loss", "kl", "terminal_q", "beta", "learning_rate", "success_share", "gradient_norm", "tokens_per_s",
)  # fmt: skip


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
    state, finished = progress_of(visit.explorer.runs, names)
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
            charts.append({"title": title, "column": column, "svg": drawing, "labels": _legend(lines)})
    policies = _published(visit, names)
    if lines := _pass_rates(policies):
        labels = _legend(lines)
        drawing = line_chart("pass@k of its evaluated policies", "share of problems", lines)
        charts.append({"title": "pass@k", "column": "evaluations", "svg": drawing, "labels": labels})
    return "run.html", {
        "runs": read,
        "names": names,
        "charts": charts,
        "verdicts": [_verdicts(one) for one in read],
        "policies": policies,
        "latest": [_latest(one) for one in read if one.steps],
        "state": state,
        "finished": finished,
        "window": window,
        "log": log,
        "by_source": by_source,
        "others": others,
        "chosen": chosen,
        "known": sorted(list_runs(visit.explorer.runs)),
        "settings": _settings(visit, names),
    }


def progress(visit: Visit) -> Any:
    """What a page that is followed asks: `state` changes when the page would; `finished` when it will not.

    With `run` (repeated) it is of these runs, else of the store.
    """
    from starlette.responses import JSONResponse

    names = visit.all("run")[:MOST_RUNS]
    if names:
        state, finished = progress_of(visit.explorer.runs, names)
        return JSONResponse({"state": state, "finished": finished})
    return JSONResponse({"state": newest(Store(visit.explorer.location)), "finished": False})


def _latest(metrics: Metrics) -> dict[str, Any]:
    """The last steps of a run with the figures that most of them have, for the list of steps."""
    steps = metrics.steps[-LATEST_STEPS:][::-1]
    columns = [name for name in STEP_COLUMNS if any(name in one for one in steps)]
    return {"name": metrics.name, "columns": columns, "steps": steps}


def step(visit: Visit) -> Answer:
    """The figures of one step: of the batch and of each source, and the versions it read. With `rows` also
    the rows of the batch, by `sort`; with `part` only these.
    """
    name, number = visit.get("run"), visit.integer("step", 0, 0, 10**9)
    metrics = read_metrics(visit.explorer.runs, name)
    index = next((i for i, one in enumerate(metrics.steps) if one["step"] == number), None)
    if index is None:
        raise NotFound(f"run {name[:100]!r} has no step {number} in its log")
    figures = metrics.steps[index]
    batch = None
    if visit.get("rows"):
        batch = batch_of(visit, metrics, number, str(figures.get("rows_digest")))
        if visit.get("part"):
            return "batch_rows.html", {"batch": batch}
    by_source = {k: v for k, v in (figures.get("sources") or {}).items() if isinstance(v, dict)}
    return "step.html", {
        "batch": batch,
        "name": name,
        "figures": {k: v for k, v in figures.items() if not isinstance(v, dict)},
        "nested": {k: v for k, v in figures.items() if isinstance(v, dict) and k != "sources"},
        "by_source": by_source,
        "columns": list(dict.fromkeys(c for one in by_source.values() for c in one if c != "verdicts")),
        "before": metrics.steps[index - 1]["step"] if index else None,
        "after": metrics.steps[index + 1]["step"] if index + 1 < len(metrics.steps) else None,
    }


def drawn(visit: Visit) -> Answer:
    """The steps of a run whose batches had a trajectory, as far as they can be drawn again in time."""
    from trainer.data import StreamError
    from trainer.run import NotReplayed, steps_with_row

    name, identity = visit.get("run"), visit.get("id")
    metrics = read_metrics(visit.explorer.runs, name)
    steps: list[int] = []
    looked_at, missing = 0, None
    try:
        steps, looked_at = steps_with_row(
            run_folder(visit.explorer.runs, name),
            Store(visit.explorer.location),
            metrics.steps,
            identity,
            limit_s=BATCH_S,
        )
    except (NotReplayed, StreamError, StoreError, KeyError) as error:
        missing = f"The batches cannot be drawn again: {error}"
    return "drawn.html", {
        "name": name,
        "identity": identity,
        "steps": steps,
        "looked_at": looked_at,
        "logged": len(metrics.steps),
        "missing": missing,
    }


def _published(visit: Visit, names: list[str]) -> list[dict[str, Any]]:
    """Policies that the runs have published, with pass@k of those that were evaluated."""
    return rows(visit.connection, PUBLISHED, {"runs": [_run_id(visit, name) for name in names]})


def _run_id(visit: Visit, name: str) -> str:
    """The run_id in the store of a run on this machine."""
    return str(read_config(visit.explorer.runs, name).get("name") or PurePath(name).name)


def _pass_rates(policies: list[dict[str, Any]]) -> list[Line]:
    """pass@k over steps: one line per run, setting and k."""
    lines: dict[str, Line] = {}
    differing = _differing({one["settings"] for one in policies if one["settings"]})
    for one in sorted(policies, key=lambda one: one["step"] or 0):
        if one["pass_at_k"] is None or one["step"] is None:
            continue
        label = f"{one['run_id']}: pass@{one['k']}{differing[one['settings']]}"
        line = lines.setdefault(label, Line(label, [], []))
        line.steps.append(one["step"])
        line.values.append(one["pass_at_k"])
    return list(lines.values())


def _differing(settings: set[str]) -> dict[str, str]:
    """For each setting of an evaluation what it has in which they differ, such as `, samples 10`."""
    values = {text: dict(json.loads(text)) for text in settings}
    names = sorted({name for one in values.values() for name in one})
    told = [name for name in names if len({json.dumps(one.get(name)) for one in values.values()}) > 1]
    return {
        text: "".join(f", {name.replace('_', ' ')} {_short(one[name])}" for name in told if name in one)
        for text, one in values.items()
    }


def _short(value: Any) -> str:
    """A value of a setting; of a long text, such as a digest, its beginning."""
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 12 else f"{text[:8]}…"


def _legend(lines: list[Line]) -> list[tuple[int, str]]:
    """Number of the colour and label of each line that is drawn."""
    return [(colour, line.label) for colour, line in enumerate(lines) if line.values]


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
    settings = [{"key": key, "values": [one.get(key, "") for one in flat]} for key in keys]
    return [row for row in settings if len(names) == 1 or len(set(row["values"])) > 1]


def _flat(value: Any, path: str = "") -> list[tuple[str, str]]:
    if isinstance(value, dict) and value:
        return [
            pair for k, inner in value.items() for pair in _flat(inner, f"{path}.{k}" if path else str(k))
        ]
    if isinstance(value, list) and any(isinstance(one, dict) for one in value):
        return [pair for i, inner in enumerate(value) for pair in _flat(inner, f"{path}[{i}]")]
    return [(path, "" if value is None else str(value))]
