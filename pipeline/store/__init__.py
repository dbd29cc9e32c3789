"""The store: partitioned Parquet tables under the Delta Lake protocol, the contracts of their rows,
snapshots, and SQL over them.

Everything that processes share is here. `Store` appends and reads; `connect` and `query` ask it in DuckDB's
SQL."""

from pipeline.store.contract_tables import kind_of, meaning
from pipeline.store.contracts import (
    CLAIMED_VERDICTS,
    LANGUAGES,
    NOT_A_REWARD,
    ORIGINS,
    TABLES,
    VERDICTS,
    Evaluations,
    OneOf,
    Policies,
    ReferencePolicies,
    ReferenceScores,
    Trajectories,
    Verdicts,
)
from pipeline.store.errors import StoreError
from pipeline.store.files import flush_file, name_folder, publish_folder, write_whole
from pipeline.store.identity import ID_BYTES, content_id, digest, test_set_hash, trajectory_id
from pipeline.store.locks import alone, one_of, say
from pipeline.store.passk import pass_at_k
from pipeline.store.rewards import DEFAULT, RewardError, macro, reward
from pipeline.store.sql import (
    VIEWS,
    SqlError,
    connect,
    errors_in_one_line,
    in_one_line,
    leading_comment,
    predicate,
    query,
    question,
    questions,
    relation,
    tables_behind,
)
from pipeline.store.sql_output import write_file, write_rows
from pipeline.store.store import COMPACT_AFTER_COMMITS, Store

__all__ = [
    "CLAIMED_VERDICTS",
    "COMPACT_AFTER_COMMITS",
    "DEFAULT",
    "ID_BYTES",
    "LANGUAGES",
    "NOT_A_REWARD",
    "ORIGINS",
    "TABLES",
    "VERDICTS",
    "VIEWS",
    "Evaluations",
    "OneOf",
    "Policies",
    "ReferencePolicies",
    "ReferenceScores",
    "RewardError",
    "SqlError",
    "Store",
    "StoreError",
    "Trajectories",
    "Verdicts",
    "alone",
    "connect",
    "content_id",
    "digest",
    "errors_in_one_line",
    "flush_file",
    "in_one_line",
    "kind_of",
    "leading_comment",
    "macro",
    "meaning",
    "name_folder",
    "one_of",
    "pass_at_k",
    "predicate",
    "publish_folder",
    "query",
    "question",
    "questions",
    "relation",
    "reward",
    "say",
    "tables_behind",
    "test_set_hash",
    "trajectory_id",
    "write_file",
    "write_rows",
    "write_whole",
]
