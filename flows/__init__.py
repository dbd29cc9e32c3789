"""Prefect flows and the command line."""

from flows.runtime import (
    engine as engine,
)  # first of all: Prefect reads its settings from the environment when it is imported
