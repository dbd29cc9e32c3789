"""Terminal output of `spo train`: a line of figures every few seconds, and a table of the sources at the end.

The objective defines its figures: the line has those of its headline, the table has all. A line shows means
over the steps since the previous line; the figures of every step are in the run's `metrics.jsonl`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from flows.display.terminal import console, show_table, shown_progress

EVERY_S = 10.0
LAST_SHARE = 0.1  # share of the steps that the final table covers

Figures = dict[str, Any]


class TrainingDisplay:
    """Called with the figures of each step; passes each output line to `say`.

    `headline`: the objective's figures that are shown in the line, name -> title.
    """

    def __init__(
        self,
        steps: int,
        gate_nats: float,
        headline: Mapping[str, str],
        say: Callable[[str], None],
        every_s: float = EVERY_S,
    ):
        self.steps, self.gate_nats, self.headline = steps, gate_nats, headline
        self.say, self.every_s = say, every_s
        self.last = self.began = time.monotonic()
        self.seen: list[Figures] = []
        self.reported = 0

    def __call__(self, figures: Figures) -> None:
        self.seen.append(figures)
        if figures["step"] == 0 and figures["max_log_ratio"] is not None:
            self.say(
                f"step 0: |log pi - log pi_ref| is at most {figures['max_log_ratio']:.2g} nat"
                f" (gate: {self.gate_nats:g})"
            )
        now, done = time.monotonic(), figures["step"] + 1
        if validation := figures.get("validation"):
            self.say(validation_line(done, validation))
        if now - self.last >= self.every_s or done == self.steps:
            steps = self.seen[self.reported :]
            self.say(step_line(steps, self.steps, self.headline, self.left(done, now)))
            self.last, self.reported = now, len(self.seen)

    def left(self, done: int, now: float) -> float:
        return (self.steps - done) * (now - self.began) / len(self.seen)

    def total(self, name: str) -> float:
        return sum(figures[name] for figures in self.seen)

    def sources(self) -> list[Figures]:
        """One row per figure, one column per source: counts over all steps, and means over the last steps."""
        names = sorted({name for figures in self.seen for name in figures["sources"]})
        total = round(self.total("rows"))
        columns = {
            name: source_column([f["sources"][name] for f in self.seen if name in f["sources"]], total)
            for name in names
        }
        labels = dict.fromkeys(label for column in columns.values() for label in column)
        rows = [{"": label, **{name: columns[name].get(label) for name in names}} for label in labels]
        return [row for row in rows if any(row[name] is not None for name in names)]

    def summary(self) -> str:
        """One line about time and memory: throughput, waiting for data, fresh samples, peak memory."""
        seconds, fresh = self.total("seconds"), self.total("fresh_seconds")
        first, *others = [figures["data_seconds"] - figures["fresh_seconds"] for figures in self.seen]
        rate = self.total("tokens") / (seconds - fresh)
        parts = [f"{len(self.seen):,} steps in {seconds:,.1f} s", f"{rate:,.0f} tokens/s"]
        parts += [f"store opened in {first:.1f} s", f"then {sum(others) / seconds:.1%} waiting for data"]
        if fresh:
            parts.append(f"{fresh / seconds:.0%} generating fresh samples")
        if (mfu := mean(self.seen, "mfu")) is not None:
            parts.append(f"MFU {mfu:.1%}")
        return "; ".join([*parts, f"peak memory {self.seen[-1]['peak_memory_gb']:.1f} GB"])


def validation_line(step: int, validation: Figures) -> str:
    """`step 40: validation pass@1 0.312 (0.25 to 0.37), best so far`."""
    names = [name for name in ("pass@1", "pass@10") if validation.get(name) is not None]
    shown = ", ".join(
        f"{name} {validation[name]:.3f} ({validation[f'{name}_low']:.2f} to {validation[f'{name}_high']:.2f})"
        for name in names
    )
    best = validation["best_step"]
    return f"step {step:,}: validation {shown}, " + (
        "best so far" if best == step else f"the best at step {best:,}"
    )


def step_line(steps: list[Figures], total: int, headline: Mapping[str, str], left_s: float) -> str:
    """One output line: means over these steps, and the current learning rate."""
    last = steps[-1]
    parts = [f"step {last['step'] + 1:,}/{total:,}", f"loss {mean(steps, 'loss'):.4g}"]
    titles = {**headline, "kl": "KL", "gradient_norm": "gradient"}
    parts += [
        f"{title} {value:.3g}" for name, title in titles.items() if (value := mean(steps, name)) is not None
    ]
    parts += [f"rate {last['learning_rate']:.2g}", f"{mean(steps, 'tokens_per_s'):,.0f} tokens/s"]
    names = sorted({name for figures in steps for name in figures["sources"]})
    rows = {name: sum(f["sources"].get(name, {"rows": 0})["rows"] for f in steps) for name in names}
    parts.append(", ".join(f"{name} {count / sum(rows.values()):.0%}" for name, count in rows.items()))
    return "  ".join([*parts, f"{left_s:,.0f} s left"])


def source_column(steps: list[Figures], rows: int) -> Figures:
    """The figures of one source: its rows, their share of all rows, and means of the others over the last
    steps.
    """
    last = steps[-max(1, round(LAST_SHARE * len(steps))) :]
    own = sum(figures["rows"] for figures in steps)
    counts = {"rows": own, "share": f"{own / rows:.1%}", "successes": f"{mean(last, 'success_share'):.1%}"}
    hidden_figures = {"rows", "success_share"}
    others = [
        name for name, value in last[-1].items() if name not in hidden_figures and not isinstance(value, dict)
    ]
    return counts | {name: mean(last, name) for name in others}


def mean(steps: list[Figures], name: str) -> Any:
    """The mean over the steps that have a value; None if no step has one."""
    values = [figures[name] for figures in steps if figures[name] is not None]
    return sum(values) / len(values) if values else None


@contextmanager
def training_display(
    what: str, steps: int, gate_nats: float, headline: Mapping[str, str]
) -> Iterator[Callable[[Figures], None]]:
    """Yield the `on_step` of a run. It prints lines of figures, with a progress bar on a terminal; at the
    end, the table of the sources is printed.
    """

    def say(line: str) -> None:
        console.print(line, highlight=False, markup=False, soft_wrap=True)

    display = TrainingDisplay(steps, gate_nats, headline, say)
    if console.is_terminal:
        with shown_progress(what, "steps") as update:

            def on_step(figures: Figures) -> None:
                display(figures)
                update(figures["step"] + 1, steps)

            yield on_step
    else:
        yield display
    if display.seen:
        title = f"Training data of {what}: means over the last {LAST_SHARE:.0%} of the steps"
        show_table(title, display.sources())
        say(display.summary())
