"""Tries hostile sources on the adapters, each in a process of its own. For a test and for the benchmark of
trust.

    python tests/pipeline/hostile_sources.py [PART OF A NAME ...]     # a line of JSON per attack
    python tests/pipeline/hostile_sources.py --quick                  # without those that take seconds each

`tried()` gives (attacks, breaches) to others. A breach is: the process was ended, took more CPU time or
memory than it should, raised anything but a SourceError, gave out what lies outside of the source, did not
read the good rows beside, or gave no reason, or one of more than a line.
"""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from hostile import packages, tables, texts
from hostile.attack import SECRET, Attack

ATTACKS: list[Attack] = [*packages.ATTACKS, *texts.ATTACKS, *tables.ATTACKS]
WALL_S, MEMORY_BYTES, NOBODY = 60, 6 << 30, 65534
REASON_CHARACTERS = 1_000
# Hundreds of MiB have to be made first. For each there is a smaller attack of the same kind.
COSTLY = (
    "a value of 700 MiB",
    "2 GiB of zeros in gzip",
    "a row with 100 million elements",
    "a value of 8 MiB in 2,000 rows, of which the schema says nothing",
    "100 million rows of nothing",
    "an archive with 600 MiB of zeros",
    "a dictionary of 2 MiB in 2,000 rows",
)


def tried(*parts: str) -> tuple[int, dict[str, list[str]]]:
    """(number of attacks, breaches of each attack that had some), in a fresh interpreter."""
    command = [sys.executable, __file__, *parts]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=1_200)
    actual = {row["attack"]: row["breaches"] for row in map(json.loads, done.stdout.splitlines())}
    return len(actual), {name: breaches for name, breaches in actual.items() if breaches}


def attempt(attack: Attack) -> dict:
    """What came of one attack."""
    folder = Path(tempfile.mkdtemp(prefix="hostile-"))
    try:
        folder.chmod(0o755)
        source = attack.make(folder) or folder / "source"
        result = folder / "result.json"
        result.touch()
        result.chmod(0o666)
        pid = os.fork()
        if not pid:
            child(attack, str(source), result)
        status = os.waitpid(pid, 0)[1]
        text = result.read_text()
        if os.WIFSIGNALED(status) or not text:
            how = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else f"status {status}"
            return {"attack": attack.name, "breaches": [f"its process was ended: {how}"]}
        facts = json.loads(text)
        return {"attack": attack.name, "breaches": breaches(attack, facts), **facts}
    finally:
        packages.cleanup(folder)
        shutil.rmtree(folder, ignore_errors=True)


def child(attack: Attack, source: str, result: Path) -> None:
    """Read the source as far as it goes, and write down what came. Does not return."""
    try:
        resource.setrlimit(resource.RLIMIT_CPU, (int(attack.cpu_s * 4), int(attack.cpu_s * 4) + 1))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        signal.alarm(WALL_S)
        if attack.as_nobody and os.geteuid() == 0:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
        facts = read(attack.adapter, source)
        signal.alarm(0)
        result.write_text(json.dumps(facts))
    finally:
        os._exit(0)


def read(adapter: str, source: str) -> dict:
    from pipeline.adapters import Refused, SourceError, find, tables

    good, reasons, leaks, raised, error = 0, {}, 0, "", ""
    try:
        reader = find(adapter)
        for file in reader.files(source, None):
            leaks += SECRET in file.name
            for item in reader.read(file):
                raw = item.raw if isinstance(item.raw, bytes) else item.raw()
                leaks += SECRET.encode() in raw
                if isinstance(item, Refused):
                    reasons[item.reason] = reasons.get(item.reason, 0) + 1
                else:
                    good += 1
                    leaks += SECRET in repr((item.row, getattr(item, "tests", None)))
    except SourceError as refusal:
        error = str(refusal)
    except BaseException as failure:
        raised = f"{type(failure).__name__}: {failure}"[:300]
    tables.close_decoders()
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu_s = sum(one.ru_utime + one.ru_stime for one in used)
    memory_mb = max(one.ru_maxrss for one in used) // 1024
    facts = {"good": good, "reasons": reasons, "error": error, "raised": raised, "leaks": leaks}
    return facts | {"cpu_s": round(cpu_s, 2), "memory_mb": memory_mb}


def breaches(attack: Attack, facts: dict) -> list[str]:
    actual = []
    if facts["leaks"]:
        actual.append(f"{facts['leaks']} items hold what lies outside of the source")
    if facts["raised"]:
        actual.append(f"raised {facts['raised']}")
    if facts["cpu_s"] > attack.cpu_s:
        actual.append(f"took {facts['cpu_s']} CPU seconds")
    if facts["good"] != attack.good:
        actual.append(f"{facts['good']} good rows were read, not {attack.good}")
    if bool(facts["error"]) != bool(attack.error) or (attack.error or "") not in facts["error"]:
        actual.append(f"the source was refused with {facts['error']!r}, not {attack.error!r}")
    if attack.reason is None and facts["reasons"]:
        actual.append(f"refused: {list(facts['reasons'])}")
    if attack.reason is not None and not any(attack.reason in reason for reason in facts["reasons"]):
        actual.append(f"no reason says {attack.reason!r}: {list(facts['reasons'])[:3]}")
    for reason in [*facts["reasons"], facts["error"]]:
        if not reason.isprintable() or len(reason) > REASON_CHARACTERS:
            actual.append(f"a reason is not one printable line: {reason[:200]!r}")
    return actual


def main(parts: list[str]) -> None:
    from pipeline.adapters import BUILT_IN, find

    for name in BUILT_IN:
        find(name)  # imported before the processes are forked, so that none pays for it
    quick, parts = "--quick" in parts, [part for part in parts if part != "--quick"]
    for attack in ATTACKS:
        if quick and attack.name.endswith(COSTLY):
            continue
        if not parts or any(part in attack.name for part in parts):
            print(json.dumps(attempt(attack)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
