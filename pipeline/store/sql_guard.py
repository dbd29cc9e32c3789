"""Which SQL may be asked of a store: one query that only reads, and conditions that stay inside their
brackets.

DuckDB's own parser decides. A text passes if every query node of its syntax tree reads (a WITH may also hold
INSERT, UPDATE, DELETE and COPY) and every function that it calls looks at rows, not at files, settings or
logs. What has no tree is refused, with two exceptions: EXPLAIN of a query that passes, and PIVOT without its
list of values, of which the tokens are checked.

The connection is a second lock on the same door: see `pipeline/store/read_only_files.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cache
from itertools import pairwise
from typing import Any

from pipeline.store.sql_parser import (
    SqlError,
    Token,
    kind_of_statement,
    nodes,
    parser,
    select_node,
    shortened,
    single_statement,
    statements,
    tokens,
)


def words(text: str) -> frozenset[str]:
    return frozenset(text.split())


READING_NODES = frozenset({"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"})
# Functions in FROM that make rows out of their arguments, or list what this database holds. The others read
# files or the network, run SQL from a text, or change settings, logs and checkpoints.
TABLE_FUNCTIONS = words(
    """
    duckdb_columns duckdb_constraints duckdb_databases duckdb_functions duckdb_keywords duckdb_schemas
    duckdb_tables duckdb_types duckdb_views generate_series generate_subscripts histogram histogram_values
    icu_calendar_names json_each json_tree pg_timezone_names pragma_table_info pragma_version range
    regexp_split_to_table repeat repeat_row
    test_all_types unnest
    """
)
# Volatile functions that change nothing; the other volatile ones are refused.
HARMLESS_VOLATILE = words(
    """
    current_connection_id current_query current_query_id current_transaction_id error gen_random_uuid random
    setseed stats uuid uuidv4 uuidv7 vector_type
    """
)
# These tell of the machine (settings, paths, environment), wait, or plan SQL from a text.
REFUSED_FUNCTIONS = words("current_setting getenv getvariable json_serialize_plan pg_sleep sleep_ms")
# No statement writes without one of these words, at its beginning or in a WITH.
STATEMENT_WORDS = words(
    """
    alter analyze attach begin call checkpoint comment commit copy create deallocate delete detach drop
    execute explain export force import insert install load merge pragma prepare reset rollback set truncate
    uninstall update use vacuum
    """
)
QUERY_WORDS = words(
    "desc describe from pivot pivot_longer pivot_wider select show summarize table unpivot values with"
)
READ_WRITE = "`spo sql --read-write` allows it"


def check_query(text: str) -> None:
    """Raise SqlError unless the text is one query that only reads, or EXPLAIN of one."""
    kind = kind_of_statement(single_statement(text))
    if kind == "EXPLAIN" or first_word(text) == "explain":
        text = explained(text)
        kind = kind_of_statement(single_statement(text))
    if kind == "MULTI":
        return check_tokens(text)
    if kind != "SELECT":
        raise SqlError(f"the store is open for reading only, and {kind} is not a query: {shortened(text)}")
    check_tree(select_node(text), text)


def predicate(
    text: str,
    parameters: Mapping[str, Any] | None = None,
    *,
    name: str = "where",
    reserved: Collection[str] = (),
) -> str:
    """The text as an SQL condition in brackets, to be put into a query of ours.

    It is exactly one expression: no comment, bracket, semicolon or keyword in it ends the brackets or the
    query around it. Each `$name` in it has its value in `parameters`, which holds no other and none that is
    `reserved` by the query around it. Raises SqlError, which begins with `name`.
    """
    bracketed = f"(\n{text}\n)"
    try:
        if len(statements(selected := f"SELECT\n{text}\n")) != 1:
            raise SqlError(f"one condition is wanted, not {shortened(text)}")
        node = select_node(selected)
        check_tree(node, text)
        inside = select_node(f"SELECT {bracketed}")
        if not is_expression(node) or plain(inside) != plain(node):
            raise SqlError(f"one condition is wanted, not {shortened(text)}")
        check_parameters(node, set(parameters or {}), reserved)
    except SqlError as error:
        clause = "" if shortened(text) in str(error) else f" ({shortened(text)})"
        raise SqlError(f"{name}: {error}{clause}") from error
    except RecursionError:
        raise SqlError(f"{name}: the condition is nested too deeply: {shortened(text)}") from None
    return bracketed


# Classes of the nodes of an expression that has one value for each row.
ROW_CLASSES = words(
    """
    BETWEEN CASE CAST COLLATE COLUMN_REF COMPARISON CONJUNCTION CONSTANT FUNCTION LAMBDA OPERATOR PARAMETER
    TYPE
    """
)
# These are written like columns.
CLOCKS = words("current_date current_time current_timestamp localtime localtimestamp")
STEADY_MACROS = words(
    "if list_avg list_count list_max list_min list_reverse list_sum nullif split_part array_to_string fmod"
)


def reads_one_row(condition: str) -> bool:
    """Whether a condition depends on nothing but the columns of one row: no query in it, no clock, no chance.

    Raises SqlError for wrong syntax.
    """
    for node in nodes(select_node(f"SELECT {condition}")["select_list"]):
        kind = node.get("class")
        if kind is not None and kind not in ROW_CLASSES:
            return False
        if kind == "FUNCTION" and node["function_name"].lower() in unsteady_functions():
            return False
        if kind == "COLUMN_REF" and node["column_names"][-1].lower() in CLOCKS:
            return False
    return True


@cache
def unsteady_functions() -> frozenset[str]:
    """Functions whose value is not decided by their arguments, and most macros, which may call such."""
    unsteady = functions_where("coalesce(stability, '') <> 'CONSISTENT' AND function_type <> 'table'")
    return unsteady - STEADY_MACROS


def check_tree(tree: dict[str, Any], text: str) -> None:
    """Refuse query nodes that write, and functions that do more than look at rows."""
    from_functions = [node["function"] for node in nodes(tree) if node.get("type") == "TABLE_FUNCTION"]
    in_from = {id(function) for function in from_functions}
    for function in from_functions:
        check_table_function(function.get("function_name", ""))
    for node in nodes(tree):
        kind = str(node.get("type", ""))
        if ("cte_map" in node or kind.endswith("_NODE")) and kind not in READING_NODES:
            held = kind.removesuffix("_NODE").removesuffix("_QUERY")
            raise SqlError(f"the store is open for reading only, and this holds {held}: {shortened(text)}")
        if "function_name" in node and id(node) not in in_from:
            check_function(node["function_name"])


def check_table_function(name: str) -> None:
    if name.lower() not in TABLE_FUNCTIONS:
        raise SqlError(f"the function {name} may read files, run SQL or change settings; {READ_WRITE}")


def check_function(name: str) -> None:
    if name.lower() in refused_functions():
        raise SqlError(f"the function {name} does more than look at rows; {READ_WRITE}")


@cache
def refused_functions() -> frozenset[str]:
    """Functions of expressions that have an effect, by what DuckDB says of them, or that look beyond the
    store.
    """
    return (functions_where("stability = 'VOLATILE'") - HARMLESS_VOLATILE) | REFUSED_FUNCTIONS


@cache
def refused_table_functions() -> frozenset[str]:
    return functions_where("function_type IN ('table', 'table_macro', 'pragma')") - TABLE_FUNCTIONS


def functions_where(condition: str) -> frozenset[str]:
    functions = parser().execute(
        f"SELECT DISTINCT lower(function_name) FROM duckdb_functions() WHERE {condition}"
    )
    return frozenset(name for (name,) in functions.fetchall())


def first_word(text: str) -> str:
    return next((token.name for token in tokens(text) if token.is_word), "")


def explained(text: str) -> str:
    """What an EXPLAIN explains: the text without EXPLAIN, ANALYZE and options in brackets."""
    rest = tokens(text)[1:]
    if rest and rest[0].name == "analyze":
        rest = rest[1:]
    if len(rest) > 1 and rest[0].text == "(" and rest[1].name not in {"(", *QUERY_WORDS}:
        rest = after_brackets(rest)
    if not rest:
        raise SqlError(f"EXPLAIN takes a query: {shortened(text)}")
    return text.encode()[rest[0].offset :].decode()


def after_brackets(rest: list[Token]) -> list[Token]:
    """The tokens behind the bracket that closes the first one."""
    depth = 0
    for place, token in enumerate(rest):
        depth += {"(": 1, ")": -1}.get(token.text, 0)
        if depth == 0:
            return rest[place + 1 :]
    return []


def check_tokens(text: str) -> None:
    """A PIVOT without its list of values makes a type of them first, so it has no tree: its tokens are
    checked.

    A column that has the name of a statement is to be quoted there.
    """
    all_tokens = tokens(text)
    words = [token.name for token in all_tokens if token.is_word]
    if words[0] not in QUERY_WORDS or not {"pivot", "pivot_wider"} & set(words):
        raise SqlError(f"the store is open for reading only, and this is not a query: {shortened(text)}")
    if held := next((word for word in words if word in STATEMENT_WORDS), None):
        raise SqlError(
            f"the store is open for reading only, and this holds {held.upper()}"
            f" (a column of that name is to be quoted): {shortened(text)}"
        )
    for token, following in pairwise(all_tokens):
        if following.text == "(":
            check_function(token.name)
            if token.name in refused_table_functions():
                check_table_function(token.name)


def is_expression(node: dict[str, Any]) -> bool:
    """Whether a query is SELECT with one expression and nothing else."""
    bare = select_node("SELECT true")
    rest = {**node, "select_list": bare["select_list"]}
    return len(node["select_list"]) == 1 and plain(rest) == plain(bare) if "select_list" in node else False


def plain(tree: Any) -> Any:
    """A syntax tree without where in the text its nodes are."""
    if isinstance(tree, dict):
        return {key: plain(value) for key, value in tree.items() if not key.startswith("query_location")}
    return [plain(part) for part in tree] if isinstance(tree, list) else tree


def check_parameters(node: dict[str, Any], given: set[str], reserved: Collection[str]) -> None:
    asked = {str(inner["identifier"]) for inner in nodes(node) if inner.get("type") == "VALUE_PARAMETER"}
    if lacking := sorted(asked - given):
        raise SqlError(f"no value for the parameter ${lacking[0]}")
    if unused := sorted(given - asked):
        raise SqlError(f"the parameter ${unused[0]} is not in the condition")
    if twice := sorted(given.intersection(reserved)):
        raise SqlError(f"the query has a parameter ${twice[0]} of its own; choose another name")
