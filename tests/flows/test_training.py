"""What `spo train` shows of a run: worked out by hand from the figures of a few steps."""

from __future__ import annotations

import pytest

from flows.display.training import TrainingDisplay, mean, step_line

HEADLINE = {"q_success": "Q_T of successes", "q_failure": "of failures", "beta": "beta"}


def source(rows: int, loss: float, **changes) -> dict:
    return {
        "rows": rows,
        "loss": loss,
        "success_share": 0.5,
        "q_success": -0.1,
        "q_failure": -0.3,
        "residual": 0.2,
        "kl": None,
        "token_entropy": 1.0,
        **changes,
    }


def figures(step: int, sources: dict, **changes) -> dict:
    return {
        "step": step,
        "loss": 1.0 - 0.25 * step,
        "q_success": -0.1,
        "q_failure": None,
        "kl": 0.5 * step,
        "gradient_norm": 2.0,
        "learning_rate": 3e-4,
        "beta": 0.1,
        "tokens_per_s": 1000.0,
        "tokens": 500,
        "seconds": 2.0,
        "data_seconds": 0.5,
        "fresh_seconds": 0.0,
        "peak_memory_gb": 1.25,
        "mfu": None,
        "max_log_ratio": 1e-5,
        "rows": 8,
        "sources": sources,
        **changes,
    }


@pytest.fixture
def steps() -> list[dict]:
    first = figures(0, {"human": source(8, 1.0)})
    second = figures(
        1, {"human": source(4, 0.5, success_share=1.0), "fresh": source(4, 1.0)}, fresh_seconds=0.25
    )
    return [first, second]


def test_a_line_has_the_means_since_the_line_before_and_the_shares_of_the_sources(steps):
    assert step_line(steps, 10, HEADLINE, 40.0) == (
        "step 2/10  loss 0.875  Q_T of successes -0.1  beta 0.1  KL 0.25  "
        "gradient 2  rate 0.0003  1,000 tokens/s"
        "  fresh 25%, human 75%  40 s left"
    )


def test_the_gate_is_told_and_the_last_step_always(steps):
    said: list[str] = []
    display = TrainingDisplay(2, 0.05, HEADLINE, said.append, every_s=1e9)
    for one in steps:
        display(one)
    assert said[0] == "step 0: |log pi - log pi_ref| is at most 1e-05 nat (gate: 0.05)"
    assert len(said) == 2 and said[1].startswith("step 2/2  loss 0.875") and said[1].endswith("0 s left")
    assert display.sources() == [
        {"": "rows", "fresh": 4, "human": 12},
        {"": "share", "fresh": "25.0%", "human": "75.0%"},
        {"": "successes", "fresh": "50.0%", "human": "100.0%"},
        {"": "loss", "fresh": 1.0, "human": 0.5},
        {"": "q_success", "fresh": -0.1, "human": -0.1},
        {"": "q_failure", "fresh": -0.3, "human": -0.3},
        {"": "residual", "fresh": 0.2, "human": 0.2},
        {"": "token_entropy", "fresh": 1.0, "human": 1.0},
    ]
    # 1,000 tokens in 4 s, of which 0.25 s made fresh samples; at the second step 0.25 s more were waited for
    # data.
    assert display.summary() == (
        "2 steps in 4.0 s; 267 tokens/s; store opened in 0.5 s; then 6.2% waiting for "
        "data; 6% generating fresh samples;"
        " peak memory 1.2 GB"
    )


def test_a_line_is_told_as_soon_as_it_is_due(steps):
    said: list[str] = []
    display = TrainingDisplay(10, 0.05, HEADLINE, said.append, every_s=0.0)
    display(steps[1])
    assert len(said) == 1 and said[0].startswith("step 2/10  loss 0.75")


def test_without_a_reference_nothing_is_said_of_the_gate_and_columns_of_any_name_are_shown(steps):
    said: list[str] = []
    display = TrainingDisplay(2, 0.05, {"token_nll": "nats per token"}, said.append, every_s=0.0)
    row = {"rows": 8, "loss": 2.0, "success_share": 1.0, "token_nll": 0.25, "verdicts": {"accepted": 8}}
    display(steps[0] | {"max_log_ratio": None, "kl": None, "token_nll": 0.25, "sources": {"human": row}})
    assert len(said) == 1 and said[0].startswith("step 1/2  loss 1  nats per token 0.25  gradient 2  rate")
    assert display.sources()[-1] == {"": "token_nll", "human": 0.25}


def test_a_mean_is_over_the_steps_that_have_a_value(steps):
    assert mean(steps, "kl") == 0.25 and mean(steps, "mfu") is None
