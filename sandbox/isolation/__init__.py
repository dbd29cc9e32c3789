"""Isolation: one jail per program, built by bubblewrap or Landlock, with a supervisor as its process 1.

`establish` finds out what this machine allows and returns it as a value, an `Isolation`; `Session` starts a
jail with it and runs programs there; `guest/` is the code that runs inside. Nothing here knows languages,
tests or verdicts.
"""

from sandbox.isolation.cgroups import Group, remove_groups, remove_left_over_groups
from sandbox.isolation.discovery import KIND_VARIABLE, establish, requested_kind
from sandbox.isolation.guest import protocol
from sandbox.isolation.jail import ONE_THREAD, JailSpec, interpreter
from sandbox.isolation.kinds import KINDS, Isolation, Kind
from sandbox.isolation.landlock import ProgramCopies, is_open
from sandbox.isolation.native import supervisor as supervisor_in_c
from sandbox.isolation.protections import protections_of
from sandbox.isolation.run import JailDied, Run, sealed, stack_bytes
from sandbox.isolation.session import Session, StartedRuns

__all__ = [
    "KINDS",
    "KIND_VARIABLE",
    "ONE_THREAD",
    "Group",
    "Isolation",
    "JailDied",
    "JailSpec",
    "Kind",
    "ProgramCopies",
    "Run",
    "Session",
    "StartedRuns",
    "establish",
    "interpreter",
    "is_open",
    "protections_of",
    "protocol",
    "remove_groups",
    "remove_left_over_groups",
    "requested_kind",
    "sealed",
    "stack_bytes",
    "supervisor_in_c",
]
