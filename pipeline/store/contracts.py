"""The contract of every table in the store: columns, types, keys, allowed values, units.

Each table is a dataframely schema. It checks appends (`pipeline/store/contract_check.py`) and separates valid
rows from refused ones (`Schema.filter`). After a change run `python -m pipeline.store.contract_tables`, which
writes the types into `columns.json` and the tables of `pipeline/README.md`.
"""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from pipeline.later import without
from pipeline.store.vocabularies import CLAIMED_VERDICTS, NOT_PROGRAMS, ORIGINS, SPLITS, VERDICTS
from sandbox.languages import LANGUAGES as LANGUAGE_TABLE

# dataframely uses it only to write schemas for SQL databases. Its import takes as long as that of polars.
with without("sqlalchemy"):
    import dataframely as dy  # other modules of the store take it from here

LANGUAGES = (*(row.name for row in LANGUAGE_TABLE if not row.variant_of), *NOT_PROGRAMS, "unknown")


class OneOf:
    """Rule that a value is one of `allowed`; null passes, because the column's own rule covers it."""

    def __init__(self, allowed: Iterable[str]):
        self.allowed = list(allowed)

    def __call__(self, column: pl.Expr) -> pl.Expr:
        return column.is_in(self.allowed)


def one_of(values: Iterable[str]) -> dict:
    """The rule with the name that appears in the reason of a refused row."""
    rule = OneOf(values)
    return {"one_of_" + "_".join(rule.allowed)[:60]: rule}


def key(description: str) -> dy.String:
    return dy.String(primary_key=True, min_length=1, description=description)


def text(description: str, **options) -> dy.String:
    return dy.String(description=description, **options)


def nullable_text(description: str, **options) -> dy.String:
    return dy.String(nullable=True, description=description, **options)


IS_DATE = {"is_a_date_yyyy_mm_dd": lambda column: column.str.contains(r"^\d{4}-\d{2}-\d{2}$")}
CHECKERS = (
    "tokens", "exact", "lines", "float", "function", "custom", "default_validator", "domjudge",
    "rcmp", "rcmp4", "rcmp6", "rcmp9", "wcmp", "lcmp", "fcmp", "ncmp", "icmp", "hcmp", "yesno", "nyesno",
)  # fmt: skip


class Problems(dy.Schema):
    problem_id = key("`<source>/<id>`")
    source = text("data set the problem came from", min_length=1)
    split = text("train, valid, test or none, as in the source", check=one_of(SPLITS))
    title = text("title")
    statement = text("plain text shown to the policy; empty only where `not_sampled` says why")
    input_mode = text("stdin: whole program; function: a callable", check=one_of(("stdin", "function")))
    entry_point = nullable_text("function problems: the callable under test, e.g. `Solution().twoSum`")
    preamble = nullable_text("function problems: code run before the program")
    starter_code = nullable_text("function problems: the stub shown to the policy")
    time_limit_s = dy.Float64(
        nullable=True, min_exclusive=0, description="CPU seconds per test; null: the source has none"
    )
    time_limit_rule = nullable_text(
        "JSON {factor, resolution_s, submissions}: how the limit follows from the slowest of them, see"
        " `pipeline/labelling/time_limits.py`; null: not derived"
    )
    memory_limit_mb = dy.Float64(nullable=True, min_exclusive=0, description="MiB; null: the source has none")
    output_limit_mb = dy.Float64(
        nullable=True,
        min_exclusive=0,
        description="MiB of standard output per test; null: the source has none",
    )
    checker = text(
        "how outputs are compared; default_validator, domjudge: with flags in `checker_arguments`; rcmp"
        " and so on: as testlib's standard checkers",
        check=one_of(CHECKERS),
    )
    case_sensitive = dy.Bool(description="false: letter case is folded before comparing")
    float_tol = dy.Float64(
        nullable=True, min=0, description="absolute or relative tolerance of the float checker"
    )
    tags = dy.List(dy.String(), description="topics, as in the source")
    difficulty = nullable_text("as in the source; scales differ")
    licence = nullable_text("as stated by the source")
    tests_quality = nullable_text("full, partial or examples")
    contest_date = nullable_text(
        "day of its contest, YYYY-MM-DD, as in the source; null: unknown", check=IS_DATE
    )
    programs = nullable_text(
        "JSON: checkers, validators and generators of the source: [{role, interface, path, text, arguments,"
        " limits}]"
    )
    checker_arguments = dy.List(
        dy.String(), nullable=True, description="words for the checker, see also `tests.checker_arguments`"
    )
    validation_passes = dy.Int32(
        nullable=True,
        min=1,
        description="largest number of runs per test that its checker may ask for; null: 1",
    )
    scoring = nullable_text("JSON: rules of its score, see `sandbox/scoring.py`; null: it has none")
    not_sampled = nullable_text("why no policy is asked to solve it; null: it may be sampled")
    test_set_hash = text("hash of all tests, their modes and the checker", min_length=1)
    test_count = dy.Int32(min=0, description="number of tests")
    batch_id = text("ingestion batch, see `batches`")
    source_file = text("file the row was read from")
    source_line = dy.Int64(min=0, description="1-based line or row in that file")

    @dy.rule()
    def statement_or_not_sampled(cls) -> pl.Expr:
        return (pl.col("statement").str.len_bytes() > 0) | pl.col("not_sampled").is_not_null()


