"""Data: weighted mixtures of stored trajectories, batch after batch, replayable from a few logged numbers.

`mixture.py` says what a batch is made of, `selection.py` which stored rows a source may give, `tokens.py`
where their tokens come from, `row_pool.py` holds them, and `stream.py` draws.
"""

from trainer.data.mixture import Mixture, Source
from trainer.data.row_pool import Row, RowPool, rows_digest
from trainer.data.selection import may_be_scored
from trainer.data.stream import Stream, StreamError, generator
from trainer.data.tokens import EncodedTokens, ScoredTokens, TokenCache

__all__ = [
    "EncodedTokens",
    "Mixture",
    "Row",
    "RowPool",
    "ScoredTokens",
    "Source",
    "Stream",
    "StreamError",
    "TokenCache",
    "generator",
    "may_be_scored",
    "rows_digest",
]
