"""The contract of every table in the store: columns, types, keys, allowed values, units. Decided here and
nowhere else.

Each table is a dataframely schema, so the same object checks an append (`check`), splits good rows from
refused ones (`Schema.filter`) and gives the Arrow schema on disk (`arrow_schema`). `pipeline/README.md` is
generated from this file.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

import dataframely as dy
import polars as pl
import pyarrow as pa

from sandbox.languages import LANGUAGES as TABLE
from sandbox.verdicts import NO_VERDICTS, PROGRAM_VERDICTS, VERDICTS

LAYOUT_VERSION = 1

ORIGINS = ("human", "earlier_training", "earlier_run", "other_policy", "search", "online")
SPLITS = ("train", "valid", "test", "none")
LANGUAGES = (*(row.name for row in TABLE if not row.variant_of), "unknown")
CLAIMED_VERDICTS = (*PROGRAM_VERDICTS, "partial", "rejected")
NOT_A_REWARD = NO_VERDICTS


class OneOf:
    """A membership rule that can say what it allows; null-safe, for a null fails the column's own rule."""

    def __init__(self, allowed: Iterable[str]):
        self.allowed = list(allowed)

    def __call__(self, column: pl.Expr) -> pl.Expr:
        return column.is_in(self.allowed)


def one_of(values: Iterable[str]) -> dict:
    """A rule under a name that appears in the reason of a refused row."""
    rule = OneOf(values)
    return {"one_of_" + "_".join(rule.allowed)[:60]: rule}


def key(description: str) -> dy.String:
    return dy.String(primary_key=True, min_length=1, description=description)


def text(description: str, **options) -> dy.String:
    return dy.String(description=description, **options)


def maybe(description: str, **options) -> dy.String:
    return dy.String(nullable=True, description=description, **options)


class Problems(dy.Schema):
    problem_id = key("`<source>/<id>`")
    source = text("data set the problem came from", min_length=1)
    split = text("train, valid, test or none, as the source has it", check=one_of(SPLITS))
    title = text("title")
    statement = text("plain text shown to the policy", min_length=1)
    input_mode = text("stdin: whole program; function: a callable", check=one_of(("stdin", "function")))
    entry_point = maybe("function problems: the callable under test, e.g. `Solution().twoSum`")
    preamble = maybe("function problems: code run before the program")
    starter_code = maybe("function problems: the stub shown to the policy")
    time_limit_s = dy.Float64(
        nullable=True, min_exclusive=0, description="CPU seconds a test; null: the source has none"
    )
    memory_limit_mb = dy.Float64(nullable=True, min_exclusive=0, description="MiB; null: the source has none")
    checker = text(
        "how outputs are compared", check=one_of(("tokens", "exact", "lines", "float", "function", "custom"))
    )
    case_sensitive = dy.Bool(description="false: letter case is folded before comparing")
    float_tol = dy.Float64(
        nullable=True, min=0, description="absolute or relative tolerance of the float checker"
    )
    tags = dy.List(dy.String(), description="topics, as the source gives them")
    difficulty = maybe("as the source gives it; scales differ")
    licence = maybe("as the source states it")
    tests_quality = maybe("full, partial or examples")
    programs = maybe(
        "JSON: checkers, validators, generators of the source: [{role, interface, path, text, arguments}]"
    )
    test_set_hash = text("hash of all tests, their modes and the checker", min_length=1)
    test_count = dy.Int32(min=0, description="number of tests")
    batch_id = text("ingestion batch, see `batches`")
    source_file = text("file the row was read from")
    source_line = dy.Int64(min=0, description="1-based line or row in that file")


class Tests(dy.Schema):
    problem_id = key("problem the test belongs to")
    test_id = key("unique within its problem; judged in the order of `position`")
    position = dy.Int32(min=0, description="0-based order of judging")
    kind = text("public, private or generated", check=one_of(("public", "private", "generated")))
    mode = text("what `input` is", check=one_of(("stdin", "assert", "check", "call")))
    input = text("standard input, or the code of a function test")
    expected_output = maybe(
        "standard output, or the expected value of a call; null where the code itself asserts"
    )
    batch_id = text("ingestion batch; the tests of a problem are those of the batch of its row in `problems`")


