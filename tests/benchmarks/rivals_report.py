"""The comparison as a terminal table, as ratios, and as answers to questions, from the cells alone."""

from __future__ import annotations

import io
import math
import statistics
from collections import defaultdict
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from pipeline.evaluation import Estimate, over_problems

SPEED_BAR, MEMORY_BAR = 2.3, 0.68  # claimed by summaries of arXiv 2503.05453
FEWEST_SEEDS = 3  # of each side, for an answer
COLLAPSED = 0.5  # share of the best cell's pass@1 of its method below which a run counts as collapsed
COLUMNS = (
    "cell", "seeds", "pass@1", "pass@10", "pass@100", "distinct", "solved", "fresh", "Q0 samples",
    "update ms/row", "sample s", "judge s", "score s", "MB beyond the policy", "peak MB", "hand-overs",
    "collapsed",
)  # fmt: skip
MB = 2**20


def pass_at(k: int, samples: int, correct: int) -> float:
    """Unbiased pass@k of a problem (Chen et al., arXiv 2107.03374); NaN with fewer than k samples."""
    return 1 - math.comb(samples - correct, k) / math.comb(samples, k) if samples >= k else math.nan


def by_problem(cells: list[dict], k: int) -> np.ndarray:
    """pass@k, with k = 0 distinct accepted programs: [seeds, problems]."""
    counts = [cell["problems"] for cell in cells]
    if not k:
        return np.array([one["distinct_correct"] for one in counts], dtype=float)
    return np.array(
        [[pass_at(k, n, c) for n, c in zip(one["samples"], one["correct"], strict=True)] for one in counts]
    )


def estimate(cells: list[dict], k: int) -> Estimate | None:
    values = by_problem(cells, k)
    return None if np.isnan(values).any() else over_problems(values)


def grouped(cells: list[dict]) -> dict[str, list[dict]]:
    groups: dict[str, list[dict]] = defaultdict(list)
    for cell in cells:
        groups[cell["group"]].append(cell)
    return dict(groups)


def collapsed(cells: list[dict], method: str) -> int | None:
    """Runs of a method that end below half of its best pass@1; None without any run."""
    own = [cell["pass_1"] for cell in cells if cell["method"] == method]
    return sum(value < COLLAPSED * max(own) for value in own) if own else None


def beyond_policy(cell: dict) -> int:
    """Bytes that training holds beside the weights, which all methods share."""
    return sum(size for part, size in cell["bytes"].items() if part != "policy")


def rows_of(cells: list[dict]) -> list[dict[str, Any]]:
    """A row of the table for each method and condition."""
    rows = []
    for name, group in grouped(cells).items():

        def mean(of: Any, cells: list[dict] = group) -> float:
            return statistics.mean(of(cell) for cell in cells)

        clean = [cell for cell in group if not cell["resumed"]] or group
        figures = [
            name,
            len(group),
            *(estimate(group, k) or "-" for k in (1, 10, 100)),
            f"{mean(lambda c: c['distinct_correct']):.2f}",
            f"{mean(lambda c: c['solved_once']):.1f}",
            f"{mean(lambda c: c['samples_fresh']):.0f}",
            f"{mean(lambda c: c['samples_reference']):.0f}",
            f"{mean(lambda c: 1000 * c['cpu_s']['update'] / c['rows'], clean):.1f}",
            *(
                f"{mean(lambda c, part=part: c['cpu_s'].get(part, 0.0), clean):.0f}"
                for part in ("sample", "judge", "score")
            ),
            f"{mean(beyond_policy) / MB:.1f}",
            f"{mean(lambda c: c['peak_mb']):.0f}",
            f"{mean(lambda c: c['hand_overs']):.0f} x {group[0]['bytes']['policy'] / MB:.1f} MB",
            sum(
                c["pass_1"] < COLLAPSED * max(one["pass_1"] for one in cells if one["method"] == c["method"])
                for c in group
            ),
        ]
        rows.append(dict(zip(COLUMNS, map(str, figures), strict=True)))
    return rows


def table(reference: dict, cells: list[dict]) -> str:
    """The comparison as text."""
    shown = Table("figure", *(row["cell"] for row in rows_of(cells)))
    for column in COLUMNS[1:]:
        shown.add_row(column, *(row[column] for row in rows_of(cells)))
    width = max(100, 34 * (1 + len(grouped(cells))))
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(f"start: pass@1 {reference['pass_1']:.3f}, pass@10 {reference['pass_10']:.3f}")
    console.print(shown)
    return console.export_text()