class Tests(dy.Schema):
    problem_id = key("problem the test belongs to")
    test_id = key("unique within its problem; judged in the order of `position`")
    position = dy.Int32(min=0, description="0-based order of judging")
    kind = text("public, private or generated", check=one_of(("public", "private", "generated")))
    mode = text("what `input` is", check=one_of(("stdin", "assert", "check", "call")))
    input = text("standard input, or the code of a function test")
    expected_output = nullable_text(
        "standard output, or the expected value of a call; null: the code asserts by itself"
    )
    checker_arguments = dy.List(
        dy.String(),
        nullable=True,
        description="words for the checker on this test; null: those of the problem",
    )
    arguments = dy.List(dy.String(), nullable=True, description="the program's command line; null: empty")
    files = nullable_text("JSON: [[path, text], ...] in the program's working folder; null: none")
    origin = nullable_text(
        "author: statement (example), judge (of the site), people, program, model; null: unknown",
        check=one_of(("statement", "judge", "people", "program", "model")),
    )
    batch_id = text("ingestion batch; the tests of a problem have the batch_id of its row in `problems`")


class Trajectories(dy.Schema):
    trajectory_id = key("content hash of the columns that identify the sample")
    problem_id = text("problem it tries to solve", min_length=1)
    origin = text("kind of source", check=one_of(ORIGINS))
    policy_id = text("author: `human`, a model's name, or a policy of `policies`", min_length=1)
    run_id = nullable_text("training or sampling run")
    policy_step = dy.Int64(nullable=True, min=0, description="optimiser step of the policy")
    source_key = text("identity of the sample within its source", min_length=1)
    sample_index = dy.Int32(nullable=True, min=0, description="index among the samples of one prompt")
    temperature = dy.Float64(nullable=True, min=0, description="sampling temperature")
    top_p = dy.Float64(nullable=True, min=0, max=1, description="probability mass of nucleus sampling")
    prompt = nullable_text("prompt as given to the policy; null: rendered from the problem")
    completion = nullable_text("raw answer, if it differs from the program")
    program = text("the program, as extracted")
    extraction = text("rule that found the program in the completion", min_length=1)
    language = text("language of the program", check=one_of(LANGUAGES))
    token_ids = dy.List(
        dy.Int32(), nullable=True, description="sampled completion tokens, end token included"
    )
    behaviour_logprob = dy.Float64(
        nullable=True, max=1e-3, description="nats, summed over `token_ids`, at temperature 1"
    )
    finish_reason = nullable_text("stop: the policy ended it; length: truncated; timeout, error, refused")
    claimed_verdict = nullable_text("verdict stated by the source", check=one_of(CLAIMED_VERDICTS))
    claimed_verdicts = dy.List(
        dy.String(),
        nullable=True,
        description="all verdicts that the source allows, where there are several; `claimed_verdict` is then"
        " what they have in common, `rejected`, or null where accepted is one of them",
    )
    claimed_basis = nullable_text("basis of the claimed verdict")
    created_at = dy.Datetime(time_zone="UTC", description="time of the append")
    batch_id = text("ingestion batch or rollout")
    source_file = text("file it was read from, or the rollout's name")
    source_line = dy.Int64(min=0, description="1-based line or row in that file")
    reasoning_length = dy.Int32(
        nullable=True, min=0, description="characters of the completion that are reasoning, its tags included"
    )
    search = nullable_text(
        "JSON: method, parent and settings of the search that made it, see"
        " `trainer/rollouts/program_search.py`; null: not made by a search"
    )
    files = nullable_text(
        "JSON: [[path, text], ...] beside the program; of language script the whole program, with its script"
        " `build` or `run`; null: one file"
    )
    token_logprobs = dy.List(
        dy.Float32(), nullable=True, description="`behaviour_logprob` of each of `token_ids`, nats"
    )

    @dy.rule()
    def each_token_has_its_logprob(cls) -> pl.Expr:
        fits = pl.col("token_logprobs").list.len() == pl.col("token_ids").list.len()
        return pl.col("token_logprobs").is_null() | fits.fill_null(False)


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
    judge_version = key("version of the judge and its settings")
    attempt = dy.Int32(
        primary_key=True, min=1, description="1 for the first judgement; higher after judge errors"
    )
    problem_id = text("problem judged against")
    verdict = text("verdict of the first failing test, or accepted", check=one_of(VERDICTS))
    passed = dy.Int32(min=0, description="tests passed")
    total = dy.Int32(min=0, description="tests in the set, including those not run after a failure")
    first_failure = nullable_text("test_id of the first failing test")
    tests = dy.List(
        dy.Struct(TEST_RESULT), description="result of each test that ran: CPU and wall seconds, MiB"
    )
    cpu_s = dy.Float64(min=0, description="CPU seconds of all tests")
    memory_mb = dy.Float64(nullable=True, min=0, description="peak MiB over all tests")
    tier = text("kind of isolation it ran in")
    toolchain = nullable_text("interpreter or compiler version")
    judged_at = dy.Datetime(time_zone="UTC", description="when it was judged")
    isolated_check = dy.Bool(
        nullable=True,
        description="function tests: whether all were checked outside of the program's process; false: the"
        " program could have forged the pass; null: whole programs, and judge versions before 4",
    )
    score = dy.Float64(nullable=True, description="points by `problems.scoring`; null: none")


