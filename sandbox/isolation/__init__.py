"""Isolation: one jail per program, built by bubblewrap or Landlock, with a supervisor as its process 1.

`establish` finds out what this machine allows and returns it as a value, an `Isolation`; `Session` starts a
jail with it and runs programs there; `guest/` is the code that runs inside. Nothing here knows languages,
tests or verdicts.
"""

from sandbox.isolation.cgroups import Group
from sandbox.isolation.establish import KIND_VARIABLE, establish, requested_kind
from sandbox.isolation.jail import ENVIRONMENT, JailSpec
from sandbox.isolation.kinds import Isolation, Kind
from sandbox.isolation.run import JailDied, Run, sealed, stack_bytes
from sandbox.isolation.session import Session, StartedRuns

__all__ = [
    "ENVIRONMENT",
    "KIND_VARIABLE",
    "Group",
    "Isolation",
    "JailDied",
    "JailSpec",
    "Kind",
    "Run",
    "Session",
    "StartedRuns",
    "establish",
    "requested_kind",
    "sealed",
    "stack_bytes",
]