def best_of(tuned: list[dict]) -> dict[str, dict]:
    """For each group the tuning cell with the highest pass@10 on the validation split."""
    best: dict[str, dict] = {}
    for cell in tuned:
        if cell["pass_10"] > best.get(cell["group"], {"pass_10": -1.0})["pass_10"]:
            best[cell["group"]] = cell
    return best


def best_group(cells: list[dict], method: str) -> list[dict]:
    """The cells of the condition in which a method has the highest pass@10 on the validation split; empty
    without any. Chosen on the test problems, the best of several conditions would look better than it is.
    """
    own = [cell for cell in cells if cell["method"] == method and cell["curve"]]  # variants have no curve
    groups = grouped(own).values()
    return max(
        groups, key=lambda group: statistics.mean(c["curve"][-1]["pass_10"] for c in group), default=[]
    )


def difference(one: list[dict], other: list[dict], k: int = 10) -> Estimate | None:
    """pass@k of `one` minus that of `other`, paired by problem."""
    if not one or not other:
        return None
    return over_problems(by_problem(one, k), minus=by_problem(other, k))


def ratios(cells: list[dict]) -> dict[str, Any]:
    """The line of JSON. Null where the budget has no such cells."""
    groups = grouped(cells)
    spo, ppo = best_group(cells, "spo"), best_group(cells, "ppo")

    def mean(group: list[dict], name: str) -> float | None:
        return round(statistics.mean(cell[name] for cell in group), 4) if group else None

    def update(group: list[dict]) -> float:
        return statistics.mean(cell["cpu_s"]["update"] / cell["rows"] for cell in group)

    apart = difference(spo, ppo)
    half = difference(groups.get("spo, half", []), groups.get("spo, online", []))
    human = difference(groups.get("spo, half", []), groups.get("sft, successes", []))
    both = bool(spo and ppo)
    return {
        "methods": len({cell["method"] for cell in cells}),
        "cells": len(cells),
        "seeds": len({cell["seed"] for cell in cells}),
        "spo_pass10": mean(spo, "pass_10"),
        "ppo_pass10": mean(ppo, "pass_10"),
        "spo_minus_ppo_low": round(apart.low, 4) if apart else None,
        "spo_distinct": mean(spo, "distinct_correct"),
        "ppo_distinct": mean(ppo, "distinct_correct"),
        "speed_ratio": round(update(ppo) / update(spo), 2) if both else None,
        "memory_saving": round(1 - beyond_policy(spo[0]) / beyond_policy(ppo[0]), 3) if both else None,
        "halfonline_minus_online": round(half.mean, 4) if half else None,
        "human_gain": round(human.mean, 4) if human else None,
        "collapsed_spo": collapsed(cells, "spo"),
        "collapsed_ppo": collapsed(cells, "ppo"),
    }


def questions(cells: list[dict]) -> list[str]:
    """Each question that the cells can answer, with its interval: yes, no, or not shown."""
    groups = grouped(cells)
    asked = [
        ("SPO above PPO at pass@10", best_group(cells, "spo"), best_group(cells, "ppo"), 10),
        ("PPO ahead of SPO at pass@1", best_group(cells, "ppo"), best_group(cells, "spo"), 1),
        ("SPO above GRPO at pass@10", best_group(cells, "spo"), best_group(cells, "grpo"), 10),
        ("Half-online above online, with half of the fresh samples",
         groups.get("spo, half"), groups.get("spo, online"), 10),
        ("SPO above PPO in distinct programs", best_group(cells, "spo"), best_group(cells, "ppo"), 0),
        ("Half-online above offline", groups.get("spo, half"), groups.get("spo, offline"), 10),
        ("SPO above SFT", best_group(cells, "spo"), groups.get("sft, successes"), 10),
        ("SPO above SFT on the same rows", groups.get("spo, successes"), groups.get("sft, successes"), 10),
        ("SPO with failures above SPO on successes alone",
         groups.get("spo, offline"), groups.get("spo, successes"), 10),
        ("SPO above PPO, both online from the policy of SFT",
         groups.get("spo, after-sft"), groups.get("ppo, after-sft"), 10),
        ("SPO online after SFT above SFT", groups.get("spo, after-sft"), groups.get("sft, successes"), 10),
        ("PPO after SFT above SFT", groups.get("ppo, after-sft"), groups.get("sft, successes"), 10),
        ("SPO above PPO that begins from SFT", best_group(cells, "spo"), groups.get("ppo, after-sft"), 10),
        ("SPO above GRPO that begins from SFT", best_group(cells, "spo"), groups.get("grpo, after-sft"), 10),
        *((f"SPO above {name}", best_group(cells, "spo"), best_group(cells, name), 10)
          for name in ("astar_po", "tba", "oapl", "topr", "asymre", "rloo")),
        ("PPO from fresh samples above PPO from samples of 40 updates ago",
         groups.get("ppo, online"), groups.get("ppo, stale"), 10),
    ]  # fmt: skip
    lines = ["| question | difference | answer |", "|---|---|---|"]
    for text, one, other, k in asked:
        if not one or not other:
            continue
        apart = difference(one, other, k)
        assert apart is not None
        answer = verdict(apart)
        if min(len(one), len(other)) < FEWEST_SEEDS:
            answer = f"no answer: fewer than {FEWEST_SEEDS} seeds"
        lines.append(f"| {text} ({one[0]['group']} - {other[0]['group']}) | {apart} | {answer} |")
    return [*lines, *costs(cells)]


