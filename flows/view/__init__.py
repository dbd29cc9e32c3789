"""The explorer: a read-only web page over a store, on the loopback address (`spo view`).

`app.py` has the routes, `guard.py` decides who is let in, `versions.py` and `connections.py` read the store
at pinned versions, `window.py` pages through tables, `records.py` reads one problem or trajectory, `pages/`
holds one module per kind of page, and `bundle.py` writes pages to a folder. Everything is rendered here; the
page needs no network.
"""

from flows.view.app import application
from flows.view.beside import explorer_beside
from flows.view.bundle import BundleError, write_bundle
from flows.view.records import RECORD_KINDS, read_record
from flows.view.schedules import read_schedules

__all__ = [
    "RECORD_KINDS",
    "BundleError",
    "application",
    "explorer_beside",
    "read_record",
    "read_schedules",
    "write_bundle",
]