class Trajectories(dy.Schema):
    trajectory_id = key("content hash of what makes the sample distinct")
    problem_id = text("problem it tries to solve", min_length=1)
    origin = text("where it comes from", check=one_of(ORIGINS))
    policy_id = text("who wrote it: `human`, a model's name, or a policy of `policies`", min_length=1)
    run_id = maybe("training or sampling run")
    policy_step = dy.Int64(nullable=True, min=0, description="optimiser step of the policy that wrote it")
    source_key = text("identity of the sample within its source", min_length=1)
    sample_index = dy.Int32(nullable=True, min=0, description="index among the samples of one prompt")
    temperature = dy.Float64(nullable=True, min=0, description="sampling temperature")
    top_p = dy.Float64(nullable=True, min=0, max=1, description="nucleus of the sampling")
    prompt = maybe("prompt as the policy saw it; null: to be rendered from the problem")
    completion = maybe("raw answer, where it differs from the program")
    program = text("the program, as extracted")
    extraction = text("rule that found the program in the completion", min_length=1)
    language = text("language of the program", check=one_of(LANGUAGES))
    token_ids = dy.List(
        dy.Int32(), nullable=True, description="sampled completion tokens, end token included"
    )
    behaviour_logprob = dy.Float64(
        nullable=True, max=1e-3, description="nats, summed over `token_ids`, at temperature 1"
    )
    finish_reason = maybe("stop: ended by itself; length: cut")
    claimed_verdict = maybe("what the source says of it", check=one_of(CLAIMED_VERDICTS))
    claimed_basis = maybe("on what the claim rests")
    created_at = dy.Datetime(time_zone="UTC", description="when it entered the store")
    batch_id = text("ingestion batch or rollout")
    source_file = text("file it was read from, or the rollout's name")
    source_line = dy.Int64(min=0, description="1-based line or row in that file")
    search = maybe(
        "JSON: how a search made it, by method, parent and settings, see `trainer/rollouts/program_search.py`; null: by none"
    )


TEST_RESULT = {
    "test_id": dy.String(),
    "verdict": dy.String(),
    "cpu_s": dy.Float64(nullable=True),
    "wall_s": dy.Float64(nullable=True),
    "memory_mb": dy.Float64(nullable=True),
    "exit_code": dy.Int32(nullable=True),
    "signal": dy.Int32(nullable=True),
    "output_digest": dy.String(nullable=True),
    "output_head": dy.String(nullable=True),
    "detail": dy.String(nullable=True),
}


class Verdicts(dy.Schema):
    trajectory_id = key("trajectory that was judged")
    test_set_hash = key("tests it was judged on, see `problems.test_set_hash`")
    judge_version = key("semantics it was judged under")
    attempt = dy.Int32(
        primary_key=True, min=1, description="1 for the first judging; more after judge errors"
    )
    problem_id = text("problem judged against")
    verdict = text("verdict of the first failing test, in order", check=one_of(VERDICTS))
    passed = dy.Int32(min=0, description="tests passed")
    total = dy.Int32(min=0, description="tests in the set, including those not run after a failure")
    first_failure = maybe("test_id of the first failing test")
    tests = dy.List(
        dy.Struct(TEST_RESULT), description="result of each test that ran: CPU and wall seconds, MiB"
    )
    cpu_s = dy.Float64(min=0, description="CPU seconds of all tests")
    memory_mb = dy.Float64(nullable=True, min=0, description="peak MiB over all tests")
    tier = text("kind of isolation it ran in")
    toolchain = maybe("interpreter or compiler version")
    judged_at = dy.Datetime(time_zone="UTC", description="when it was judged")
    isolated_check = dy.Bool(
        nullable=True,
        description="function tests: whether every one was checked out of the program's reach; false: the program could have"
        " forged the pass; null: whole programs, and verdicts of judge versions before 4",
    )


class ReferenceScores(dy.Schema):
    trajectory_id = key("trajectory that was scored")
    reference = key("fingerprint of weights, tokenizer, template, dtype and code of the reference policy")
    problem_id = text("problem of the trajectory")
    prompt_ids = dy.List(dy.Int32(), description="tokens of the rendered prompt")
    completion_ids = dy.List(dy.Int32(), description="tokens of the completion, end token included")
    logprobs = dy.List(dy.Float32(), description="nats, one for each completion token, fp32")
    logprob_sum = dy.Float64(max=1e-3, description="nats, sum over the completion")
    scored_at = dy.Datetime(time_zone="UTC", description="when it was scored")