HARD_RATE = 1 / 50


def on_hard_problems(reference: dict, cells: list[dict]) -> tuple[int, list[list[str]]]:
    """The number of problems that the start solves in less than 1 of 50 samples, and for each method and
    condition pass@1, pass@10, pass@100 and distinct programs on these.
    """
    counts = reference["problems"]
    hard = [right / n < HARD_RATE for right, n in zip(counts["correct"], counts["samples"], strict=True)]
    rows = []
    for name, group in grouped(cells).items():
        values = [by_problem(group, k)[:, hard] for k in (1, 10, 100, 0)]
        shown = ["-" if np.isnan(one).any() else str(over_problems(one)) for one in values]
        rows.append([name, *shown])
    return sum(hard), rows


def verdict(apart: Estimate) -> str:
    """Whether a difference is above 0, by its interval."""
    return "yes" if apart.low > 0 else "no" if apart.high < 0 else "not shown"


def gains(reference: dict, cells: list[dict]) -> list[str]:
    """What each method gained over the start: a comparison in which nothing learns says little of methods."""
    lines = ["| above the start | pass@1 | pass@10 | distinct | shown at pass@10 |", "|---|---|---|---|---|"]
    for name, group in grouped(cells).items():
        changes = [difference(group, [reference], k) for k in (1, 10, 0)]
        assert changes[1] is not None
        lines.append(f"| {name} | " + " | ".join(map(str, changes)) + f" | {verdict(changes[1])} |")
    return lines


def speed_range(spo: list[dict], ppo: list[dict]) -> tuple[float, float]:
    """Smallest and largest ratio of the CPU time of a row, over all pairs of seeds."""
    times = [[cell["cpu_s"]["update"] / cell["rows"] for cell in side] for side in (spo, ppo)]
    return min(times[1]) / max(times[0]), max(times[1]) / min(times[0])


def costs(cells: list[dict]) -> list[str]:
    """Questions that are counted: the time of a step, memory and collapses of SPO against PPO."""
    spo, ppo = best_group(cells, "spo"), best_group(cells, "ppo")
    if min(len(spo), len(ppo)) < FEWEST_SEEDS:
        return []
    figures = ratios(cells)
    speed, memory = figures["speed_ratio"], figures["memory_saving"]
    fell = figures["collapsed_spo"], figures["collapsed_ppo"]
    stable = "yes" if fell[0] < fell[1] else "no" if fell[0] > fell[1] else "not shown"
    least, most = speed_range(spo, ppo)
    fast = "yes" if least >= SPEED_BAR else "no" if most < SPEED_BAR else "not shown"
    return [
        f"| A row trained by SPO takes at least 2.3 times less CPU time than by PPO | {speed:.2f} times"
        f" ({least:.2f} to {most:.2f} over pairs of seeds) | {fast} |",
        f"| SPO saves at least 68 % of PPO's memory beyond the policy ({spo[0]['group']}) |"
        f" {100 * memory:.1f} % | {'yes' if memory >= MEMORY_BAR else 'no'} |",
        f"| SPO collapses less often than PPO | {fell[0]} and {fell[1]} runs | {stable} |",
    ]
