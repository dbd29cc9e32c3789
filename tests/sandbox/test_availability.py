"""A language is available if its hello program builds and runs in a jail, not if its compiler prints a
version.
"""

from __future__ import annotations

import pytest

from sandbox import Submission, Test
from sandbox.building import ProvenLanguages, tools
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


def test_the_proof_is_made_once(isolation, tmp_path, monkeypatch):
    """By all judges with the same folder of built programs; Python, which runs the judge, needs none."""
    proofs = []
    proof = ProvenLanguages._complaint
    monkeypatch.setattr(
        ProvenLanguages, "_complaint", lambda self, row: proofs.append(row.name) or proof(self, row)
    )
    for _ in range(2):
        with Judge(isolation, tmp_path) as judge:
            for language in ("c", "c", "python3"):
                judge.judge(Submission("int main;", language, (Test("t", "stdin", ""),)))
    assert proofs == ["c"]


def test_a_failure_is_tried_again_by_the_next_judge(judged):
    """The user may have fixed the tool chain, whose version need not change."""
    assert judged(run=("sh", "{program}/other")).verdict == "language_unavailable"
    assert judged(run=("sh", "{program}/main")).verdict == "accepted"


def test_a_language_that_is_known_but_absent(judged):
    assert judged(version=("no-such-tool",)).compile_output == "language shell is not on this machine"


def test_an_unknown_language_gets_a_suggestion(judge):
    judgement = judge("pyton 3.8", "print(1)", ("", "1"))
    assert judgement.verdict == "language_unavailable"
    assert judgement.compile_output.startswith("unknown language 'pyton 3.8'; did you mean python3")


def test_links_out_of_a_tool_chain_are_followed(tmp_path, monkeypatch):
    """Debian keeps Go in /usr/lib/go-1.19, and its sources behind a link in /usr/share/go-1.19."""
    chain, shared, secret = tmp_path / "lib" / "tool-1", tmp_path / "share" / "tool-1", tmp_path / "secret"
    for folder in (chain / "bin", shared / "src", secret):
        folder.mkdir(parents=True)
    (chain / "bin" / "tool").write_text("")
    (chain / "src").symlink_to(shared / "src")
    (chain / "keys").symlink_to(secret)
    monkeypatch.setattr(tools, "INSTALLED", (str(tmp_path / "share"),))
    actual = tools.tool_folders(str(chain / "bin" / "tool"))
    assert actual == (str(chain), str(shared / "src"))


def test_a_tool_in_a_folder_of_many_is_shown_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(tools, "SHARED_FOLDERS", (tmp_path,))
    assert tools.tool_folders(f"{tmp_path}/bin/tool") == (f"{tmp_path}/bin/tool",)
