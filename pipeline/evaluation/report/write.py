"""Assemble the report: all facts come from one snapshot of the store and one reading of the run folder; the
result is one file.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipeline.evaluation.report import charts, text
from pipeline.evaluation.report.agreement import agreement
from pipeline.evaluation.report.comparison import Comparison, compare
from pipeline.evaluation.report.curves import Curves, curves
from pipeline.evaluation.report.duplicates import LEVELS, duplicates
from pipeline.evaluation.report.families import families
from pipeline.evaluation.report.ingestion import ingestion
from pipeline.evaluation.report.lineage import lineage
from pipeline.evaluation.report.runfolder import Run, complete_from_store, read_run
from pipeline.evaluation.report.samples import samples
from pipeline.evaluation.report.verdicts import COLOURS, verdicts
from pipeline.store import Store, connect, query

TEMPLATES = Path(__file__).parent / "templates"
FILTERS = (
    "count",
    "number",
    "significant",
    "percent",
    "careful_percent",
    "duration",
    "moment",
    "shortened",
    "ellipsis",
    "some",
)


def write_report(store: Store, run_folder: str | Path, target: str | Path) -> Path:
    """Write `<target>/index.html` about the run in `run_folder` and the store as it is now. Returns the
    file's path.

    Any run has a report: one by `spo train` and one by the demo. A sentence says what a run does not have
    yet. Raises ReportError for a folder that is not that of a run, and StoreError if the store cannot be
    read.
    """
    run = read_run(Path(run_folder))
    versions = store.pins()
    connection = connect(store, versions, threads=2)
    try:
        facts = _gather(connection, complete_from_store(run, connection), versions)
    finally:
        connection.close()
    page = _environment().get_template("page.html").render(**facts, figures=_draw(facts))
    path = Path(target) / "index.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(page, encoding="utf-8")
    os.replace(partial, path)
    return path


def _gather(connection: duckdb.DuckDBPyConnection, run: Run, versions: dict[str, int]) -> dict[str, Any]:
    """The variables of the templates, by name."""
    comparison = compare(query(connection, "SELECT * FROM evaluations"), run)
    policies = [seed.policy_id for seed in run.seeds if seed.name in comparison.seeds]
    return {
        "run": run,
        "written_at": datetime.now(UTC),
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


def _draw(facts: dict[str, Any]) -> dict[str, Any]:
    """The drawings; those without anything to show are missing."""
    comparison: Comparison = facts["comparison"]
    traced: Curves = facts["curves"]
    fresh = sorted({step for seed in traced.facts for step in seed.fresh})
    figures: dict[str, Any] = {
        "headline": [
            charts.headline(finding, f"headline{i}") for i, finding in enumerate(comparison.findings)
        ],
        "curves": [charts.curve(panel, fresh, f"curve{i}") for i, panel in enumerate(traced.panels)],
    }
    if facts["verdicts"].totals.judged:
        figures["verdicts"] = charts.verdict_bars(facts["verdicts"], "verdicts")
    if facts["families"] and comparison.findings:
        figures["families"] = charts.family_changes(facts["families"].by_family, "families")
        figures["scatter"] = charts.problem_scatter(comparison.problems, "scatter")
    return figures


def _environment() -> Environment:
    """Jinja2 that escapes everything and shows invisible characters."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=text.visible,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {name: getattr(text, name) for name in FILTERS}
    environment.filters["word"] = lambda name: name.replace("_", " ")
    environment.globals["verdict_colours"] = COLOURS
    return environment
