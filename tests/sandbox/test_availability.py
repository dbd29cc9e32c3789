"""A language is available if its hello program builds and runs in a jail, not if its compiler prints a
version.
"""

from __future__ import annotations

import pytest

from sandbox import Submission, Test
from sandbox.judging import Judge
from sandbox.languages import Language, table

SHELL = dict(
    hello="echo 'Hello, world!'",
    source_name="main.sh",
    run=("sh", "{source}"),
    compile=("cp", "{source}", "main"),
    version=("sh", "-c", "echo shell 1.0"),
)


@pytest.fixture
def judged(isolation, cache, monkeypatch):
    """judged(**fields of a row) -> the judgement of a program in that language"""

    def judge(**fields):
        monkeypatch.setitem(table.BY_NAME, "shell", Language("shell", **SHELL | fields))
        table.find_language.cache_clear()
        with Judge(isolation, cache) as judge:
            return judge.judge(
                Submission("read n; echo $((2 * n))", "shell", (Test("1", "stdin", "21\n", "42\n"),))
            )

    yield judge
    table.find_language.cache_clear()


def test_a_language_whose_hello_program_runs(judged):
    judgement = judged(run=("sh", "{program}/main"))
    assert (judgement.verdict, judgement.toolchain) == ("accepted", "shell 1.0")


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"compile": ("sh", "-c", "echo broken >&2; exit 1")}, "the compiler says: broken"),
        ({"run": ("sh", "{program}/other")}, "its program ends with wait status"),
        ({"run": ("sh", "{program}/main"), "hello": "echo Hello"}, "its program ends with wait status 0"),
        ({"version": ("sh", "-c", "exit 1")}, "language shell is not on this machine"),
        ({"compile": ("no-such-compiler",)}, "language shell is not on this machine"),
    ],
    ids=["compiler", "run", "output", "version", "missing"],
)
def test_a_broken_tool_chain_is_not_a_compile_error(judged, fields, complaint):
    judgement = judged(**fields)
    assert judgement.verdict == "language_unavailable"
    assert complaint in judgement.compile_output


def test_the_proof_is_made_once(isolation, cache, monkeypatch):
    """Until the judge is closed; a second judge proves it again, from the cache of built programs."""
    with Judge(isolation, cache) as judge:
        proofs = []
        proof = judge.languages._complaint
        monkeypatch.setattr(judge.languages, "_complaint", lambda row: proofs.append(row.name) or proof(row))
        for language in ("c", "c", "python3"):
            judge.judge(Submission("", language, (Test("t", "stdin", ""),)))
    assert proofs == ["c"]
