"""Isolation: one jail per program, built by bubblewrap or by Landlock, and the supervisor that is process 1 inside it.

`tiers.require` finds out what this machine allows, `session.Session` starts a jail and runs programs in it, `guest/` is
the code that runs inside. Nothing here knows languages, tests or verdicts.
"""

from sandbox.isolation.cgroups import Group
from sandbox.isolation.jail import JailSpec
from sandbox.isolation.session import JailDied, Run, Session, sealed, stack_bytes
from sandbox.isolation.tiers import current_tier, require

__all__ = [
    "Group",
    "JailDied",
    "JailSpec",
    "Run",
    "Session",
    "current_tier",
    "require",
    "sealed",
    "stack_bytes",
]