class ReferencePolicies(dy.Schema):
    reference = key("fingerprint, as in `reference_scores.reference`")
    folder = key("where the reference policy lay when it was scored")
    weights = text("hash of the weights")
    tokenizer = text("hash of what makes tokens of text")
    template = text("hash of the prompt format or chat template and the end token")
    dtype = text("type of the weights")
    precision = text("that of the forward pass: fp32 or bf16")
    code = text("version of the scoring code")
    begun_at = dy.Datetime(time_zone="UTC", description="when its first scoring began")


class ProgramSignatures(dy.Schema):
    trajectory_id = key("trajectory whose program was signed")
    algorithm = key("lexer, hash and MinHash versions, permutations and seed")
    problem_id = text("scope of the comparison")
    language = text("lexer that was used")
    raw_hash = text("hash of the bytes")
    token_hash = text("hash of the tokens, comments and space dropped")
    abstract_hash = text("hash of the tokens with identifiers abstracted; annotates, never merges")
    token_count = dy.Int32(min=0, description="tokens")
    shingles = dy.Binary(description="sorted distinct hashes of token 5-grams, little-endian uint32")
    minhash = dy.Binary(description="MinHash values, one a permutation, little-endian uint32")


class Duplicates(dy.Schema):
    trajectory_id = key("member of the cluster")
    algorithm = key("see `program_signatures.algorithm`")
    pass_number = dy.Int64(
        primary_key=True, min=1, description="deduplication pass; the highest one of a trajectory holds"
    )
    problem_id = text("scope of the cluster")
    cluster_id = text("smallest trajectory_id of the cluster")
    representative_id = text("member a training corpus takes")
    level = text("closest tie to the cluster", check=one_of(("unique", "exact", "token", "near")))
    cluster_size = dy.Int32(min=1, description="members at that pass")


class SameProblems(dy.Schema):
    problem_id = key("member of the cluster")
    algorithm = key("what ties problems together, see `pipeline/dedup/same_problems.py`")
    pass_number = dy.Int64(primary_key=True, min=1, description="pass; the highest one of a problem holds")
    cluster_id = text("smallest problem_id of the cluster")
    tie = text("closest tie to the cluster", check=one_of(("identity", "statement", "tests", "unique")))
    identity = maybe("name on its site, e.g. `codeforces/1041/E`; null: not known")
    cluster_size = dy.Int32(min=1, description="members at that pass")


class Contaminations(dy.Schema):
    pass_number = dy.Int64(
        primary_key=True, min=1, description="see `decontaminations`; the latest pass holds"
    )
    kind = dy.String(primary_key=True, description="what is marked", check=one_of(("problem", "trajectory")))
    subject_id = key("problem_id or trajectory_id of what is marked")
    evaluation_problem_id = key("problem of the evaluation set that it would give away")
    evidence = text(
        "itself: of the evaluation set; same: see `same_problems`; ngrams: shares its words",
        check=one_of(("itself", "same", "ngrams")),
    )
    problem_id = text("the problem, or that of the trajectory", min_length=1)
    overlap = dy.Float64(
        min=0, max=1, description="share of the evaluation problem's telling n-grams that are in it"
    )
    example = maybe("the first words they share")


class Decontaminations(dy.Schema):
    pass_number = dy.Int64(primary_key=True, min=1, description="counts passes; the highest one holds")
    algorithm = text("length of the n-grams, thresholds and version")
    evaluation = text("SQL condition on `problems` that chose the evaluation set", min_length=1)
    evaluation_problems = dy.List(dy.String(), description="problem_ids of the evaluation set, sorted")
    pins = text("JSON: table -> version that was looked at")
    marked = dy.Int64(min=0, description="rows of this pass in `contaminations`")
    made_at = dy.Datetime(time_zone="UTC", description="when")


class Quarantine(dy.Schema):
    quarantine_id = key("hash of batch, line and place in the line: several items may come from one line")
    batch_id = text("ingestion batch")
    adapter = text("adapter that refused it")
    source_file = text("file")
    source_line = dy.Int64(min=0, description="1-based line or row; 0: the file as a whole")
    field = maybe("column or key at fault")
    reason = text("what is wrong", min_length=1)
    raw = dy.Binary(description="the row as it was read, whole")
    refused_at = dy.Datetime(time_zone="UTC", description="when it was refused")


