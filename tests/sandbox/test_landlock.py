"""The second kind of jail, in judges of their own.

Programs of root run as another user, who must reach the interpreter: where this one is closed, the system's
is used.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
from dataclasses import asdict
from pathlib import Path

import pytest

from sandbox import SandboxUnavailable
from sandbox.isolation import bubblewrap, establish, jail, landlock, requested_kind
from sandbox.isolation.guest import confine

HERE = Path(__file__).parent
needs_landlock = pytest.mark.skipif(
    confine.version() < confine.NEEDED_VERSION, reason="this kernel has no Landlock that keeps signals in"
)
# What this kind refuses (processes, files, /proc) ends many attacks early; none may get further than in the
# first kind.
ENDS_EARLY = {"runtime_error", "time_limit_exceeded"}
QUICK = (
    "answer_in_memory.py", "become_root.py", "device_nodes.py", "inherited_descriptors.py",
    "kernel_interfaces.c", "kill_everything.py", "limit_the_judge.c", "mounts.c", "namespaces.c",
    "network.py", "ptrace_the_judge.c", "read_host_files.py", "signal_the_judge.py", "thread_storm.c",
    "write_outside_scratch.py", "write_the_judges_memory.py", "include_host_file.c", "embed_host_file.c",
    "include_own_process.c",
)  # fmt: skip


def interpreter() -> str:
    own = jail.interpreter()[0]
    if os.geteuid() != 0 or landlock.is_open(Path(own)):
        return own
    system = "/usr/bin/python3"
    recent = Path(system).exists() and subprocess.run(
        [system, "-c", "import sys; sys.exit(sys.version_info < (3, 11))"]
    )
    if not recent or recent.returncode:
        pytest.skip("no interpreter that every user can reach")
    return system


def judged(cache: Path, submissions: list[dict]) -> tuple[str, dict[str, dict]]:
    """The tier, and the judgements by key."""
    lines = "\n".join(map(json.dumps, submissions))
    done = subprocess.run(
        [interpreter(), str(HERE / "judge_lines.py"), str(HERE.parents[1]), str(cache)],
        input=lines, capture_output=True, text=True, env=os.environ | {"SPO_SANDBOX_TIER": "landlock"},
    )  # fmt: skip
    if "open to every user" in done.stderr:
        pytest.skip(done.stderr.strip().splitlines()[-1])
    assert done.returncode == 0, done.stderr
    tier, *judgements = map(json.loads, done.stdout.splitlines())
    return tier, {judgement["key"]: judgement for judgement in judgements}


def load(name):
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PROGRAMS = {
    "python": ("python3", "print(int(input()) * 2)", "21\n", "42\n", {}),
    "c": ("c", '#include <stdio.h>\nint main() { int n; scanf("%d", &n); printf("%d", 2 * n); }', "21\n",
    "42\n", {}), "cpp": ("cpp",
    "#include <bits/stdc++.h>\nint main() { int n; std::cin >> n; std::cout << 2 * n; }", "21\n", "42\n", {}),
    "threads": (
        "python3",
        "import threading\nfound = []\nthreads = "
         "[threading.Thread(target=found.append, args=(n,)) for n in range(4)]\n"
        "for thread in threads: thread.start()\nfor thread in threads: thread.join()\nprint(sum(found))", "",
        "6\n", {},
    ),
    "lazy import": ("python3", "x = 3\nif x: import tokenize as t; print(t.NAME)", "", "1\n", {}),
    "no children": ("python3", "import os\ntry: os.fork()\nexcept OSError as error: print(error.errno)", "",
    "1\n", {}), "no files": ("python3",
    "try: open('/tmp/absent', 'w')\nexcept OSError as error: print(error.errno)", "", "13\n", {}), "no modes":
    ("python3", "import os\ntry: os.chmod('/tmp', 0)\nexcept OSError as error: print(error.errno)", "", "1\n",
    {}), "spins": ("python3", "while True: pass", "", "", {"time_s": 0.2}), "grows": ("python3",
    "found = bytearray(1 << 30)\nfor n in range(0, 1 << 30, 4096): found[n] = 1", "", "", {"memory_mb": 90}),
    "crashes": ("c", "int main() { __builtin_trap(); }", "", "", {}), "wrong": ("cpp", "int main() {}", "",
    "1", {}), "does not compile": ("c", "int main() { return x; }", "", "", {}), "java": ("java",
    "class A {}", "", "", {}),
}  # fmt: skip
ENDINGS = {
    "spins": "time_limit_exceeded", "grows": "memory_limit_exceeded", "crashes": "runtime_error", "wrong":
    "wrong_answer", "does not compile": "compile_error", "java": "language_unavailable",
}  # fmt: skip


@needs_landlock
def test_programs(tmp_path):
    work = [
        {
            "key": key,
            "language": language,
            "program": program,
            "tests": [["1", "stdin", given, expected]],
            "limits": limits,
        }
        for key, (language, program, given, expected, limits) in PROGRAMS.items()
    ]
    tier, actual = judged(tmp_path / "programs", work)
    assert tier.startswith("landlock-")
    assert {key: judgement["verdict"] for key, judgement in actual.items()} == dict.fromkeys(
        PROGRAMS, "accepted"
    ) | ENDINGS, actual
    assert {judgement["tier"] for judgement in actual.values()} == {tier}


def attacks(names):
    """Submissions, and the verdicts that each may get.

    Ordinary tests do not list folders, which are closed here.
    """
    hostile, sources = load("test_hostile"), load("test_hostile_sources")
    work, allowed = [], {}
    ordinary = ["stdin", "21\n", "42\n"]
    for path in (*hostile.ATTACKS, *sources.ATTACKS):
        if names and path.name not in names:
            continue
        text = path.read_text()
        allowed[path.name] = set(re.search(r"expect: (.+)", text).group(1).split()) | ENDS_EARLY
        if path in hostile.ATTACKS:
            language, program = hostile.with_ordinary_branch(path)
            program = program.replace('[os.listdir(folder) for folder in ("/tmp", "/dev/shm")]', "[]")
            attack = [
                "attack",
                "stdin",
                "attack\n",
                "never printed" if "output: nonce" in text else "contained",
            ]
            tests, limits = [["before", *ordinary], attack, ["after", *ordinary]], hostile.LIMITS
        else:
            language, program = sources.LANGUAGES[path.suffix], sources.source_of(path)
            tests, limits = [["attack", "stdin", "", None]], sources.LIMITS
        one = {
            "key": path.name,
            "language": language,
            "program": program,
            "tests": tests,
            "limits": asdict(limits),
        }
        work.append(one | {"stop_at_first_failure": False})
    return work, allowed


def breaches(cache: Path, names: tuple[str, ...]) -> dict[str, list[str]]:
    """{attack: what it broke}, of those whose language is there."""
    work, allowed = attacks(names)
    _, actual = judged(cache, work)
    assert len(actual) == len(work) >= len(QUICK)
    return {
        key: faults_of(judgement, allowed[key])
        for key, judgement in actual.items()
        if judgement["verdict"] != "language_unavailable"
    }


def faults_of(judgement: dict, allowed: set[str]) -> list[str]:
    by_id = {test["test_id"]: test for test in judgement["tests"]}
    verdict = by_id["attack"]["verdict"] if "attack" in by_id else judgement["verdict"]
    faults = [] if verdict in allowed else [f"ended with {verdict}"]
    if any("escaped" in test["output_head"] for test in by_id.values()):
        faults.append("escaped")
    if "root:" in judgement["compile_output"]:
        faults.append("read a file of the host")
    harmed = [name for name in ("before", "after") if name in by_id and by_id[name]["verdict"] != "accepted"]
    return faults + [f"the test {name} it is not accepted" for name in harmed]


@needs_landlock
@pytest.mark.parametrize("names", [QUICK, pytest.param((), marks=pytest.mark.slow)], ids=["some", "all"])
def test_attacks(tmp_path, names):
    assert {key: faults for key, faults in breaches(tmp_path / "programs", names).items() if faults} == {}


@pytest.mark.parametrize(("version", "says"), [(0, "no Landlock"), (5, "Linux 6.12")])
def test_a_kernel_without_it(monkeypatch, version, says):
    monkeypatch.setattr(confine, "version", lambda: version)
    with pytest.raises(SandboxUnavailable, match=says):
        landlock.require([])


@pytest.mark.skipif(
    os.geteuid() != 0 or confine.version() < confine.NEEDED_VERSION, reason="asks for root, and Landlock"
)
def test_an_interpreter_that_programs_cannot_reach(tmp_path):
    (tmp_path / "python").touch(mode=0o755)
    tmp_path.chmod(0o700)
    with pytest.raises(SandboxUnavailable, match="open to every user"):
        landlock.require([str(tmp_path / "python")])


def test_no_kind_of_jail(cache, monkeypatch):
    """The error gives both reasons, and a kind that is asked for is not replaced by the other."""
    monkeypatch.setattr(bubblewrap, "find_bwrap", lambda: "/nowhere/bwrap")
    monkeypatch.setattr(confine, "version", lambda: 0)
    with pytest.raises(SandboxUnavailable, match=r"(?s)bwrap.*second kind of jail.*no Landlock"):
        establish(cache)
    with pytest.raises(SandboxUnavailable, match=r"^((?!Landlock).)*$"):
        establish(cache, "bwrap")


@pytest.mark.parametrize(
    ("value", "kind"), [("bwrap", "bwrap"), ("landlock", "landlock"), ("", None), (None, None)]
)
def test_the_kind_that_is_asked_for(monkeypatch, value, kind):
    if value is None:
        monkeypatch.delenv("SPO_SANDBOX_TIER", raising=False)
    else:
        monkeypatch.setenv("SPO_SANDBOX_TIER", value)
    assert requested_kind() == kind


def test_a_kind_that_does_not_exist_is_refused(monkeypatch):
    monkeypatch.setenv("SPO_SANDBOX_TIER", "none")
    with pytest.raises(SandboxUnavailable, match=r"SPO_SANDBOX_TIER is 'none'.*bwrap or landlock"):
        requested_kind()
