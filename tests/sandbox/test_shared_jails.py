"""Jails that several programs share: no program influences the next, or finds anything of the one before it,
whatever it tries, in both kinds of jails; and the verdicts are those of jails for each program.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox import Limits, Pool, Submission, Test
from sandbox.isolation import jail, landlock
from sandbox.isolation.guest import confine, plain

HERE = Path(__file__).parent
ATTACKS = {path.name: path.read_text() for path in sorted((HERE / "hostile").glob("*.py"))}
# What a program can find out about its surroundings, but its process id and times.
OBSERVER = r"""
import builtins, gc, os, resource, signal, sys, threading
def listed(folder):
    try: return sorted(os.listdir(folder))
    except OSError as error: return error.errno
print(sorted(sys.modules), sorted(vars(builtins)), sorted(os.environ.items()), sys.argv, sys.path)
print(os.getcwd(), os.getuid(), os.getgid(), os.getpgid(0) == os.getpid(), os.umask(0))
print(threading.active_count())
print([listed(folder) for folder in ("/tmp", "/dev/shm", "/program", "/dev", "/")])
print([fd for fd in range(256) if not os.system is None and os.path.exists(f"/proc/self/fd/{fd}")][:4])
print([resource.getrlimit(number) for number in range(16)], [signal.getsignal(n) for n in range(1, 32)])
print([name for name in listed("/proc") or () if name.isdigit() and int(name) not in (1, os.getpid())]
      if isinstance(listed("/proc"), list) else "")
print([len(part) for part in gc.get_objects.__doc__.split()][:3], gc.isenabled(), sys.getrecursionlimit())
print(sys.stdin.name, sys.stdout.name, sys.flags, sys.getswitchinterval(), hash("text"))
"""
# Text of another program, wherever this one can read: its memory, process 1, the scratch folders.
SEARCHER = r"""
import os, re
wanted, found = re.compile(b"MARK" + b"[0-9]{6}"), set()
for pid in ("self", "1"):
    try:
        maps = open(f"/proc/{pid}/maps").read().splitlines()
        memory = open(f"/proc/{pid}/mem", "rb", buffering=0)
    except OSError:
        continue
    for line in maps:
        area, rights = line.split()[:2]
        begin, end = (int(word, 16) for word in area.split("-"))
        if rights[0] == "r" and end < 1 << 47:
            try:
                memory.seek(begin)
                found.update(wanted.findall(memory.read(end - begin)))
            except (OSError, ValueError):
                pass
for name in ("/proc/1/environ", "/proc/1/cmdline", "/proc/1/fdinfo", "/tmp", "/dev/shm"):
    try:
        text = str(os.listdir(name)) if os.path.isdir(name) else open(name).read()
        found.update(wanted.findall(os.fsencode(text)))
    except OSError:
        pass