class Retries(dy.Schema):
    quarantine_id = key("row of `quarantine` that was tried again")
    batch_id = key("batch of the try; the record counts once that is among `batches`")
    origin_batch_id = text("batch that refused the row")
    outcome = text(
        "admitted: something of it got in, the rest was refused anew", check=one_of(("admitted", "refused"))
    )
    field = maybe("column or key still at fault")
    reason = maybe("what is still wrong")
    retried_at = dy.Datetime(time_zone="UTC", description="when")


class Batches(dy.Schema):
    batch_id = key("hash of adapter, its options, file name and file content")
    adapter = text("adapter")
    source_file = text("file")
    source_sha256 = text("SHA-256 of the file's bytes")
    read = dy.Int64(min=0, description="rows read")
    accepted = dy.Int64(min=0, description="rows that were new")
    present = dy.Int64(min=0, description="rows already in the store")
    quarantined = dy.Int64(min=0, description="rows refused")
    limit = dy.Int64(
        nullable=True,
        min=1,
        description="problems taken at most, see `adapters/sample.py`; null: the whole file",
    )
    started_at = dy.Datetime(time_zone="UTC", description="begin")
    finished_at = dy.Datetime(time_zone="UTC", description="end")

    @dy.rule()
    def read_is_accepted_present_and_quarantined(cls) -> pl.Expr:
        return pl.col("read") == pl.col("accepted") + pl.col("present") + pl.col("quarantined")


class Policies(dy.Schema):
    policy_id = key("name used in `trajectories.policy_id`")
    fingerprint = text("hash of weights, tokenizer, template and dtype")
    parent_id = maybe("policy it was trained from")
    run_id = maybe("run that made it")
    step = dy.Int64(nullable=True, min=0, description="optimiser step")
    folder = text("where its weights lie; empty where they were not kept")
    details = text("JSON: configuration and figures of its training")
    created_at = dy.Datetime(time_zone="UTC", description="when it was published")


class Corpora(dy.Schema):
    corpus_id = key("hash of name, query, parameters, reward, and every row with its reward")
    name = text("name in its TOML file", min_length=1)
    query = text("SQL that selects trajectory_id")
    reward = text("reward function, see `pipeline/store/rewards.py`")
    pins = text("JSON: table -> version, of every table the query or the reward reads")
    rows = dy.List(dy.String(), description="trajectory_ids, sorted")
    statistics = text("JSON: counts by origin and verdict")
    published_at = dy.Datetime(time_zone="UTC", description="when it was published")
    parameters = maybe("JSON: name -> value of each `$name` in the query")
    description = maybe("what it is for, as its TOML file says")


class Pins(dy.Schema):
    label = key("who keeps the versions, e.g. a run")
    revision = dy.Int64(
        primary_key=True, min=0, description="counts changes of the label; the highest one holds"
    )
    versions = text("JSON: table -> version")
    held = dy.Bool(description="false: released")
    pinned_at = dy.Datetime(time_zone="UTC", description="when")


class Evaluations(dy.Schema):
    policy_id = key("policy that was evaluated")
    problem_id = key("problem")
    settings = key("JSON: temperature, top_p, samples, tokens, judge version")
    run_id = maybe("training run the policy belongs to")
    seed = dy.Int64(nullable=True, description="seed of that run")
    step = dy.Int64(nullable=True, min=0, description="optimiser step of the policy")
    split = text("split of the problem", check=one_of(SPLITS))
    samples = dy.Int32(min=0, description="samples with a verdict; 0: the judge failed on all of them")
    correct = dy.Int32(min=0, description="samples accepted")
    distinct_correct = dy.Int32(min=0, description="accepted programs that differ after normalisation")
    judge_errors = dy.Int32(min=0, description="samples without a verdict; not in `samples`")
    evaluated_at = dy.Datetime(time_zone="UTC", description="when")
    verdicts = maybe("JSON: verdict -> samples; null: evaluated before this was kept")
    token_entropy = dy.Float64(
        nullable=True,
        min=0,
        description="nats a token: next-token entropy of the policy along samples; null: not known",
    )


@dataclass(frozen=True)
class Table:
    """One table of the store: its contract, what it is for, and how it is laid out on disk."""

    name: str
    schema: type[dy.Schema]
    purpose: str
    # Delta drops partition columns from the files, so partitions are copies named `p_<column>`.
    partition_by: tuple[str, ...] = ()
    bloom_filter: tuple[str, ...] = field(default=())

    @property
    def key(self) -> list[str]:
        return self.schema.primary_key()

    @cached_property
    def arrow_schema(self) -> pa.Schema:
        """Columns on disk, without the partition copies; Arrow types as Delta knows them."""
        return pa.schema([pa.field(f.name, plain(f.type), f.nullable) for f in self.empty.to_arrow().schema])

    @cached_property
    def empty(self) -> pl.DataFrame:
        """A frame of the contract's columns without rows."""
        return self.schema.create_empty()


