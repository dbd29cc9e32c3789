"""SQL that must not work on a connection that only reads: statements and conditions, and what each of them
would break.

`attack(folder)` makes a small store, tries all of them, each through the guard and once more behind it, and
gives (attacks, breaches). A breach is a text that the guard lets through, a file that is not as before, or a
secret in a result.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from pipeline.store import Store, sql

SECRET = "secret,words"
# {file}: a data file of the store, {store}: its folder, {outside}: a folder next to it, {secret}: a text file
# there.
STATEMENTS = """
copy (select 42 as a) to '{file}' (format parquet, use_tmp_file false)
copy (select 42 as a) to 'store://{file}' (format parquet, use_tmp_file false)
COPY trajectories TO '{outside}/all.csv'
copy (select 1) to '{outside}/folder' (format parquet, partition_by (a))
copy problems from '{secret}'
/* select */ copy (select 1) to '{outside}/commented.csv'
-- select{newline}copy (select 1) to '{outside}/line.csv'
explain copy (select 1) to '{outside}/plain.csv'
explain analyze copy (select 42 as a) to '{file}' (format parquet, use_tmp_file false)
explain analyze copy (select 42 as a) to 'store://{file}' (format parquet, use_tmp_file false)
EXPLAIN ANALYZE COPY (SELECT 1) TO '{outside}/upper.csv'
explain (analyze) copy (select 1) to '{outside}/option.csv'
explain (analyze, format json) copy (select 1) to '{outside}/options.csv'
explain(format json, analyze)copy (select 1) to '{outside}/close.csv'
explain /* x */ analyze -- y{newline} copy (select 1) to '{outside}/comments.csv'
with x as (copy (select 42 as a) to '{file}' (format parquet, use_tmp_file false)) from x
with x as (copy (select 42 as a) to 'store://{file}' (format parquet, use_tmp_file false)) from x
with x as materialized (copy (select 1) to '{outside}/cte.csv') select * from x
with a as (select 1), b as (with c as (copy (select 1) to '{outside}/inner.csv') from c) from b
select (with x as (copy (select 1) to '{outside}/scalar.csv') select count(*) from x)
select 1 where exists (with x as (copy (select 1) to '{outside}/exists.csv') from x)
select 1 union all (with x as (copy (select 1) to '{outside}/union.csv') select 1 from x)
from (with x as (copy (select 1) to '{outside}/from.csv') from x) pivot (count(*) for a in (1))
explain analyze with x as (copy (select 1) to '{outside}/explained.csv') from x
with x as (copy (select 1 as a) to '{outside}/pivot.csv') pivot x on a
with x as (copy{space}(select 1 as a) to '{outside}/space.csv') pivot x on a
explain analyze with x as (copy (select 1 as a) to '{outside}/both.csv') pivot x on a
create table mine as pivot trajectories on origin
insert into problems pivot trajectories on origin
copy (pivot trajectories on origin) to '{outside}/pivoted.csv'
pivot (from read_csv('{secret}')) on column0
pivot (from "read_text" ('{secret}')) on content
pivot (from system.main.read_blob('{secret}')) on content
pivot trajectories on write_log(origin)
with x as (insert into problems select * from problems returning *) from x
with x as (update problems set title = 'x' returning *) from x
with x as (delete from trajectories returning *) from x
with x as (truncate trajectories) from x
insert into trajectories select * from trajectories
update problems set title = ''
delete from problems
truncate problems
merge into problems using verdicts on true when matched then delete
create table mine as from problems
create temp table mine(i int)
create or replace view judged as select 1
create macro f(x) as x + 1
create schema other
create sequence numbers
create type mood as enum ('a')
create index i on problems (title)
create secret (type s3)
create persistent secret kept (type s3, key_id 'a', secret 'b')
drop view judged
drop macro reward_binary
alter view judged rename to jduged
comment on view judged is 'x'
explain analyze create or replace view judged as select 1
explain analyze drop view judged
explain analyze insert into problems select * from problems
explain analyze set threads = 1
select 1; copy (select 1) to '{outside}/second.csv'
select 1;; drop view judged
from problems; select 1
set enable_external_access = true
set allowed_directories = ['/']
set temp_directory = '{outside}'
set variable x = 1
reset lock_configuration
reset all
pragma enable_external_access = true
pragma profiling_output = '{outside}/profile.json'
pragma enable_profiling = 'json'
pragma database_list
pragma table_info('problems')
call pragma_version()
call enable_logging(storage = 'file', storage_path = '{outside}/log')
select * from enable_logging('QueryLog')
select * from enable_profiling(format = 'json', save_location = '{outside}/profile.json')
select * from truncate_duckdb_logs()
select * from checkpoint()
select * from force_checkpoint()
checkpoint
force checkpoint
vacuum
analyze
begin
begin transaction read only
commit
rollback
use memory
attach '{outside}/other.db' as other
attach ':memory:' as other
detach memory
copy from database memory to other
export database '{outside}/exported'
import database '{outside}/exported'
install httpfs
load httpfs
update extensions
prepare p as copy (select 1) to '{outside}/prepared.csv'
prepare p as select 1
execute p
deallocate p
select * from query('copy (select 1) to ''{outside}/queried.csv''')
select * from query('select content from read_text(''{secret}'')')
select * from query_table('{secret}')
select * from json_execute_serialized_sql(json_serialize_sql('from read_text(''{secret}'')'))
pragma json_execute_serialized_sql('{}')
select json_serialize_plan('from read_text(''{secret}'')')
select * from '{secret}'
from 'store://{secret}'
from 'file://{secret}'
from 'https://example.org/x.parquet'
from 's3://bucket/x.parquet'
from read_text('{secret}')
from read_text('{store}/../outside/secret.txt')
from read_blob('store://{secret}')
from read_csv('{secret}', header = false)
from read_csv_auto('/etc/passwd')
from read_json('/proc/self/environ')
from read_ndjson_objects('{secret}')
from read_parquet('{file}')
from parquet_scan(['{file}'])
from parquet_metadata('{file}')
from parquet_schema('{secret}')
from parquet_kv_metadata('{file}')
from read_duckdb('{outside}/other.db')
from glob('{outside}/*')
from glob('/etc/*')
from sniff_csv('{secret}')
select (select content from read_text('{secret}'))
select 1 in (from read_text('{secret}') select size)
from problems, lateral (from read_text('{secret}'))
values ((select content from read_text('{secret}')))
describe from read_csv('{secret}')
summarize (from read_csv('{secret}'))
describe '{secret}'
with recursive r as (select content from read_text('{secret}') union all select * from r where false) from r
explain analyze from read_text('{secret}')
select getenv('HOME')
select current_setting('temp_directory')
select getvariable('x')
from duckdb_settings()
from duckdb_secrets()
from which_secret('{secret}', 's3')
from duckdb_logs()
from duckdb_temporary_files()
from duckdb_extensions()
select nextval('numbers')
select setval('numbers', 1)
select write_log('x')
select list_transform([1], lambda x: write_log('x'))
select 'x'.write_log()
select system.main.write_log('x')
select "write_log"('x')
select sleep_ms(10000000)
""".strip()

CONDITIONS = """
true) or (true
true)) or ((true
j.origin = 'human' ) or (1=1
true); copy (select 42 as a) to '{file}' (format parquet, use_tmp_file false); select (true
true); explain analyze copy (select 1) to '{outside}/explained.csv'; select 1 where (true
true) -- the rest of the query is a comment
true) /* so is this
true /*
true;
true; drop view judged
true) union all (select trajectory_id from trajectories
true union all select trajectory_id from trajectories
true) union all select content from read_text('{secret}') where (true
true order by 1
true limit 1
true group by all
true) qualify (true
true as x
x: true
true, true
true from trajectories

all
-- nothing but a comment
distinct true
true{space}) or (true
$$x$$ = 'x') or ($$ = $$
'it''s') or ('a' = 'a'
content in (select content from read_text('{secret}'))
(select count(*) from '{secret}') > 0
problem_id in (with x as (copy (select 1) to '{file}' (format parquet, use_tmp_file false)) select '' from x)
exists (with x as (copy (select 1) to '{outside}/condition.csv') from x)
problem_id in (from query('copy (select 1) to ''{outside}/queried.csv'''))
problem_id in (pivot trajectories on origin)
current_setting('temp_directory') <> ''
getenv('HOME') = '/root'
write_log('x') is null
nextval('numbers') > 0
origin = $reference
origin = $1
origin = ?
""".strip("\n")


def attack(folder: Path) -> tuple[int, int]:
    """(attacks tried, breaches) on a store that is made in an empty folder."""
    breaches = [breach for _, breach in tries(folder)]
    return len(breaches), sum(map(bool, breaches))


def tries(folder: Path) -> Iterator[tuple[str, str]]:
    """Every attack with what it broke, empty where it broke nothing."""
    store, names = battlefield(folder)
    with sql.connect(store) as guarded, sql.connect(store) as unguarded:
        for text in texts(STATEMENTS, names):
            yield text, breach(folder, lambda text=text: sql.query(guarded, text), refused_with=sql.SqlError)
            if "sleep_ms" not in text:
                yield f"behind the guard: {text}", breach(folder, lambda text=text: run(unguarded, text))
        for text in texts(CONDITIONS, names):
            yield text, breach(folder, lambda text=text: under(guarded, text), refused_with=sql.SqlError)


def battlefield(folder: Path) -> tuple[Store, dict[str, str]]:
    """A store with a row, a secret next to it, and what the attacks call them."""
    store, outside = Store(folder / "store"), folder / "outside"
    outside.mkdir()
    (outside / "secret.txt").write_text(f"{SECRET}\n")
    store.pin("kept")
    return store, {
        "file": store.snapshot("pins").files[0],
        "store": store.location,
        "outside": str(outside),
        "secret": str(outside / "secret.txt"),
        "space": "\u00a0",
        "newline": "\n",
    }


def texts(templates: str, names: dict[str, str]) -> list[str]:
    actual = []
    for text in templates.splitlines():
        for name, value in names.items():
            text = text.replace("{" + name + "}", value)
        actual.append(text)
    return actual


def breach(folder: Path, act: Callable[[], Any], refused_with: type[Exception] | None = None) -> str:
    """What an act broke: it was not refused, it gave the secret, or a file is not as before. Empty where
    it broke nothing.
    """
    before, result = contents(folder), ""
    try:
        result = str(act())
        fault = "accepted" if refused_with else ""
    except Exception as error:
        result = str(error)
        fault = "" if isinstance(error, refused_with or duckdb.Error) else f"ended with {error!r}"
    if SECRET in result:
        fault = "gave the secret"
    return "changed a file" if contents(folder) != before else fault


def contents(folder: Path) -> dict[str, str]:
    """Every file below a folder, by a hash of its bytes."""
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in sorted(folder.rglob("*"))
    }


def run(connection: duckdb.DuckDBPyConnection, text: str) -> list[Any]:
    """Run a text as it is, whatever the guard says."""
    try:
        return connection.execute(text).fetchall()
    finally:
        with suppress(duckdb.Error):
            connection.execute("rollback")


def under(connection: duckdb.DuckDBPyConnection, condition: str) -> pl.DataFrame:
    return sql.query(
        connection,
        f"select trajectory_id from judged j where j.split = 'train' and {sql.predicate(condition)}",
    )
