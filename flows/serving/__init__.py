"""What runs without a person: a schedule file (`schedule`) as deployments of Prefect's server
(`deployments`), whose runs take no parameters but those of the file (`pinned`), and services that follow the
store (`following`). Each module imports Prefect or torch, so that commands import the one that they need by
file.
"""

__all__ = ["deployments", "following", "pinned", "schedule"]