class ReferenceScores(dy.Schema):
    trajectory_id = key("trajectory that was scored")
    reference = key("fingerprint of weights, tokenizer, template, dtype and code of the reference policy")
    problem_id = text("problem of the trajectory")
    prompt_ids = dy.List(dy.Int32(), description="tokens of the rendered prompt")
    completion_ids = dy.List(dy.Int32(), description="tokens of the completion, end token included")
    logprobs = dy.List(dy.Float32(), description="nats, one per completion token, fp32")
    logprob_sum = dy.Float64(max=1e-3, description="nats, sum over the completion")
    scored_at = dy.Datetime(time_zone="UTC", description="when it was scored")


class ReferencePolicies(dy.Schema):
    reference = key("fingerprint, as in `reference_scores.reference`")
    folder = key("folder of the reference policy when it was scored")
    weights = text("hash of the weights")
    tokenizer = text("hash of the tokenizer")
    template = text("hash of the prompt format or chat template and the end token")
    dtype = text("type of the weights")
    precision = text("precision of the forward pass: fp32, bf16 or bf16-weights")
    code = text("version of the scoring code")
    begun_at = dy.Datetime(time_zone="UTC", description="start of its first scoring")


class ProgramSignatures(dy.Schema):
    trajectory_id = key("trajectory whose program was signed")
    algorithm = key("lexer, hash and MinHash versions, permutations and seed")
    problem_id = text("scope of the comparison")
    language = text("lexer that was used")
    raw_hash = text("hash of the bytes")
    token_hash = text("hash of the tokens without comments and whitespace")
    abstract_hash = text("hash of the tokens with identifiers abstracted; not used for clusters")
    token_count = dy.Int32(min=0, description="tokens")
    shingles = dy.Binary(description="sorted distinct hashes of token 5-grams, little-endian uint32")
    minhash = dy.Binary(description="MinHash values, one per permutation, little-endian uint32")