def plain(kind: pa.DataType) -> pa.DataType:
    """Polars' large and view types, as the types Delta Lake stores."""
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        return pa.binary()
    if pa.types.is_large_list(kind) or pa.types.is_list(kind):
        return pa.list_(pa.field("element", plain(kind.value_type)))
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(f.name, plain(f.type)) for f in kind])
    return kind


TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        Table("problems", Problems, "statements, limits and checkers", bloom_filter=("problem_id",)),
        Table("tests", Tests, "inputs and expected outputs", bloom_filter=("problem_id",)),
        Table(
            "trajectories",
            Trajectories,
            "every attempt at a problem, from anywhere",
            partition_by=("origin",),
            bloom_filter=("trajectory_id",),
        ),
        Table("verdicts", Verdicts, "what the judge found; a reward is a function of it, applied on reading"),
        Table("reference_scores", ReferenceScores, "tokens and log-probabilities under a reference policy"),
        Table(
            "reference_policies",
            ReferencePolicies,
            "what the fingerprint of each scored reference is made of",
        ),
        Table("program_signatures", ProgramSignatures, "hashes and MinHash of programs"),
        Table("duplicates", Duplicates, "clusters of equal or nearly equal programs; marks, never deletes"),
        Table("same_problems", SameProblems, "the same problem in several sources; marks, never deletes"),
        Table(
            "contaminations",
            Contaminations,
            "what would give an evaluation problem away; marks, never deletes",
        ),
        Table(
            "decontaminations",
            Decontaminations,
            "passes of decontamination: evaluation set and what was looked at",
        ),
        Table("quarantine", Quarantine, "rows refused at ingestion, whole"),
        Table("retries", Retries, "rows of the quarantine that were tried again"),
        Table("batches", Batches, "ingested files and what became of their rows"),
        Table("policies", Policies, "published policies"),
        Table("corpora", Corpora, "published, pinned sets of trajectories"),
        Table("pins", Pins, "versions that maintenance must keep, beside those of published corpora"),
        Table("evaluations", Evaluations, "samples and successes of a policy on a problem"),
    )
}


class ContractError(ValueError):
    """Rows break a table's contract; the message names table, row, column and value."""


def check(table: Table, frame: pl.DataFrame) -> pl.DataFrame:
    """Return `frame` with the contract's columns and types, or raise ContractError naming the first fault."""
    unknown = set(frame.columns) - set(table.schema.column_names())
    if unknown:
        raise ContractError(
            f"{table.name}: unknown column {sorted(unknown)[0]}; contract: pipeline/store/contracts.py"
        )
    frame = with_missing_nullable(table, frame)
    try:
        frame = table.schema.cast(frame)
    except (pl.exceptions.PolarsError, dy.exc.SchemaError) as error:
        raise ContractError(f"{table.name}: {str(error).splitlines()[0]}") from error
    good, failure = table.schema.filter(frame)
    if failure.invalid().height:
        raise ContractError(describe_first_fault(table, frame, failure))
    return good


def with_missing_nullable(table: Table, frame: pl.DataFrame) -> pl.DataFrame:
    columns = table.schema.columns()
    missing = [name for name in columns if name not in frame.columns]
    required = [name for name in missing if not columns[name].nullable]
    if required:
        raise ContractError(f"{table.name}: column {required[0]} is missing")
    return frame.with_columns(pl.lit(None, dtype=columns[name].dtype).alias(name) for name in missing)


def describe_first_fault(table: Table, frame: pl.DataFrame, failure: dy.FailureInfo) -> str:
    rule = next(iter(failure.counts()))
    details = failure.details()
    row = details.filter(pl.col(rule) == "invalid").row(0, named=True)
    column = rule.split("|")[0]
    value = row.get(column) if column in frame.columns else {name: row[name] for name in table.key}
    return (
        f"{table.name}: rule {rule} broken by row {[row[name] for name in table.key]}, {column} = {value!r:.200}"
        f" ({failure.invalid().height} of {frame.height} rows refused)"
    )
