"""The first rows of a table in the orders that were asked for last; `sorting.py` reads them."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any

ORDERS = 32


class Heads:
    """The first rows of the orders that were asked for last. Safe for threads, which may read the same."""

    def __init__(self) -> None:
        self._heads: OrderedDict[Hashable, list[dict[str, Any]]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, question: Hashable) -> list[dict[str, Any]]:
        with self._lock:
            return self._heads.get(question, [])

    def put(self, question: Hashable, head: list[dict[str, Any]]) -> None:
        with self._lock:
            self._heads[question] = head
            self._heads.move_to_end(question)
            while len(self._heads) > ORDERS:
                self._heads.popitem(last=False)
