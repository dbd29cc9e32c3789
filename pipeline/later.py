"""Imports at first use, so that a command loads only the libraries that it needs.

In a module:

    if TYPE_CHECKING:
        import polars as pl
    else:
        pl = later("polars")
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any


class _Later(ModuleType):
    def __getattr__(self, name: str) -> Any:
        value = getattr(import_module(self.__name__), name)
        setattr(self, name, value)
        return value


def later(name: str) -> Any:
    """The module `name`, which is imported when an attribute of it is first read."""
    return _Later(name)


def exports(package: str, modules: Mapping[str, str]) -> Callable[[str], Any]:
    """`__getattr__` of a package: `modules` has the names, separated by spaces, that the package exports from
    each of its modules.
    """
    homes = {name: f"{package}.{module}" for module, names in modules.items() for name in names.split()}

    def value_of(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(homes[name]), name)
        setattr(sys.modules[package], name, value)
        return value

    return value_of


@contextmanager
def without(name: str) -> Iterator[None]:
    """Within this context `name` cannot be imported, for libraries that can do without it. No effect if it
    is imported already.
    """
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[name]
