"""Assemble the report: all facts come from one snapshot of the store and one reading of the run folders; the
result is one file.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pipeline.evaluation.report import charts, page_charts, text
from pipeline.evaluation.report.agreement import agreement
from pipeline.evaluation.report.comparison import compare
from pipeline.evaluation.report.configurations import configurations, differing_settings
from pipeline.evaluation.report.curves import curves
from pipeline.evaluation.report.duplicates import LEVELS, duplicates
from pipeline.evaluation.report.families import families
from pipeline.evaluation.report.ingestion import ingestion
from pipeline.evaluation.report.lineage import lineage
from pipeline.evaluation.report.links import Explorer, Links
from pipeline.evaluation.report.progress import progress
from pipeline.evaluation.report.runfolder import ReportError, Run, complete_from_store, read_run
from pipeline.evaluation.report.samples import samples
from pipeline.evaluation.report.verdicts import COLOURS, verdicts
from pipeline.store import Store, connect, query

MOST_CONFIGURATIONS = 8
TEMPLATES = Path(__file__).parent / "templates"
STATIC = Path(__file__).parent / "static"
SCRIPTS = ("vega.min.js", "vega-lite.min.js", "vega-embed.min.js", "report.js")
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


def write_report(
    store: Store,
    run_folders: str | Path | Sequence[str | Path],
    target: str | Path,
    explorer: Explorer | None = None,
) -> Path:
    """Write `<target>/index.html` about one run or several, and the store as it is now. Returns the file's
    path.

    Any run has a report: one by `spo train`, by a schedule, by a comparison and by the demo. Runs that differ
    in their seed alone are one configuration. A sentence says what a run does not have yet. With `explorer`
    the figures link to its pages. Raises ReportError for a folder that is not that of a run, or more than 8
    configurations, and StoreError if the store cannot be read.
    """
    folders = [run_folders] if isinstance(run_folders, str | Path) else list(run_folders)
    runs = [read_run(Path(folder)) for folder in folders]
    versions = store.pins()
    connection = connect(store, versions, threads=2)
    try:
        runs = [complete_from_store(run, connection) for run in runs]
        links = Links(explorer, versions)
        template, facts = (
            _one(connection, runs[0], links) if len(runs) == 1 else _several(connection, runs, links)
        )
    finally:
        connection.close()
    page = _environment().get_template(template).render(**facts, **_scripts(facts["figures"]))
    path = Path(target) / "index.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(page, encoding="utf-8")
    os.replace(partial, path)
    return path


def _one(connection: duckdb.DuckDBPyConnection, run: Run, links: Links) -> tuple[str, dict[str, Any]]:
    """Template and variables of the page of one run, whose seeds are one configuration."""
    groups = configurations([run])
    comparison = compare(query(connection, "SELECT * FROM evaluations"), run)
    policies = [seed.policy_id for seed in run.seeds if seed.name in comparison.seeds]
    facts = _common(connection, groups, links) | {
        "run": run,
        "comparison": comparison,
        "ingestion": ingestion(connection, run.rows_in_file),
        "verdicts": verdicts(connection),
        "agreement": agreement(connection),
        "duplicates": duplicates(connection),
        "levels": LEVELS,
        "families": families(connection, comparison.problems),
        "samples": samples(connection, comparison.problems, run.reference_policy, policies),
        "lineage": lineage(connection, run, links.versions),
        "settings": list(text.flattened(run.settings)) if run.settings else [],
        "evaluated_page": page_charts.headline_addresses(comparison, groups, links),
    }
    figures = facts["figures"]
    figures["headline"] = [charts.headline(one, f"headline{i}") for i, one in enumerate(comparison.findings)]
    if facts["verdicts"].totals.judged:
        figures["verdicts"] = page_charts.verdict_chart(facts["verdicts"], links)
    if facts["families"] and comparison.findings:
        figures |= page_charts.problem_charts(comparison, facts["families"], links)
    return "page.html", facts


def _several(
    connection: duckdb.DuckDBPyConnection, runs: Sequence[Run], links: Links
) -> tuple[str, dict[str, Any]]:
    """Template and variables of the page of several runs, side by side."""
    groups = configurations(runs)
    if len(groups) > MOST_CONFIGURATIONS:
        raise ReportError(
            f"{len(runs)} runs have {len(groups)} configurations; at most {MOST_CONFIGURATIONS} can be told"
            " apart in a chart, name fewer runs"
        )
    return "runs.html", _common(connection, groups, links) | {"differing": differing_settings(groups)}


def _common(connection: duckdb.DuckDBPyConnection, groups: Sequence[Any], links: Links) -> dict[str, Any]:
    """Variables that every page has."""
    traced, over_steps = curves(groups), progress(connection, groups)
    figures: dict[str, Any] = {"curves": page_charts.training_charts(traced, groups, links)}
    return {
        "groups": groups,
        "links": links,
        "written_at": datetime.now(UTC),
        "curves": traced,
        "progress": over_steps,
        "figures": figures | page_charts.progress_charts(over_steps, groups, links),
    }


def _scripts(figures: dict[str, Any]) -> dict[str, Any]:
    """The scripts of a page that has charts, and the policy that lets these and no others run."""
    texts = [(STATIC / name).read_text(encoding="utf-8") for name in SCRIPTS]
    texts = texts if page_charts.has_charts(figures) else []
    hashes = [base64.b64encode(hashlib.sha256(one.encode()).digest()).decode() for one in texts]
    allowed = " ".join(f"'sha256-{one}'" for one in hashes)
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    return {
        "scripts": [Markup(one) for one in texts],
        "policy": f"{policy}; script-src {allowed}" if allowed else policy,
    }


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
