"""The error of the store, and messages of other libraries in one line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from deltalake.exceptions import DeltaError

from pipeline.later import later

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa
else:
    pl = later("polars")
    pa = later("pyarrow")


class StoreError(RuntimeError):
    """The store cannot be opened, read or written; the message says what to do."""


def in_one_line(error: BaseException) -> str:
    """Its message without the colours and arrows that delta-rs draws."""
    words = re.sub(r"\x1b\[[0-9;]*m|↳", "", str(error) or type(error).__name__).split()
    return " ".join(words)[:500]


@contextmanager
def as_store_errors(table: str, what: str) -> Iterator[None]:
    """Turn errors of the disk and of other libraries into StoreErrors of a table: "cannot `what`: why"."""
    try:
        yield
    except StoreError as error:
        if str(error).startswith(f"{table}: "):
            raise
        raise StoreError(f"{table}: cannot {what}: {error}") from error
    except (DeltaError, OSError, pl.exceptions.PolarsError, pa.ArrowException) as error:
        raise StoreError(f"{table}: cannot {what}: {in_one_line(error)}") from error
    except BaseException as error:
        # A panic of delta-rs or polars, on damaged files for instance, is no Exception.
        if type(error).__name__ != "PanicException":
            raise
        raise StoreError(f"{table}: cannot {what}: {in_one_line(error)}") from error
