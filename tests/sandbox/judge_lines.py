"""Judges submissions, one JSON object per line in and out: a judge under another interpreter, user or tier.

Needs only the standard library. Started as `python judge_lines.py REPOSITORY CACHE`; the first line out is
the tier.
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, sys.argv[1])
from sandbox import Limits, Pool, SandboxUnavailable, Submission, Test


def submission(line: str) -> Submission:
    given = json.loads(line)
    tests = tuple(Test(*test) for test in given.pop("tests"))
    return Submission(**given | {"tests": tests, "limits": Limits(**given.pop("limits", {}))})


try:
    with Pool(2, cache=Path(sys.argv[2])) as pool:
        print(json.dumps(pool.tier), flush=True)
        for judgement in pool.stream(map(submission, sys.stdin)):
            print(json.dumps(asdict(judgement)), flush=True)
except SandboxUnavailable as error:
    sys.exit(str(error))
