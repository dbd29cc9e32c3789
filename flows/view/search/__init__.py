"""Full-text search over programs and statements.

`words.py` is the query language, as SQL and as an expression of the index; `index.py` the index, a file of
SQLite FTS5 in the cache folder; `building.py` the process that fills it; `finding.py` answers the searches of
a page, from the index where it has the rows, else by reading them. The index only says where words are, row
by row of the store's own files: a page reads what it shows from the store.
"""

from flows.view.search.building import end_with_input
from flows.view.search.finding import Finder, Narrowed, Search
from flows.view.search.index import INDEXED
from flows.view.search.words import Query, condition, parse_query

__all__ = ["INDEXED", "Finder", "Narrowed", "Query", "Search", "condition", "end_with_input", "parse_query"]
