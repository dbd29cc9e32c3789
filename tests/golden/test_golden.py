"""Golden runs: the trainer computes the figures that it computed when these were kept.

`make.py` runs in a process of its own, on one thread. `machine.json` records the processor and libraries
of the kept figures. Where they are the same, every kept column must be equal to the last digit. Elsewhere
floats may be rounded differently: they must be within 1e-3 relative or 1e-4 absolute, and everything else
(digests of rows, counts, table versions) must be the same, with two exceptions:

* digests of weights in the line `left` are not compared, because they cover every last digit;
* in the online variant rounding can change a token of a fresh sample, and with it rows, verdicts and
  losses. From its round on (`ONLINE_FROM`) only what no sample decides is compared: step, learning rate,
  number of rows, weights of the sources.

A column that only the new lines have is not a difference; one that only the kept lines have is.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
VARIANTS = ["cross_entropy_padded", "cross_entropy_packed", "squared_padded", "squared_packed"]
ONLINE_FROM = {"cross_entropy_packed": 8}
NO_SAMPLE_DECIDES = ("step", "learning_rate", "rows", "weights")
RELATIVE, ABSOLUTE = 1e-3, 1e-4


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of new figures."""
    folder = tmp_path_factory.mktemp("golden")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-P", str(HERE / "make.py"), str(folder)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    return folder


def kept_lines(folder: Path, variant: str) -> list[dict]:
    return [json.loads(line) for line in (folder / f"{variant}.jsonl").read_text().splitlines()]


def flat(value: Any, name: str = "") -> dict[str, Any]:
    """Every number, text and null of a line under its name: `sources.human.loss`, `left.policies.0.step`."""
    if isinstance(value, list):
        value = {"length": len(value)} | {str(place): part for place, part in enumerate(value)}
    if not isinstance(value, dict):
        return {name: value}
    actual: dict[str, Any] = {}
    for key, part in value.items():
        actual |= flat(part, f"{name}.{key}" if name else key)
    return actual


def differences(
    retained: list[dict],
    new: list[dict],
    *,
    same_machine: bool,
    online_from: int | None = None,
) -> list[str]:
    """What is not as it was kept, a text for each column of each line."""
    if len(retained) != len(new):
        return [f"{len(retained)} lines kept, {len(new)} now"]
    actual: list[str] = []
    for before, after in zip(map(flat, retained), map(flat, new), strict=True):
        where = f"step {before['step']}" if "step" in before else "left"
        fresh = online_from is not None and before.get("step", 0) >= online_from
        for name, value in before.items():
            rounded = name.endswith(".weights") or (fresh and name.split(".")[0] not in NO_SAMPLE_DECIDES)
            if rounded and not same_machine:
                continue
            if name not in after or not equal(value, after[name], same_machine):
                actual.append(f"{where} {name}: kept {value!r}, now {after.get(name, 'missing')!r}")
    return actual


def equal(retained: Any, new: Any, same_machine: bool) -> bool:
    if same_machine or not isinstance(retained, float) or not isinstance(new, float):
        # repr has every digit, and tells -0.0 from 0.0.
        return type(retained) is type(new) and repr(retained) == repr(new)
    return math.isclose(retained, new, rel_tol=RELATIVE, abs_tol=ABSOLUTE)


@pytest.mark.parametrize("variant", VARIANTS)
def test_figures_are_as_they_were_kept(made: Path, variant: str) -> None:
    machines = [json.loads((folder / "machine.json").read_text()) for folder in (HERE, made)]
    actual = differences(
        kept_lines(HERE, variant), kept_lines(made, variant),
        same_machine=machines[0] == machines[1], online_from=ONLINE_FROM.get(variant),
    )  # fmt: skip
    assert not actual, f"{len(actual)} differences, the first ten:\n" + "\n".join(actual[:10])


def test_every_configuration_has_kept_figures() -> None:
    assert {path.stem for path in (HERE / "configs").glob("*.toml")} == set(VARIANTS)


TABLES: list[dict] = [{"verdicts": 1}, {"verdicts": 2}]
SOURCES: list[dict] = [{"a": {"kl": None}}, {"a": {"kl": 2.0}}]
KEPT: list[dict] = [
    {"step": 0, "loss": 0.5, "rows": 8, "rows_digest": "ab", "sources": SOURCES[0], "watermark": TABLES[0]},
    {"step": 1, "loss": 0.25, "rows": 8, "rows_digest": "cd", "sources": SOURCES[1], "watermark": TABLES[1]},
    {"left": {"policies": [{"policy_id": "a", "weights": "ef"}]}},
]


def changed(line: int, path: str, value: Any) -> list[dict]:
    """KEPT with another value in one place."""
    lines = json.loads(json.dumps(KEPT))
    *outer, last = path.split(".")
    place: Any = lines[line]
    for key in outer:
        place = place[int(key) if isinstance(place, list) else key]
    place[last] = value
    return lines


@pytest.mark.parametrize(
    "line, path, value, same, elsewhere, online",
    [
        (1, "loss", 0.25, 0, 0, 0),
        (1, "loss", 0.25000000000000006, 1, 0, 0),
        (1, "loss", 0.2504, 1, 1, 0),
        (0, "loss", 0.502, 1, 1, 1),
        (0, "sources.a.kl", 0.0, 1, 1, 1),
        (1, "sources.a.kl", 2.001, 1, 0, 0),
        (1, "rows_digest", "dc", 1, 1, 0),
        (0, "rows_digest", "ba", 1, 1, 1),
        (1, "rows", 9, 1, 1, 1),
        (1, "rows", 8.0, 1, 1, 1),
        (1, "watermark.verdicts", 3, 1, 1, 0),
        (2, "left.policies.0.weights", "fe", 1, 0, 0),
        (2, "left.policies.0.policy_id", "b", 1, 1, 1),
    ],
)
def test_a_change_is_found_where_it_should_be(line, path, value, same, elsewhere, online) -> None:
    """The online round is at step 1 here; the numbers say how many differences are found."""
    new = changed(line, path, value)
    assert len(differences(KEPT, new, same_machine=True, online_from=1)) == same
    assert len(differences(KEPT, new, same_machine=False)) == elsewhere
    assert len(differences(KEPT, new, same_machine=False, online_from=1)) == online


def test_another_folder_at_the_end_of_a_list_is_found() -> None:
    retained, new = [{"left": {"folders": ["final"]}}], [{"left": {"folders": ["final", "policy-6"]}}]
    assert differences(retained, new, same_machine=False) == ["left left.folders.length: kept 1, now 2"]


def test_a_missing_column_or_line_is_found_and_a_new_column_is_not() -> None:
    assert differences(KEPT, KEPT[:2], same_machine=True) == ["3 lines kept, 2 now"]
    without = [{name: value for name, value in line.items() if name != "loss"} for line in KEPT]
    missing = differences(KEPT, without, same_machine=True)
    assert missing == ["step 0 loss: kept 0.5, now 'missing'", "step 1 loss: kept 0.25, now 'missing'"]
    assert not differences(without, KEPT, same_machine=True)
