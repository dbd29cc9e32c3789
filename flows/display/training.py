"""What `spo train` shows while it runs: a line of figures every few seconds, and a table of the sources at
the end.

Which figures there are is the objective's business: the line has those of its headline, the table has all.
Step by step they are in the run's `metrics.jsonl`; the lines are means over the steps since the line before.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from flows.display.terminal import console, show_table, shown_progress

EVERY_S = 10.0
LAST_SHARE = 0.1  # of the steps, which the table at the end looks at

Figures = dict[str, Any]


class Watch:
    """Takes the figures of one step after another, and passes each line to `say`.

    `headline` are the objective's figures that have a place in the line: name -> title.
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
                f"step 0: |log pi - log pi_ref| is at most {figures['max_log_ratio']:.2g} nat (gate: {self.gate_nats:g})"
            )
        now, done = time.monotonic(), figures["step"] + 1
        if now - self.last >= self.every_s or done == self.steps:
            steps = self.seen[self.reported :]
            self.say(step_line(steps, self.steps, self.headline, self.left(done, now)))
            self.last, self.reported = now, len(self.seen)

    def left(self, done: int, now: float) -> float:
        return (self.steps - done) * (now - self.began) / len(self.seen)

    def total(self, name: str) -> float:
        return sum(figures[name] for figures in self.seen)

    def sources(self) -> list[Figures]:
        """A row per figure with a column per source: all rows that it gave, and means over the last steps
        that have it.
        """
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
        """Where the time went, and what it needed."""
        seconds, fresh = self.total("seconds"), self.total("fresh_seconds")
        first, *others = [figures["data_seconds"] - figures["fresh_seconds"] for figures in self.seen]
        rate = self.total("tokens") / (seconds - fresh)
        parts = [f"{len(self.seen):,} steps in {seconds:,.1f} s", f"{rate:,.0f} tokens/s"]
        parts += [f"store opened in {first:.1f} s", f"then {sum(others) / seconds:.1%} waiting for data"]
        if fresh:
            parts.append(f"{fresh / seconds:.0%} making fresh samples")
        if (mfu := mean(self.seen, "mfu")) is not None:
            parts.append(f"MFU {mfu:.1%}")
        return "; ".join([*parts, f"peak memory {self.seen[-1]['peak_memory_gb']:.1f} GB"])


def step_line(steps: list[Figures], total: int, headline: Mapping[str, str], left_s: float) -> str:
    """Means over these steps; the learning rate as it is now."""
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
    """Of one source: its rows, their share of all rows, and whatever figures there are as means over the
    last steps.
    """
    last = steps[-max(1, round(LAST_SHARE * len(steps))) :]
    own = sum(figures["rows"] for figures in steps)
    counts = {"rows": own, "share": f"{own / rows:.1%}", "successes": f"{mean(last, 'success_share'):.1%}"}
    shown = {"rows", "success_share"}
    others = [name for name, value in last[-1].items() if name not in shown and not isinstance(value, dict)]
    return counts | {name: mean(last, name) for name in others}


def mean(steps: list[Figures], name: str) -> Any:
    """Over the steps that have a value; None where none has."""
    values = [figures[name] for figures in steps if figures[name] is not None]
    return sum(values) / len(values) if values else None


@contextmanager
def watched(
    what: str, steps: int, gate_nats: float, headline: Mapping[str, str]
) -> Iterator[Callable[[Figures], None]]:
    """`on_step` of a run: lines of figures, under them on a terminal a bar, and at the end the table of
    the sources.
    """

    def say(line: str) -> None:
        console.print(line, highlight=False, markup=False, soft_wrap=True)

    watch = Watch(steps, gate_nats, headline, say)
    if console.is_terminal:
        with shown_progress(what, "steps") as update:

            def on_step(figures: Figures) -> None:
                watch(figures)
                update(figures["step"] + 1, steps)

            yield on_step
    else:
        yield watch
    if watch.seen:
        show_table(
            f"What {what} learned from: means of the last {LAST_SHARE:.0%} of the steps", watch.sources()
        )
        say(watch.summary())
