"""Prefect flows and the command line."""

# Imported before Prefect, which reads its settings from the environment at import time.
from flows.runtime import settings as settings
