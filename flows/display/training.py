"""What `spo train` shows while it runs: a line of figures every few seconds, and a table of the sources at the end.

All of it stands in the run's `metrics.jsonl`, step by step; the lines are means over the steps since the line before.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

from flows.display.terminal import console, show_table, shown_progress

EVERY_S = 10.0
LAST_SHARE = 0.1  # of the steps, which the table at the end looks at

Figures = dict[str, Any]


class Watch:
    """Takes the figures of one step after another; `say` is told each line."""

    def __init__(self, steps: int, gate_nats: float, say: Callable[[str], None], every_s: float = EVERY_S):
        self.steps, self.gate_nats, self.say, self.every_s = steps, gate_nats, say, every_s
        self.last = self.began = time.monotonic()
        self.seen: list[Figures] = []
        self.told = 0

    def __call__(self, figures: Figures) -> None:
        self.seen.append(figures)
        if figures["step"] == 0:
            self.say(
                f"step 0: |log pi - log pi_ref| is at most {figures['max_log_ratio']:.2g} nat (gate: {self.gate_nats:g})"
            )
        now, done = time.monotonic(), figures["step"] + 1
        if now - self.last >= self.every_s or done == self.steps:
            self.say(step_line(self.seen[self.told :], self.steps, self.left(done, now)))
            self.last, self.told = now, len(self.seen)

    def left(self, done: int, now: float) -> float:
        return (self.steps - done) * (now - self.began) / len(self.seen)

    def total(self, name: str) -> float:
        return sum(figures[name] for figures in self.seen)

    def sources(self) -> list[Figures]:
        """A row for each source that was drawn: all of its rows, and means over the last steps that have it."""
        names = sorted({name for figures in self.seen for name in figures["sources"]})
        rows = round(self.total("rows"))
        return [
            source_row(name, [f["sources"][name] for f in self.seen if name in f["sources"]], rows)
            for name in names
        ]

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


def step_line(steps: list[Figures], total: int, left_s: float) -> str:
    """Means over these steps; learning rate and beta as they are now."""
    last = steps[-1]
    parts = [f"step {last['step'] + 1:,}/{total:,}", f"loss {mean(steps, 'loss'):.4g}"]
    named = {
        "q_success": "Q_T of successes",
        "q_failure": "of failures",
        "kl": "KL",
        "gradient_norm": "gradient",
    }
    parts += [f"{name} {value:.3g}" for key, name in named.items() if (value := mean(steps, key)) is not None]
    parts += [
        f"rate {last['learning_rate']:.2g}",
        f"beta {last['beta']:.3g}",
        f"{mean(steps, 'tokens_per_s'):,.0f} tokens/s",
    ]
    drawn = {name for figures in steps for name in figures["sources"]}
    rows = {name: sum(f["sources"].get(name, {"rows": 0})["rows"] for f in steps) for name in sorted(drawn)}
    parts.append(", ".join(f"{name} {count / sum(rows.values()):.0%}" for name, count in rows.items()))
    return "  ".join([*parts, f"{left_s:,.0f} s left"])


def source_row(name: str, drawn: list[Figures], rows: int) -> Figures:
    last = drawn[-max(1, round(LAST_SHARE * len(drawn))) :]
    own = sum(figures["rows"] for figures in drawn)
    shown = {
        "loss": "loss",
        "q_success": "Q_T of successes",
        "q_failure": "Q_T of failures",
        "residual": "residual",
        "kl": "KL",
        "token_entropy": "token entropy",
    }
    return {
        "source": name,
        "rows": own,
        "share": f"{own / rows:.1%}",
        "successes": f"{mean(last, 'success_share'):.1%}",
        **{title: mean(last, key) for key, title in shown.items()},
    }


def mean(steps: list[Figures], name: str) -> Any:
    """Over the steps that have a value; None where none has."""
    values = [figures[name] for figures in steps if figures[name] is not None]
    return sum(values) / len(values) if values else None


@contextmanager
def watched(what: str, steps: int, gate_nats: float):
    """`on_step` of a run: lines of figures, under them on a terminal a bar, and at the end the table of the sources."""

    def say(line: str) -> None:
        console.print(line, highlight=False, markup=False, soft_wrap=True)

    watch = Watch(steps, gate_nats, say)
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
