"""RESULTS.md and its learning curves, from the figures in `results/`."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.benchmarks.rivals_cells import CURVE_PROBLEMS, CURVE_SAMPLES
from tests.benchmarks.rivals_plots import write_curves
from tests.benchmarks.rivals_report import (
    COLUMNS,
    MB,
    best_of,
    estimate,
    gains,
    grouped,
    on_hard_problems,
    questions,
    rows_of,
)

HEAD = """# Results: SPO beside its rivals

Made by `./run bench rivals --report` from `results/`; each part names the command that made its cells.
Intervals are 95 %, over problems and seeds. Samples at temperature 1. `fresh`: judged samples drawn in
training. `Q0 samples`: judged samples of the start that the method needs or trains on. `update`: CPU time
of a step for each row trained on, value network included. `distinct`: distinct accepted programs per
problem. `MB beyond the policy`: moments, value network and its moments, and the reference where it is held
to score fresh rows. `collapsed`: runs that end below half of the best pass@1 of their method.

The start is warmed up in each place, and another machine, which rounds otherwise, gets another one: parts
with another figure at the start (`medium` and `medium-first`) are not to be put together.

`above the start`: against the policy that every run begins from, on the same problems.

How far the answers go: `yes` and `no` are where the interval of a difference does not reach 0. There are
several questions, and no interval is widened for that; of three seeds it is coarse. Where a method has
several conditions, the one that is compared is the best on the validation split. SPO offline and half-online
and SFT train on programs by people, PPO and GRPO online do not: their difference is one of data and method
together. SPO `successes` has the rows of SFT, SPO `offline` failures and samples of the start too. The fair
opponents are PPO and GRPO after SFT on the same programs (`after-sft`), whose steps, time and `Q0 samples`
are those of their own part, and come after those of SFT.
"""
PARTS = ("policy", "moments", "value_network", "value_moments", "reference")


def write(root: Path) -> None:
    """RESULTS.md from all of `results/rivals-*.json`, and the learning curves beside them."""
    parts = [HEAD]
    for path in sorted((root / "results").glob("rivals-*.json")):
        kept = json.loads(path.read_text())
        if "signal" in kept:
            parts += signal(kept)
            continue
        if kept["cells"]:
            parts += compared(path, kept["reference"], kept["cells"])
        if kept["tuned"]:
            parts += tried(path, kept["tuned"])
    (root / "RESULTS.md").write_text("\n".join(parts))


def compared(path: Path, reference: dict, cells: list[dict]) -> list[str]:
    """The part of a budget: table, memory, questions and curves."""
    rows, memory = rows_of(cells), [(name, group[0]["bytes"]) for name, group in grouped(cells).items()]
    lines = [
        f"## {path.stem.removeprefix('rivals-')}: {len(cells)} cells",
        "",
        f"{origin(cells)} At the start pass@1 is {reference['pass_1']:.3f}, pass@10"
        f" {reference['pass_10']:.3f}, distinct {reference['distinct_correct']:.2f}.",
        "",
        *markdown(COLUMNS, [list(row.values()) for row in rows]),
        "",
        *gains(reference, cells),
        "",
        *hard_part(reference, cells),
        *questions(cells),
        "",
        "Memory held through training, in MB, by exact count of fp32 weights and moments:",
        "",
        *markdown(
            ("cell", *(part.replace("_", " ") for part in PARTS)),
            [[name, *(f"{size[part] / MB:.1f}" for part in PARTS)] for name, size in memory],
        ),
        "",
    ]
    if "start_of_curve" in reference:
        plot = path.with_name(f"{path.stem}-curves.svg")
        write_curves(plot, reference, cells)
        lines += [
            f"![Learning curves]({path.parent.name}/{plot.name})",
            "",
            f"A point is a mean over seeds, each of {CURVE_PROBLEMS} problems with {CURVE_SAMPLES} samples.",
            "That is few: the curves wander by as much as they differ.",
            "",
        ]
    return lines


def hard_part(reference: dict, cells: list[dict]) -> list[str]:
    """The cells on the problems that are hard for the start, where there are any."""
    count, rows = on_hard_problems(reference, cells)
    if not count:
        return []
    chosen = f"on the {count} problems that the start solves in less than 1 of 50 samples"
    columns = (chosen, "pass@1", "pass@10", "pass@100", "distinct")
    return [*markdown(columns, rows), ""]


def tried(path: Path, tuned: list[dict]) -> list[str]:
    """What the tuning tried, and which configuration of each method was best on the validation split."""
    best, rows = best_of(tuned), []
    for cell in tuned:
        changed = ", ".join(f"{name} {value}" for name, value in cell["objective"].items())
        kl = cell.get("trained", {}).get("kl", [None])[-1]
        mark = "**" if best[cell["group"]] is cell else ""
        rows.append(
            [cell["group"], f"{cell['rate']:g}", changed, f"{cell['pass_1']:.3f}",
             f"{mark}{estimate([cell], 10)}{mark}", f"{cell['distinct_correct']:.2f}",
             "-" if kl is None else f"{kl:.2f}"]
        )  # fmt: skip
    columns = ("cell", "rate", "other settings", "pass@1", "pass@10", "distinct", "KL at the end")
    title = f"## {path.stem.removeprefix('rivals-')}: configurations on the validation split"
    return [title, "", origin(tuned), *evenness(tuned), "", *markdown(columns, rows), ""]


def evenness(tuned: list[dict]) -> list[str]:
    """A sentence on how often each cell was tried, where that is not the same: it favours the others."""
    counts = {name: len(group) for name, group in grouped(tuned).items()}
    seeds = len({cell["seed"] for cell in tuned})
    named = ", ".join(f"{name} {count}" for name, count in counts.items())
    if len(set(counts.values())) == 1:
        return [f"Configurations of each: {min(counts.values())}, {seeds} seed(s)."]
    return [
        f"The tuning was not even, which favours what was tried more often: {named}; {seeds} seed(s) each."
    ]


def signal(kept: dict) -> list[str]:
    """The part on gradients."""
    rows = [
        [
            row["name"],
            f"{row['norm']:.2f}",
            "not measured" if math.isnan(row["share"]) else f"{row['share']:.3f} ± {row['error']:.3f}",
        ]
        for row in kept["signal"]
    ]
    return [
        "## signal: agreement of the gradients of two batches at the start",
        "",
        origin([kept]),
        "The mean cosine of the gradients of two batches of 32 rows is the share of the squared norm that is",
        "signal, with its standard error; the rest is noise. A share within two errors of 0 shows no signal.",
        "Signal is of the loss on the rows that are drawn, not of the reward: rows chosen by verdict share a",
        "direction whether or not it helps. `not measured`: a batch had no gradient at all.",
        "",
        *markdown(("batches", "norm", "share of signal"), rows),
        "",
    ]


def origin(cells: list[dict]) -> str:
    """Where cells come from."""
    commits = ", ".join(sorted({cell["commit"] for cell in cells}))
    commands = " and ".join(f"`{command}`" for command in sorted({cell["command"] for cell in cells}))
    return f"{commands}, commit {commits}, {cells[0]['machine']}."


def markdown(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A table in Markdown."""
    return [
        "| " + " | ".join(columns) + " |",
        "|" + "---|" * len(columns),
        *("| " + " | ".join(row) + " |" for row in rows),
    ]
