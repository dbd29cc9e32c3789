"""The entry of the command `spo`: it makes sure that the packages beside it are its own."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

ROOMS = ("sandbox", "pipeline", "trainer", "flows")


class ForeignRoom(ImportError):
    """Another package has the name of one of ours and is found first; the message says which, and where."""


def refuse_foreign_rooms() -> None:
    """Raise ForeignRoom if one of our packages is hidden by another of the same name, as a folder `flows` of
    a Prefect project on PYTHONPATH would.
    """
    own = Path(__file__).resolve().parents[1]
    for name in ROOMS:
        spec = importlib.util.find_spec(name)
        where = [Path(place).resolve() for place in (spec.submodule_search_locations or [])] if spec else []
        if own / name not in where[:1]:
            place = where[0] if where else "nowhere"
            raise ForeignRoom(
                f"the package {name!r} is found at {place}, not at {own / name}: another package of that name"
                " hides the one of spo; take its folder out of PYTHONPATH, or run from another folder"
            )


def main() -> None:
    """Run the command line."""
    try:
        refuse_foreign_rooms()
    except ForeignRoom as error:
        print(f"spo: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    from flows.cli import main as run

    run()
