"""The store: partitioned Parquet tables under the Delta Lake protocol, the contracts of their rows,
snapshots, and SQL over them.

Everything that processes share is here. `Store` appends and reads; `connect` and `query` ask it in DuckDB's
SQL."""

from typing import TYPE_CHECKING

from pipeline.later import exports

if TYPE_CHECKING:
    from pipeline.store.appender import Appender
    from pipeline.store.checking import CheckReport, Finding, RepairStep, check_store, repair_store
    from pipeline.store.contract_check import rules_hold
    from pipeline.store.contract_tables import describe_column, type_name
    from pipeline.store.contracts import (
        LANGUAGES,
        TEST_RESULT,
        Evaluations,
        OneOf,
        Policies,
        ReferencePolicies,
        ReferenceScores,
        Trajectories,
        Verdicts,
    )
    from pipeline.store.errors import StoreError
    from pipeline.store.files import flush_file, flush_folder, name_folder, publish_folder, write_whole
    from pipeline.store.id_set import ID_TYPE, IdSet, binary_ids, hashed_ids
    from pipeline.store.identity import (
        ID_BYTES,
        content_id,
        digest,
        included_files,
        test_set_hash,
        trajectory_id,
    )
    from pipeline.store.judged_part import CUT_VERDICT, VERDICT_OF_EACH, judged_of, view_of
    from pipeline.store.key_runs import KEY_TYPE, KeyRuns
    from pipeline.store.ledger import Ledger, check_ledger
    from pipeline.store.locks import exclusive, one_slot, print_to_stderr
    from pipeline.store.order import undetermined
    from pipeline.store.part_connections import connect_for, connect_part
    from pipeline.store.passk import pass_at_k
    from pipeline.store.private_folder import PrivateFolderError
    from pipeline.store.rewards import DEFAULT, Reward, RewardError, macro, reward
    from pipeline.store.row_files import RowFiles
    from pipeline.store.sampling import MAY_BE_SAMPLED, report_not_sampled
    from pipeline.store.snapshot import Snapshot
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
        rows_with_positions,
        tables_behind,
    )
    from pipeline.store.sql_guard import reads_one_row
    from pipeline.store.sql_output import write_file, write_rows
    from pipeline.store.store import COMPACT_AFTER_COMMITS, Store
    from pipeline.store.tables import TABLES
    from pipeline.store.vocabularies import CLAIMED_VERDICTS, NOT_A_REWARD, ORIGINS, VERDICTS
else:
    # Each name is imported when it is first used.
    __getattr__ = exports(
        __name__,
        {
            "appender": "Appender",
            "checking": "CheckReport Finding RepairStep check_store repair_store",
            "contract_check": "rules_hold",
            "contract_tables": "describe_column type_name",
            "contracts": (
                "Evaluations LANGUAGES OneOf Policies ReferencePolicies ReferenceScores "
                "TEST_RESULT Trajectories Verdicts"
            ),
            "errors": "StoreError",
            "files": "flush_file flush_folder name_folder publish_folder write_whole",
            "id_set": "ID_TYPE IdSet binary_ids hashed_ids",
            "identity": "ID_BYTES content_id digest included_files test_set_hash trajectory_id",
            "judged_part": "CUT_VERDICT VERDICT_OF_EACH judged_of view_of",
            "key_runs": "KEY_TYPE KeyRuns",
            "ledger": "Ledger check_ledger",
            "locks": "exclusive one_slot print_to_stderr",
            "order": "undetermined",
            "part_connections": "connect_for connect_part",
            "passk": "pass_at_k",
            "private_folder": "PrivateFolderError",
            "rewards": "DEFAULT Reward RewardError macro reward",
            "row_files": "RowFiles",
            "sampling": "MAY_BE_SAMPLED report_not_sampled",
            "snapshot": "Snapshot",
            "sql": (
                "SqlError VIEWS connect errors_in_one_line in_one_line leading_comment "
                "predicate query question questions relation rows_with_positions tables_behind"
            ),
            "sql_guard": "reads_one_row",
            "sql_output": "write_file write_rows",
            "store": "COMPACT_AFTER_COMMITS Store",
            "tables": "TABLES",
            "vocabularies": "CLAIMED_VERDICTS NOT_A_REWARD ORIGINS VERDICTS",
        },
    )

__all__ = [
    "CLAIMED_VERDICTS",
    "COMPACT_AFTER_COMMITS",
    "CUT_VERDICT",
    "DEFAULT",
    "ID_BYTES",
    "ID_TYPE",
    "KEY_TYPE",
    "LANGUAGES",
    "MAY_BE_SAMPLED",
    "NOT_A_REWARD",
    "ORIGINS",
    "TABLES",
    "TEST_RESULT",
    "VERDICTS",
    "VERDICT_OF_EACH",
    "VIEWS",
    "Appender",
    "CheckReport",
    "Evaluations",
    "Finding",
    "IdSet",
    "KeyRuns",
    "Ledger",
    "OneOf",
    "Policies",
    "PrivateFolderError",
    "ReferencePolicies",
    "ReferenceScores",
    "RepairStep",
    "Reward",
    "RewardError",
    "RowFiles",
    "Snapshot",
    "SqlError",
    "Store",
    "StoreError",
    "Trajectories",
    "Verdicts",
    "binary_ids",
    "check_ledger",
    "check_store",
    "connect",
    "connect_for",
    "connect_part",
    "content_id",
    "describe_column",
    "digest",
    "errors_in_one_line",
    "exclusive",
    "flush_file",
    "flush_folder",
    "hashed_ids",
    "in_one_line",
    "included_files",
    "judged_of",
    "leading_comment",
    "macro",
    "name_folder",
    "one_slot",
    "pass_at_k",
    "predicate",
    "print_to_stderr",
    "publish_folder",
    "query",
    "question",
    "questions",
    "reads_one_row",
    "relation",
    "repair_store",
    "report_not_sampled",
    "reward",
    "rows_with_positions",
    "rules_hold",
    "tables_behind",
    "test_set_hash",
    "trajectory_id",
    "type_name",
    "undetermined",
    "view_of",
    "write_file",
    "write_rows",
    "write_whole",
]
