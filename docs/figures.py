"""Draws explanation/q_t.svg: Q_t of the optimal policy along four completions of a solvable problem."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams["svg.hashsalt"] = "spo"  # the same file on every machine
import matplotlib.pyplot as plt  # noqa: E402

BETA, LENGTH = 0.2, 6
SHOWN = {"111000": "solved early", "010111": "solved late", "110110": "nearly", "101010": "lost early"}


def reward(completion: str) -> float:
    return float("111" in completion)


def soft_value(prefix: str) -> float:
    """V* of a prefix under a uniform reference: beta log E exp(r / beta) over all that may follow."""
    rest = itertools.product("01", repeat=LENGTH - len(prefix))
    rewards = [reward(prefix + "".join(tokens)) for tokens in rest]
    return BETA * math.log(sum(math.exp(r / BETA) for r in rewards) / len(rewards))


def q_values(completion: str) -> list[float]:
    """Q_0 .. Q_T = Q_0 plus the advantages beta log(pi* / pi_ref) of the tokens so far."""
    values = [soft_value("")]
    for t in range(LENGTH):
        # pi* of a token is pi_ref exp((V(after) - V(before)) / beta)
        optimal = 0.5 * math.exp((soft_value(completion[: t + 1]) - soft_value(completion[:t])) / BETA)
        values.append(values[-1] + BETA * math.log(optimal / 0.5))
    assert abs(values[-1] - reward(completion)) < 1e-9, "Q_T is the reward"
    return values


def main() -> None:
    figure, axis = plt.subplots(figsize=(6.4, 3.2), layout="constrained")
    for completion, label in SHOWN.items():
        axis.plot(range(LENGTH + 1), q_values(completion), marker="o", label=f"{completion} ({label})")
    axis.set(xlabel="token t", ylabel="$Q_t$ (reward)", xticks=range(LENGTH + 1))
    axis.grid(alpha=0.3)
    axis.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.savefig(Path(__file__).parent / "explanation" / "q_t.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