class Duplicates(dy.Schema):
    trajectory_id = key("member of the cluster")
    algorithm = key("see `program_signatures.algorithm`")
    pass_number = dy.Int64(
        primary_key=True, min=1, description="deduplication pass; the highest of a trajectory is current"
    )
    problem_id = text("scope of the cluster")
    cluster_id = text("smallest trajectory_id of the cluster")
    representative_id = text("member that represents the cluster in training corpora")
    level = text("closest tie to the cluster", check=one_of(("unique", "exact", "token", "near")))
    cluster_size = dy.Int32(min=1, description="members at that pass")


class SameProblems(dy.Schema):
    problem_id = key("member of the cluster")
    algorithm = key("rules that match problems, see `pipeline/dedup/same_problems.py`")
    pass_number = dy.Int64(primary_key=True, min=1, description="pass; the highest of a problem is current")
    cluster_id = text("smallest problem_id of the cluster")
    tie = text("closest tie to the cluster", check=one_of(("identity", "statement", "tests", "unique")))
    identity = nullable_text("name on its site, e.g. `codeforces/1041/E`; null: unknown")
    cluster_size = dy.Int32(min=1, description="members at that pass")


class Contaminations(dy.Schema):
    pass_number = dy.Int64(
        primary_key=True, min=1, description="see `decontaminations`; the latest pass is current"
    )
    kind = dy.String(primary_key=True, description="what is marked", check=one_of(("problem", "trajectory")))
    subject_id = key("problem_id or trajectory_id of what is marked")
    evaluation_problem_id = key("problem of the evaluation set that it leaks")
    evidence = text(
        "itself: in the evaluation set; same: see `same_problems`; ngrams: shares n-grams",
        check=one_of(("itself", "same", "ngrams")),
    )
    problem_id = text("the problem, or that of the trajectory", min_length=1)
    overlap = dy.Float64(
        min=0, max=1, description="share of the evaluation problem's distinctive n-grams that it has"
    )
    example = nullable_text("first shared words")


class Decontaminations(dy.Schema):
    pass_number = dy.Int64(primary_key=True, min=1, description="number of the pass; the highest is current")
    algorithm = text("n-gram length, thresholds and version")
    evaluation = text("SQL condition on `problems` that selects the evaluation set", min_length=1)
    evaluation_problems = dy.List(dy.String(), description="problem_ids of the evaluation set, sorted")
    pins = text("JSON: table -> version that was read")
    marked = dy.Int64(min=0, description="rows of this pass in `contaminations`")
    made_at = dy.Datetime(time_zone="UTC", description="time of the pass")


class Quarantine(dy.Schema):
    quarantine_id = key("hash of batch, line and position in the line (a line may give several items)")
    batch_id = text("ingestion batch")
    adapter = text("adapter that refused it")
    source_file = text("file")
    source_line = dy.Int64(min=0, description="1-based line or row; 0: the whole file")
    field = nullable_text("column or key at fault")
    reason = text("what is wrong", min_length=1)
    raw = dy.Binary(description="the whole row as it was read")
    refused_at = dy.Datetime(time_zone="UTC", description="when it was refused")


