"""Unattended work: a schedule file (`schedule`) as deployments of Prefect's server (`deployments`), whose
runs take only the file's parameters (`pinned`), and services that follow the store (`following`).

The modules import Prefect or torch, so a command imports only the one that it needs, by its own name.
"""

__all__ = ["deployments", "following", "keys", "pinned", "schedule"]