print(sorted(found))
"""
MARKED = """
import sys
secret = "MARK123456"
class MARK234567: MARK345678 = {"MARK456789": secret * 100}
sys.intern("MARK567890")
print(len(secret), len([f"MARK{n}" for n in range(600000, 650000)]))
"""
INFLUENCES = {
    "patches": "import builtins, sys, os\nbuiltins.print = builtins.input = None\nsys.modules['os'] = None\n"
    "sys.stdout.close()\nos.environ['A'] = 'B'\nsys.path.clear()\nsys.setrecursionlimit(99)\n"
    "del builtins.int",
    "limits": "import resource, os, signal\nresource.setrlimit(resource.RLIMIT_NOFILE, (9, 9))\n"
    "resource.setrlimit(resource.RLIMIT_FSIZE, (1, 1))\nos.umask(0o777)\nos.chdir('/')\n"
    "signal.signal(signal.SIGCHLD, signal.SIG_IGN)",
    "children": "import os, time\nfor _ in range(5):\n    try: pid = os.fork()\n    except OSError: break\n"
    "    if not pid:\n        try: os.setsid()\n        except OSError: pass\n        time.sleep(60)\n",
    "process 1": "import ctypes, os, signal\nlibc = ctypes.CDLL(None)\nfor n in (9, 15, 19, 11):\n"
    "    try: os.kill(1, n)\n    except OSError: pass\nlibc.ptrace(16, 1, 0, 0)\n"
    "try: open('/proc/1/mem', 'wb').write(b'x')\nexcept OSError: pass\n"
    "libc.prlimit(1, 7, (ctypes.c_long * 2)(3, 3), None)",
    "own code": "import ctypes, gc, sys\nfor one in gc.get_objects():\n"
    "    if isinstance(one, dict) and '__builtins__' in one:\n        one.clear()\n"
    "ctypes.memset(id(sys), 0, 64)",
    "a file": "import os\ntry: open('/tmp/left', 'w').write('here')\nexcept OSError: pass\n"
    "try: os.mkdir('/dev/shm/left')\nexcept OSError: pass",
    "descriptors": "import os\nfor fd in range(256):\n    try: os.close(fd)\n    except OSError: pass",
    "much memory": "held = bytearray(100 << 20)\nfor at in range(0, len(held), 4096): held[at] = 1",
}


def interpreter(kind):
    """Programs of root run as another user in a Landlock jail, who must reach the interpreter."""
    own = jail.interpreter()[0]
    if kind == "bwrap" or landlock.is_open(Path(own)):
        return sys.executable
    return "/usr/bin/python3"


def outcomes(kind, cache, pairs):
    if kind == "landlock" and confine.version() < confine.NEEDED_VERSION:
        pytest.skip("this kernel has no Landlock that keeps signals in")
    lines = [{"name": name, "first": first, "second": second} for name, first, second in pairs]
    done = subprocess.run(
        [interpreter(kind), str(HERE / "shared_pairs.py"), str(HERE.parents[1]), str(cache), kind],
        input="\n".join(map(json.dumps, lines)), capture_output=True, text=True,
    )  # fmt: skip
    if "unavailable" in done.stderr or "No such file" in done.stderr:
        pytest.skip(done.stderr.strip().splitlines()[-1])
    assert done.returncode == 0, done.stderr
    return list(map(json.loads, done.stdout.splitlines()))


@pytest.mark.parametrize("kind", ["bwrap", "landlock"])
@pytest.mark.slow
def test_hostile_neighbours_do_not_influence_the_next_program(kind, cache):
    attacks = ATTACKS | INFLUENCES
    results = outcomes(kind, cache, [(name, source, OBSERVER) for name, source in attacks.items()])
    assert len(results) == len(attacks)
    for result in results:
        assert "escaped" not in result["first"], result
        assert result["alone"].count("\n") == 9, result
        assert result["second"] == result["alone"], result
        assert result["after"] == "42\n", result


@pytest.mark.parametrize("kind", ["bwrap", "landlock"])
def test_a_program_finds_nothing_of_the_one_before_it(kind, cache):
    (result,) = outcomes(kind, cache, [("marked", MARKED, SEARCHER)])
    assert result["first"] == "10 50000\n" and result["same_jail"]
    assert result["second"] == result["alone"] == "[]\n"


def test_a_run_that_was_killed_or_left_something_ends_the_jail(cache):
    by_name = {
        result["name"]: result["same_jail"]
        for result in outcomes("bwrap", cache, [
            ("ordinary", "print(1)", "print(2)"),
            ("fails", "raise ValueError", "print(2)"),
            ("a file", INFLUENCES["a file"], "print(2)"),
            ("signal", "import os; os.kill(os.getpid(), 9)", "print(2)"),
            ("spins", "while True: pass", "print(2)"),
        ])
    }  # fmt: skip
    assert by_name == {"ordinary": True, "fails": True, "a file": False, "signal": False, "spins": False}


@pytest.fixture(scope="module")
def shared(cache):
    with Pool(1, cache=cache, shared_jails=True) as pool:
        yield pool


LIMITS = Limits(time_s=0.5, memory_mb=128)
TESTS = tuple(Test(str(n), "stdin", f"{n}\n", f"{2 * n}\n") for n in range(30))
PROGRAMS = {
    "right": "print(int(input()) * 2)",
    "wrong at 7": "n = int(input())\nprint(n * 2 if n < 7 else 0)",
    "fails at 3": "n = int(input())\nprint(10 // (3 - n) * 0 + 2 * n)",
    "exits with 4": "import sys\nsys.exit(4)",
    "spins": "while True: pass",
    "takes all memory": "held = []\nwhile True: held.append(bytearray(1 << 20))",
    "recurses": "def f(n): return n if n < 1 else f(n - 1)\nprint(f(10 ** 6))",
    "floods": "while True: print('x' * 1000000)",
    "does not compile": "print(",
    "imports": "import sys, math\nfrom collections import deque\n"
    "for line in sys.stdin: print(math.floor(2 * int(line)))",
    "flushes late": "import sys\nsys.stdout.write(str(2 * int(input())))",
    "main": "def main():\n    print(2 * int(input()))\nif __name__ == '__main__':\n    main()",
    "a generator": "def g():\n    try:\n        yield int(input()) * 2\n    finally:\n        print('end')\n"
    "print(next(g()))",
}
NOT_PLAIN = {
    "a set": "print(2 * int(input()), end='')\nprint(*{'': 1}.keys() or {'a', 'b'})",
    "its file": "print(2 * int(input()) if 'input' in open(__file__).read() else 0)",
    "the system": "import os\nprint(2 * int(input()) if os.getpid() else 0)",
    "exec": "exec('print(2 * int(input()))')",
    "an import by name": "print(2 * __import__('operator').index(int(input())))",
}


@pytest.mark.parametrize("name", PROGRAMS | NOT_PLAIN)
@pytest.mark.parametrize("stop", [True, False])
def test_judgements_are_those_of_a_jail_for_each_program(name, stop, pool, shared):
    submission = Submission(
        (PROGRAMS | NOT_PLAIN)[name], "python3", TESTS, LIMITS, stop_at_first_failure=stop
    )
    if name in ("spins", "takes all memory") and not stop:
        submission = Submission(submission.program, "python3", TESTS[:2], LIMITS, stop_at_first_failure=stop)
    own, other = pool.judge(submission), shared.judge(submission)

    def facts(judgement):
        return judgement.verdict, judgement.passed, judgement.first_failure, [
            (test.verdict, test.output_digest, test.exit_code, test.signal) for test in judgement.tests
        ]  # fmt: skip

    assert facts(other) == facts(own)
    compiles = name != "does not compile"
    assert other.tier.endswith("+shared") == (name in PROGRAMS and compiles)
    assert not own.tier.endswith("+shared")


def test_code_that_the_filter_does_not_know_is_not_plain():
    class Code:
        co_names, co_name, co_consts, co_code = (), "main", (), bytes([plain.IMPORT, 0])

    assert not plain.is_plain(Code())


def test_what_a_caller_wants_to_see_of_a_run_needs_a_jail_of_its_own(shared):
    kept = shared.judge(Submission(PROGRAMS["right"], "python3", TESTS[:1], LIMITS, keep_bytes=100))
    assert kept.verdict == "accepted" and not kept.tier.endswith("+shared")


def test_the_variable_asks_for_shared_jails(cache, monkeypatch):
    monkeypatch.setenv("SPO_SANDBOX_SHARED_JAILS", "1")
    with Pool(1, cache=cache) as pool:
        assert pool.judge(Submission("print(1)", "python3", TESTS[:1], LIMITS)).tier.endswith("+shared")
    monkeypatch.setenv("SPO_SANDBOX_SHARED_JAILS", "yes")
    with pytest.raises(ValueError, match="SPO_SANDBOX_SHARED_JAILS is 'yes'"):
        Pool(1, cache=cache)
