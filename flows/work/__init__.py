"""What stages do, with and without Prefect, one file per stage.

A flow in `flows/stages/` calls these functions and passes its tasks to them. A command calls them directly if
the work is small and no server runs (`flows/commands/common.py`); then Prefect is not imported.
"""
