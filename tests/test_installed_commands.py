"""Every command of the installed package, on a small store of its own: none is tried with --help alone."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import time

import pytest

from tests.test_package import installed, run_in, sdist, wheel  # noqa: F401  (fixtures)

# In this order; STARTER, PROBLEM and RUN are replaced. A number at the end is the exit code.
SMALL = ("--max-new-tokens", "12")
WALK: tuple[tuple[str | int, ...], ...] = (
    ("doctor", "--json"),
    ("ingest", "STARTER", "--limit", "6"),
    ("ingest", "broken.jsonl"),
    ("label",),
    ("deduplicate",),
    ("decontaminate", "--evaluation", "problem_id = 'mine/double'"),
    ("sql", "@contents"),
    ("config", "beta"),
    ("show", "PROBLEM"),
    ("judge", "wrong.py", "--problem", "PROBLEM", 1),
    ("quarantine", "list"),
    ("quarantine", "show"),
    ("quarantine", "retry"),
    ("warmstart", "models/first", "--share", "1", "--steps", "4", "--layers", "1", "--width", "32"),
    ("rollout", "models/first", "--samples", "2", *SMALL),
    ("prompt", "PROBLEM", "--policy", "models/first"),
    ("label",),
    ("score", "models/first"),
    ("init",),
    ("corpus", "publish", "corpora/humans.sql"),
    ("corpus", "list"),
    ("corpus", "show", "humans"),
    ("corpus", "export", "humans", "exported"),
    ("corpus", "diff", "humans", "humans"),
    ("train", "run.toml", "--dry-run"),
    ("train", "run.toml"),
    ("train", "online.toml"),
    ("plan", "data/runs/online", "--ages", "2", 1),
    ("weights", "RUN", "human=0.5"),
    ("eval", "models/first", "RUN/final", "--problems", "true", "--samples", "2", *SMALL),
    ("search", "best_of", "models/first", "--samples", "2", *SMALL),
    ("report", "RUN"),
    ("push", "first-spo", "pushed"),
    ("view", "--bundle", "bundle", "PROBLEM"),
    ("store", "status"),
    ("store", "ledger"),
    ("store", "check"),
    ("store", "pin", "here"),
    ("store", "pins"),
    ("store", "unpin", "here"),
    ("store", "maintain"),
    ("store", "repair"),
    ("maintain",),
)
# What a command that ends with an error is to say. The policy of the run that is planned solves nothing.
REFUSED = {"plan": "no signal was measured"}
# These run until Ctrl-C: the words, and what they print first.
SERVICES: tuple[tuple[tuple[str, ...], str], ...] = (
    (("view", "--port", "0"), "explorer of"),
    (("serve-judge", "--port", "0"), "judge"),
    (("up",), "4200"),
    (("serve", "schedule.toml"), "Prefect's UI"),
)
# With a server that runs; the words, and what they print.
SERVED: tuple[tuple[tuple[str, ...], str], ...] = (
    (("ui",), "4200"),
    (("deploy", "schedule.toml", "--pool", "walk"), "walk"),
)
ELSEWHERE = {"demo"}  # it has a test of its own
# A run that makes fresh rows of several ages, for `plan`.
ONLINE = """
run = "data/runs/online"
store = "data/store"
reference = "models/first"
allow_leaks = ["ngrams", "same", "itself"]
[training]
steps = 24
[optimiser]
learning_rate = 1e-3
[mixture]
batch_sequences = 4
[[source]]
name = "fresh"
where = "j.origin = 'online' and j.run_id = 'online'"
weight = 1.0
[online]
from_step = 0
every = 4
problems = 6
sampling = {samples_per_problem = 4, max_new_tokens = 12}
"""


def replaced(words, starter: str) -> list[str]:
    names = {"STARTER": starter, "PROBLEM": "mine/double"}
    texts = [names.get(word, word) for word in words if isinstance(word, str)]
    return [text.replace("RUN", "data/runs/first-spo") for text in texts]


@pytest.fixture(scope="module")
def place(installed, tmp_path_factory):  # noqa: F811
    """A folder with a problem, its right and wrong programs, and a line that is none."""
    folder = tmp_path_factory.mktemp("place")
    problem = {"problem_id": "mine/double", "statement": "Print twice the number.", "split": "train"}
    problem["tests"] = [{"input": "2\n", "expected_output": "4\n"}]
    program = {"problem_id": "mine/double", "origin": "human", "policy_id": "ann"}
    lines = [problem, program | {"program": "print(2 * int(input()))"}, program | {"nonsense": 1}]
    (folder / "broken.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "wrong.py").write_text("print(int(input()))\n")
    (folder / "online.toml").write_text(ONLINE)
    return folder


def environment() -> dict[str, str]:
    return {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "OMP_NUM_THREADS": "1"}


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_every_command_runs(installed, place):  # noqa: F811
    known = json.loads(run_in(installed, "python", "-c", LEAVES).stdout)
    covered = (
        {" ".join(known_words(words)) for words in WALK}
        | {words[0] for words, _ in (*SERVICES, *SERVED)}
        | ELSEWHERE
    )
    assert set(known) == covered
    starter = str(next(installed.parent.glob("lib/*/site-packages/spo/data/starter")))
    for words in WALK:
        code = words[-1] if isinstance(words[-1], int) else 0
        command = [str(installed / "spo"), *replaced(words, starter)]
        done = subprocess.run(command, cwd=place, env=environment(), capture_output=True, text=True)
        assert done.returncode == code, f"{command}\n{done.stdout}{done.stderr}"
        assert "Traceback" not in done.stderr, done.stderr
        assert REFUSED.get(words[0], "") in done.stderr, done.stderr


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("words", "said"), SERVICES, ids=lambda value: value[0] if isinstance(value, tuple) else ""
)
def test_every_service_starts_and_ends(installed, place, words, said):  # noqa: F811
    if not (place / "schedule.toml").exists():
        pytest.skip("the test before it makes the store")
    log = place / f"{words[0]}.log"
    with open(log, "wb") as output:
        process = subprocess.Popen(
            [str(installed / "spo"), *words], cwd=place, env=environment(), stdout=output, stderr=output
        )
    deadline = time.monotonic() + 300
    while said not in log.read_text() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.3)
    assert said in log.read_text()
    if words[0] == "up":  # it prints its address before it listens
        while not answers(4200) and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.3)
        for client, shown in SERVED:
            command = [str(installed / "spo"), *client]
            done = subprocess.run(command, cwd=place, env=environment(), capture_output=True, text=True)
            assert done.returncode == 0 and shown in done.stdout + done.stderr, done.stdout + done.stderr
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) in (0, 130)


def known_words(words) -> list[str]:
    """The name of a command in a line of WALK."""
    texts = [word for word in words if isinstance(word, str)]
    return texts[:2] if texts[0] in ("corpus", "quarantine", "store") else texts[:1]


LEAVES = """
import json, typer.main
from flows.cli import app
waiting, names = [((), typer.main.get_command(app))], []
while waiting:
    path, command = waiting.pop()
    below = getattr(command, "commands", {})
    waiting += [((*path, name), sub) for name, sub in below.items()]
    if not below:
        names.append(" ".join(path))
print(json.dumps(names))
"""
