"""The charts of a page: each as a drawing that needs no script, as a specification for the script, and with
the address of what it shows in a running explorer.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from pipeline.evaluation.report import charts, step_charts, vega_levels, vega_steps
from pipeline.evaluation.report.comparison import Comparison
from pipeline.evaluation.report.configurations import Configuration
from pipeline.evaluation.report.curves import Curves, Line
from pipeline.evaluation.report.families import Families
from pipeline.evaluation.report.links import Links
from pipeline.evaluation.report.progress import Fresh, Levels, Progress, Series, run_ids
from pipeline.evaluation.report.vega import Spec
from pipeline.evaluation.report.verdicts import BY_WRITER, Verdicts

EVALUATED = "SELECT * FROM pass_at_k WHERE policy_id IN ({})"
UNSAFE = {ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&\u2028\u2029"}


@dataclass(frozen=True)
class Chart:
    """`narrow`: a drawing for narrow screens, None where the wide one fits; `address`: its data in a running
    explorer, None without one.
    """

    wide: Markup
    spec: Spec
    narrow: Markup | None = None
    address: str | None = None

    @property
    def script(self) -> Markup:
        """The specification as JSON that cannot end its element."""
        return Markup(json.dumps(self.spec, separators=(",", ":")).translate(UNSAFE))


def training_charts(curves: Curves, groups: Sequence[Configuration], links: Links) -> list[Chart]:
    """One chart per panel."""
    fresh = sorted({step for facts in curves.facts for step in facts.fresh}) if len(groups) == 1 else []
    page = links.runs(seed.folder for group in groups for seed in group.seeds)
    return [
        Chart(
            step_charts.curve(panel, fresh, f"curve{i}"),
            vega_steps.curve(panel, [_step_address(line, links) for line in panel.lines]),
            address=page,
        )
        for i, panel in enumerate(curves.panels)
    ]


def _step_address(line: Line, links: Links) -> str | None:
    """Of a mean of seeds there is no step to show."""
    return links.step(line.traces[0].seed.folder) if len(line.traces) == 1 else None


def progress_charts(
    progress: Progress, groups: Sequence[Configuration], links: Links
) -> dict[str, list[Chart]]:
    """By part of the page: evaluated policies, levels, fresh rows, programs."""
    evaluated = links.sql(EVALUATED.format(_texts(_policies(groups))))
    return {
        "evaluated": [
            _series(metric.label, metric.share, series, f"evaluated{i}", evaluated)
            for i, (metric, series) in enumerate(progress.evaluated)
        ],
        "levels": [_levels(one, f"levels{i}", links, evaluated) for i, one in enumerate(progress.levels)],
        "fresh": [_fresh(one, f"fresh{i}", links) for i, one in enumerate(progress.fresh)],
        "programs": _programs(progress.programs, groups, links),
    }


def _policies(groups: Sequence[Configuration]) -> list[str]:
    names = [seed.policy_id for group in groups for seed in group.seeds]
    return [*dict.fromkeys(name for group in groups for name in group.references), *names]


def _texts(names: Sequence[str]) -> str:
    """Names as texts of SQL."""
    return ", ".join("'" + name.replace("'", "''") + "'" for name in names)


def _series(title: str, share: bool, series: Sequence[Series], name: str, address: str | None) -> Chart:
    drawn = step_charts.over_steps(title, share, series, name)
    return Chart(drawn, vega_steps.over_steps(title, share, series), address=address)


def _levels(levels: Levels, name: str, links: Links, address: str | None) -> Chart:
    policies = [
        links.record("policy", row.removeprefix("reference ")) if tint is None else address
        for row, _, tint in levels.rows
    ]
    return Chart(charts.level_rows(levels, name), vega_levels.levels(levels, policies), address=address)


def _fresh(fresh: Fresh, name: str, links: Links) -> Chart:
    drawn = step_charts.fresh_bars(fresh, name)
    return Chart(drawn, vega_steps.fresh_bars(fresh), address=links.sql(fresh.statement))


def _programs(series: Sequence[Series], groups: Sequence[Configuration], links: Links) -> list[Chart]:
    if not series:
        return []
    runs = _texts([run for group in groups for run in run_ids(group)])
    rows = f"SELECT * FROM judged WHERE run_id IN ({runs}) AND verdict = 'accepted' ORDER BY policy_step"
    return [_series("distinct accepted programs", False, series, "programs", links.sql(rows))]


def verdict_chart(verdicts: Verdicts, links: Links) -> Chart:
    writers = charts.judged_writers(verdicts)
    addresses = [
        links.page(
            "table/judged", [("f", f"policy_id:eq:{writer.name}"), ("f", f"origin:eq:{writer.origin}")]
        )
        if writer.is_policy
        else None
        for writer in writers
    ]
    return Chart(
        charts.verdict_bars(verdicts, "verdicts"),
        vega_levels.verdict_bars(verdicts, [charts.writer_name(writer) for writer in writers], addresses),
        charts.verdict_bars(verdicts, "verdicts-narrow", charts.NARROW),
        links.sql(BY_WRITER.strip()),
    )


def problem_charts(comparison: Comparison, families: Families, links: Links) -> dict[str, Chart]:
    names = comparison.problems["problem_id"].to_list()
    pages = {name: page for name in names if (page := links.record("problem", name))}
    page = links.page("table/evaluated_problems")
    return {
        "families": Chart(
            charts.family_changes(families.by_family, "families"),
            vega_levels.families(families.by_family),
            charts.family_changes(families.by_family, "families-narrow", charts.NARROW),
            page,
        ),
        "scatter": Chart(
            charts.problem_scatter(comparison.problems, "scatter"),
            vega_levels.scatter(comparison.problems, pages),
            address=page,
        ),
    }


def headline_addresses(comparison: Comparison, groups: Sequence[Configuration], links: Links) -> str | None:
    """The evaluations behind the tiles of the first section."""
    return links.sql(EVALUATED.format(_texts(_policies(groups)))) if comparison.findings else None


def has_charts(figures: dict[str, Any]) -> bool:
    """Whether the page has a chart that needs the script."""
    return any(
        isinstance(one, Chart)
        for value in figures.values()
        for one in (value if isinstance(value, list) else [value])
    )