class Retries(dy.Schema):
    quarantine_id = key("retried row of `quarantine`")
    batch_id = key("batch of the retry; the record counts once `batches` has it")
    origin_batch_id = text("batch that refused the row")
    outcome = text(
        "admitted: at least one item was accepted or present; other items were refused again",
        check=one_of(("admitted", "refused")),
    )
    field = nullable_text("column or key still at fault")
    reason = nullable_text("what is still wrong")
    retried_at = dy.Datetime(time_zone="UTC", description="time of the retry")


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
        description="largest number of problems, see `adapters/sample.py`; null: the whole file",
    )
    started_at = dy.Datetime(time_zone="UTC", description="start")
    finished_at = dy.Datetime(time_zone="UTC", description="end")
    path_names = nullable_text("JSON: {name of a run or policy: folder that it was taken from}")
    options = nullable_text(
        "JSON {set, map}: what --set and --map gave; a retry uses it again; null: nothing"
    )

    @dy.rule()
    def read_is_accepted_present_and_quarantined(cls) -> pl.Expr:
        return pl.col("read") == pl.col("accepted") + pl.col("present") + pl.col("quarantined")


class Policies(dy.Schema):
    policy_id = key("name used in `trajectories.policy_id`")
    fingerprint = text("hash of weights, tokenizer, template and dtype")
    parent_id = nullable_text("policy it was trained from")
    run_id = nullable_text("run that made it")
    step = dy.Int64(nullable=True, min=0, description="optimiser step")
    folder = text("folder of its weights; empty if they were not kept")
    details = text("JSON: configuration and metrics of its training")
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
    parameters = nullable_text("JSON: name -> value of each `$name` in the query")
    description = nullable_text("purpose, as in its TOML file")


class Pins(dy.Schema):
    label = key("name of the pin, e.g. a run")
    revision = dy.Int64(
        primary_key=True, min=0, description="number of the change of the label; the highest is current"
    )
    versions = text("JSON: table -> version")
    held = dy.Bool(description="false: released")
    pinned_at = dy.Datetime(time_zone="UTC", description="time of the change")


class Evaluations(dy.Schema):
    policy_id = key("policy that was evaluated")
    problem_id = key("problem")
    settings = key("JSON: temperature, top_p, samples, tokens, judge version")
    run_id = nullable_text("training run the policy belongs to")
    seed = dy.Int64(nullable=True, description="seed of that run")
    step = dy.Int64(nullable=True, min=0, description="optimiser step of the policy")
    split = text("split of the problem", check=one_of(SPLITS))
    samples = dy.Int32(min=0, description="samples with a verdict; 0: the judge failed on all of them")
    correct = dy.Int32(min=0, description="samples accepted")
    distinct_correct = dy.Int32(min=0, description="accepted programs that are distinct after normalisation")
    judge_errors = dy.Int32(min=0, description="samples without a verdict; not in `samples`")
    evaluated_at = dy.Datetime(time_zone="UTC", description="time of the evaluation")
    verdicts = nullable_text("JSON: verdict -> samples; null: evaluated before this was recorded")
    token_entropy = dy.Float64(
        nullable=True,
        min=0,
        description="nats per token: next-token entropy of the policy along its samples; null: unknown",
    )


SCHEMAS: dict[str, type[dy.Schema]] = {
    "problems": Problems,
    "tests": Tests,
    "trajectories": Trajectories,
    "verdicts": Verdicts,
    "reference_scores": ReferenceScores,
    "reference_policies": ReferencePolicies,
    "program_signatures": ProgramSignatures,
    "duplicates": Duplicates,
    "same_problems": SameProblems,
    "contaminations": Contaminations,
    "decontaminations": Decontaminations,
    "quarantine": Quarantine,
    "retries": Retries,
    "batches": Batches,
    "policies": Policies,
    "corpora": Corpora,
    "pins": Pins,
    "evaluations": Evaluations,
}
