"""`./run bench judge [--only PART ...] [--data FOLDER [--source SOURCE ...] [--store FOLDER]] [--write]`: the
judge on every language of this machine, its throughput beside bare runs, problem packages of every kind, and
claims of the contest bundle. Tables, and one line of JSON. `--write` puts the tables that were measured into
sandbox/README.md; `--store` keeps the verdicts, so that an interrupted measurement of claims goes on.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path[:] = [folder for folder in sys.path if folder != str(Path(__file__).parent)]
sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.benchmarks import judge_claims, judge_languages, judge_packages, judge_table  # noqa: E402
from tests.benchmarks.judge_table import ClaimRow, LanguageRow  # noqa: E402

PARTS = ("languages", "throughput", "packages", "claims")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", choices=PARTS, help="this part alone; repeatable")
    parser.add_argument("--data", type=Path, help="folder of the contest bundle; without it, no claims")
    parser.add_argument("--source", action="append", default=[], help="only this source of it; repeatable")
    parser.add_argument("--store", type=Path, help="folder for a store that is kept, or goes on")
    parser.add_argument("--write", action="store_true", help="write the tables into sandbox/README.md")
    chosen = parser.parse_args()
    parts = chosen.only or [part for part in PARTS if part != "claims" or chosen.data]
    if "claims" in parts and not chosen.data:
        parser.error("the claims need --data FOLDER")
    if chosen.write and ("languages" in parts) != ("throughput" in parts):
        parser.error("languages and throughput are written together")
    figures: dict[str, Any] = {"cases": 0, "cases_right": 0}
    languages: list[LanguageRow] = []
    claims: list[ClaimRow] = []
    if "languages" in parts:
        languages = judge_languages.languages()
        whole = sum(row.right == row.tried for row in languages)
        figures |= {"languages_working": whole, "languages_tried": len(languages)}
        count(figures, sum(row.tried for row in languages), sum(row.right for row in languages))
    if "throughput" in parts:
        prices = judge_languages.throughput()
        languages = with_prices(languages, prices)
        figures |= {
            f"throughput_{name.rstrip('3')}": round(prices[name][1], 1)
            for name in ("python3", "cpp", "java")
            if name in prices
        }
    if languages:
        print(*judge_table.rendered(languages), sep="\n")
    if "packages" in parts:
        kinds, tried, right = judge_packages.package_cases()
        figures["package_kinds"] = kinds
        count(figures, tried, right)
    if "claims" in parts:
        measured, claims = judge_claims.agreement(chosen.data, chosen.source, chosen.store)
        figures |= measured
        print(*judge_table.rendered(claims), sep="\n")
    if chosen.write and languages:
        judge_table.write("languages", languages)
    if chosen.write and claims:
        judge_table.write("claims", claims)
    print(json.dumps(figures))


def count(figures: dict[str, Any], tried: int, right: int) -> None:
    """Add to the cases of all parts."""
    figures["cases"] += tried
    figures["cases_right"] += right


def with_prices(
    languages: list[LanguageRow], prices: dict[str, tuple[float, float, float]]
) -> list[LanguageRow]:
    """The rows with what was measured of them; rows of their own where the languages were not tried."""
    rows = languages or [LanguageRow(name, "", 0, 0) for name in prices]
    measured = {
        name: dict(zip(("programs", "tests", "bare_tests"), p, strict=True)) for name, p in prices.items()
    }
    return [replace(row, **measured.get(row.language, {})) for row in rows]


if __name__ == "__main__":
    main()
