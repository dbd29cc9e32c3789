"""Every attack in the folder `hostile` gets its verdict, lets nothing out, and leaves the next test right.

The head of a file names the allowed verdicts. Unless it says `output: nonce`, the expected output is the word
`contained`, which the program prints when its attempt was refused. Each program is judged on three tests: an
ordinary one, the attack, and the ordinary one again.
"""

from __future__ import annotations

import re
import secrets
from pathlib import Path

import pytest

from sandbox import Limits

ATTACKS = sorted((Path(__file__).parent / "hostile").glob("*.[pc]*"))
LIMITS = Limits(time_s=0.5, memory_mb=128, output_bytes=1 << 20, processes=64, wall_limit_s=2.5)

PYTHON = """
import os
first = input()
if first != "attack":
    left = [os.listdir(folder) for folder in ("/tmp", "/dev/shm")]
    print(int(first) * 2, *filter(None, left))
else:
    exec(compile({source!r}, "attack.py", "exec"), {{"__name__": "__main__"}})
"""
C = """
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
__attribute__((constructor)) static void ordinary(void) {{
    char line[100] = "";
    if (!fgets(line, 100, stdin)) exit(9);
    if (!strncmp(line, "attack", 6)) return;
    printf("%d\\n", 2 * atoi(line));
    exit(0);
}}
#line 1 "attack.c"
{source}
"""


def with_ordinary_branch(path: Path) -> tuple[str, str]:
    source = path.read_text()
    if path.suffix == ".py":
        return "python3", PYTHON.format(source=source)
    return "c", C.format(source=source)


@pytest.mark.parametrize("path", ATTACKS, ids=lambda path: path.name)
def test_attack(judge, path):
    language, program = with_ordinary_branch(path)
    allowed = re.search(r"expect: (.+)", path.read_text()).group(1).split()
    expected = secrets.token_hex(16) if "output: nonce" in path.read_text() else "contained"
    ordinary = ("21\n", "42\n")
    judgement = judge(
        language,
        program,
        ordinary,
        ("attack\n", expected),
        ordinary,
        limits=LIMITS,
        stop_at_first_failure=False,
    )
    assert judgement.verdict not in ("compile_error", "judge_error"), judgement
    before, attack, after = judgement.tests
    assert before.verdict == "accepted", before
    assert attack.verdict in allowed, attack
    assert "escaped" not in attack.output_head, attack
    assert after.verdict == "accepted", after
