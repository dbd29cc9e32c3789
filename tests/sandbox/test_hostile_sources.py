"""Attacks on the compilers, in the folder `hostile_sources`, with the conventions of `test_hostile.py`.

A line `generated: EXPRESSION` replaces the file with the value of a Python expression.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sandbox import Limits
from sandbox.languages import find_language, toolchain

LANGUAGES = {".c": "c", ".cpp": "cpp", ".py": "python3", ".java": "java", ".rs": "rust"}
ATTACKS = sorted(
    path for path in (Path(__file__).parent / "hostile_sources").iterdir() if path.suffix in LANGUAGES
)
LIMITS = Limits(time_s=0.5, memory_mb=128, output_bytes=1 << 20, wall_limit_s=2.5)


def source_of(path):
    text = path.read_text()
    generated = re.search(r"generated: (.+)", text)
    return eval(generated.group(1)) if generated else text


def cases():
    for path in ATTACKS:
        marks = [pytest.mark.slow] if "// slow" in path.read_text() else []
        yield pytest.param(path, id=path.name, marks=marks)


@pytest.mark.parametrize("path", list(cases()))
def test_attack(judge, path):
    language = LANGUAGES[path.suffix]
    if toolchain(find_language(language)) is None:
        pytest.skip(f"no {language} on this machine")
    allowed = re.search(r"expect: (.+)", path.read_text()).group(1).split()
    judgement = judge(language, source_of(path), ("", None), limits=LIMITS)
    assert judgement.verdict in allowed, judgement
    assert "root:" not in judgement.compile_output
    assert len(judgement.compile_output) < 5000
    assert judge("c", "int main(void) { return 0; }", ("", "")).verdict == "accepted"
