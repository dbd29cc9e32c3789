"""Assemble the report: every fact from one snapshot of the store and one reading of the run folder, then one file."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipeline.evaluation.report import charts, text
from pipeline.evaluation.report.agreement import agreement
from pipeline.evaluation.report.comparison import METRICS, Comparison, compare
from pipeline.evaluation.report.curves import Curves, curves
from pipeline.evaluation.report.duplicates import LEVELS, duplicates
from pipeline.evaluation.report.families import families
from pipeline.evaluation.report.ingestion import ingestion
from pipeline.evaluation.report.lineage import lineage
from pipeline.evaluation.report.runfolder import Run, read_run
from pipeline.evaluation.report.samples import samples
from pipeline.evaluation.report.verdicts import COLOURS, verdicts
from pipeline.store import Store, connect, query

TEMPLATES = Path(__file__).parent / "templates"
FILTERS = ("count", "number", "percent", "nearly", "duration", "moment", "shortened", "ellipsis", "some")


def write_report(store: Store, run_folder: str | Path, target: str | Path) -> Path:
    """Write `<target>/index.html` on the run in `run_folder` and the store as it is now; returns its path.

    What a run does not have yet is said in words. Raises ReportError without a readable `run.json`, and StoreError where
    the store cannot be read.
    """
    run = read_run(Path(run_folder))
    versions = store.pins()
    connection = connect(store, versions, threads=2)
    try:
        found = gather(connection, run, versions)
    finally:
        connection.close()
    page = environment().get_template("page.html").render(**found, figures=draw(found))
    path = Path(target) / "index.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(page, encoding="utf-8")
    os.replace(partial, path)
    return path


def gather(connection: duckdb.DuckDBPyConnection, run: Run, versions: dict[str, int]) -> dict[str, Any]:
    """Everything the templates say, by name."""
    comparison = compare(query(connection, "SELECT * FROM evaluations"), run)
    policies = [seed.policy_id for seed in run.seeds if seed.name in comparison.seeds]
    return {
        "run": run,
        "written_at": datetime.now(UTC),
        "metrics": METRICS,
        "comparison": comparison,
        "ingestion": ingestion(connection, run.rows_in_file),
        "verdicts": verdicts(connection),
        "agreement": agreement(connection),
        "duplicates": duplicates(connection),
        "levels": LEVELS,
        "curves": curves(run.seeds),
        "families": families(connection, comparison.problems),
        "samples": samples(connection, comparison.problems, run.reference_policy, policies),
        "lineage": lineage(connection, run, versions),
        "settings": list(text.flattened(run.settings)) if run.settings else [],
    }


def draw(found: dict[str, Any]) -> dict[str, Any]:
    """The figures, each only where there is something to draw."""
    comparison: Comparison = found["comparison"]
    traced: Curves = found["curves"]
    fresh = sorted({step for seed in traced.facts for step in seed.fresh})
    figures: dict[str, Any] = {
        "headline": [
            charts.headline(finding, f"headline{i}") for i, finding in enumerate(comparison.findings)
        ],
        "curves": [charts.curve(panel, fresh, f"curve{i}") for i, panel in enumerate(traced.panels)],
    }
    if found["verdicts"].totals.judged:
        figures["verdicts"] = charts.verdict_bars(found["verdicts"], "verdicts")
    if found["families"] and comparison.findings:
        figures["families"] = charts.family_changes(found["families"].by_family, "families")
        figures["scatter"] = charts.problem_scatter(comparison.problems, "scatter")
    return figures


def environment() -> Environment:
    """Jinja2 that escapes everything and makes the invisible visible."""
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=text.visible,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {name: getattr(text, name) for name in FILTERS}
    made.filters["word"] = lambda name: name.replace("_", " ")
    made.globals["verdict_colours"] = COLOURS
    return made
