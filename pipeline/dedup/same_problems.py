"""The same problem in several sources: one Codeforces problem in CodeContests, APPS and TACO, say. Marks, never deletes.

Three kinds of ties, the strongest first:
* `identity`: the site's own name for it, from the id, the title or a link (`codeforces/1041/E`, `leetcode/two-sum`, `mbpp/17`);
* `statement`: 5-word shingles of the statements with a Jaccard similarity of at least 0.7 (MinHash-LSH proposes, exact
  sets decide, as for programs), or equal words;
* `tests`: at least half of the smaller one's tests, at least 3 and 64 bytes of input, and a fifth of the words' shingles.
A tie of the last two kinds between problems that one site names differently is none: easy and hard versions read alike.

A cluster is named by its smallest problem_id. Everything is compared anew as soon as there is a new problem, so the marks hang
on the problems alone and not on their order of arrival; only those that changed are written.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import polars as pl

from pipeline.dedup.clusters import Programs, jaccard, joined, near_pairs
from pipeline.dedup.lexers import Lexer, lex, text_hashes
from pipeline.dedup.signatures import minhash_of, shingles_of, span_hashes
from pipeline.store import Store

PRODUCER = "same-problems"
ALGORITHM = "same problems 1: identity, 5-word shingles 0.7, tests"
WORDS = Lexer("words", r"[\p{L}\p{N}]+")
TIES = ("identity", "statement", "tests", "unique")
SHARED_TESTS, SHARED_BYTES, LEAST_SIMILARITY = 3, 64, 0.2
# A test that more problems have ("1\n1 2" -> "3") says nothing, and one shorter than this can be anybody's.
COMMON_TEST = 20
SHORTEST_TEST_BYTES = 6
LONGEST_TEST_BYTES = 1 << 16

CODEFORCES_LINK = re.compile(
    r"codeforces\.com/(?:problemset/problem/(\d+)/(\w+)|(?:contest|gym)/(\d+)/problem/(\w+))"
)
LINKS = (
    ("atcoder", re.compile(r"atcoder\.jp/contests/[\w-]+/tasks/(\w+)")),
    ("leetcode", re.compile(r"leetcode\.com/problems/([\w-]+)")),
    ("codechef", re.compile(r"codechef\.com/(?:[\w-]+/)?problems/(\w+)")),
    ("hackerearth", re.compile(r"hackerearth\.com/.*?/([\w-]+)/?$")),
    ("hackerrank", re.compile(r"hackerrank\.com/.*?challenges/([\w-]+)")),
    ("codewars", re.compile(r"codewars\.com/kata/(\w+)")),
    ("kattis", re.compile(r"kattis\.com/problems/(\w+)")),
    ("spoj", re.compile(r"spoj\.com/problems/(\w+)")),
    ("geeksforgeeks", re.compile(r"geeksforgeeks\.org/problems/([\w-]+)")),
)
# Ids and titles as the adapters make them.
NAMES = (
    ("codeforces", re.compile(r"(?:codecontests/codeforces|lcb|taco/codeforces)/(\d+)_([A-Z]\d?)\b.*")),
    ("codeforces", re.compile(r"codeforces/(\d+)/([A-Z]\d?)")),
    ("codeforces", re.compile(r"codecontests/(\d+)_([a-z]\d?)_.*")),
    ("atcoder", re.compile(r"(?:lcb|taco/atcoder)/((?:abc|arc|agc)\d+_\w+).*")),
    ("mbpp", re.compile(r"(?:mbpp|mbpp-typed|mbppplus|mbpp_plus)/(?:Mbpp/)?(\d+)")),
    ("humaneval", re.compile(r"(?:humaneval|humanevalplus|humaneval_plus)/(?:HumanEval/)?(\d+)")),
    ("leetcode", re.compile(r"leetcode/([a-z0-9-]+)")),
    # Made from code: every name is a problem of its own, however alike they read.
    ("starter", re.compile(r"starter/(.+)")),
)
LEETCODE_NUMBER = re.compile(r"lcb/(\d+)")


@dataclass(frozen=True)
class SameProblemsSummary:
    """Problems by their closest tie, and clusters of two or more, as they hold now; `rows_changed` by this call."""

    problems: int
    clusters: int
    ties: dict[str, int]
    rows_changed: int


def mark_same_problems(store: Store) -> SameProblemsSummary:
    """Find the problems that are the same, and write what changed to `same_problems`."""
    before = current(store)
    problems = store.snapshot("problems").scan().select("problem_id", "title", "statement").collect()
    changed = 0
    if problems.join(before, on="problem_id", how="anti").height:
        found = same_problems(problems.unique("problem_id").sort("problem_id"), tests_of(store))
        same = before.join(found, on=found.columns, how="semi", nulls_equal=True)
        pass_number = 1 + max(before["pass_number"].to_list(), default=0)
        rows = found.join(same, on="problem_id", how="anti").with_columns(
            pl.lit(ALGORITHM).alias("algorithm"), pl.lit(pass_number, pl.Int64).alias("pass_number")
        )
        store.append_next("same_problems", rows, producer=PRODUCER)
        before, changed = found, rows.height
    ties = before.group_by("tie").len()
    clusters = before.filter(pl.col("cluster_size") > 1)["cluster_id"].n_unique()
    return SameProblemsSummary(before.height, clusters, dict(sorted(ties.iter_rows())), changed)


def current(store: Store) -> pl.DataFrame:
    """The rows of `same_problems` that hold: for each problem that of the highest pass."""
    rows = store.snapshot("same_problems").scan().filter(pl.col("algorithm") == ALGORITHM)
    return rows.filter(pl.col("pass_number") == pl.col("pass_number").max().over("problem_id")).collect()


def tests_of(store: Store) -> pl.DataFrame:
    """Tests that several problems have: problem_id, test (a hash of what goes in and what comes out), bytes of input."""
    given, expected = (
        pl.col("input").str.strip_chars(),
        pl.col("expected_output").fill_null("").str.strip_chars(),
    )
    size = given.str.len_bytes()
    tests = (
        store.snapshot("tests")
        .scan()
        .filter(pl.col("input").str.len_bytes() <= LONGEST_TEST_BYTES)
        .select(
            "problem_id",
            pl.struct(given.alias("input"), expected.alias("output")).hash().alias("test"),
            size.alias("bytes"),
        )
        .filter(pl.col("bytes") >= SHORTEST_TEST_BYTES)
        .collect(engine="streaming")
    )
    return tests.unique(["problem_id", "test"])


def same_problems(problems: pl.DataFrame, tests: pl.DataFrame) -> pl.DataFrame:
    """A row a problem: problem_id, cluster_id, tie, identity, cluster_size.

    `problems`, sorted by their distinct problem_id: title and statement too; `tests`: see `tests_of`.
    """
    identities = [
        identity_of(name, title) for name, title in problems.select("problem_id", "title").iter_rows()
    ]
    texts = statements(problems["statement"])
    place = pl.DataFrame({"problem_id": problems["problem_id"], "place": np.arange(problems.height)})
    near, equal = near_pairs(texts), equal_pairs(texts.token.tolist())
    edges = {
        "identity": equal_pairs(identities),
        "statement": compatible(identities, np.append(near[0], equal[0]), np.append(near[1], equal[1])),
        "tests": compatible(
            identities, *tested_alike(tests.join(place, on="problem_id"), problems.height, texts)
        ),
    }
    labels = np.arange(problems.height)
    ties = np.full(problems.height, TIES.index("unique"))
    for name, (left, right) in edges.items():
        labels = joined(labels, left, right)
        members = np.concatenate([left, right])
        np.minimum.at(ties, members, TIES.index(name))
    return (
        problems.select("problem_id")
        .with_columns(
            problems["problem_id"].gather(labels).alias("cluster_id"),
            pl.Series("tie", [TIES[tie] for tie in ties], dtype=pl.String),
            pl.Series("identity", identities, dtype=pl.String),
        )
        .with_columns(pl.len().over("cluster_id").cast(pl.Int32).alias("cluster_size"))
    )


def identity_of(problem_id: str, title: str) -> str | None:
    """The name its site gives a problem, `<site>/<name>`; None where neither id nor title tells."""
    for text in (problem_id, title):
        if found := CODEFORCES_LINK.search(text):
            contest, letter = found[1] or found[3], found[2] or found[4]
            return f"codeforces/{contest}/{letter.upper()}"
        for site, pattern in LINKS:
            if found := pattern.search(text):
                return f"{site}/{found[1].lower()}"
    for site, pattern in NAMES:
        if found := pattern.fullmatch(problem_id):
            return "/".join(
                [site, *(part.upper() if site == "codeforces" else part for part in found.groups())]
            )
    # LiveCodeBench numbers the problems of LeetCode; their titles are what names them there.
    if LEETCODE_NUMBER.fullmatch(problem_id) and title:
        return "leetcode/" + re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
    return None


def statements(texts: pl.Series) -> Programs:
    """Statements as sets of 5-word shingles, all in one group."""
    words = lex(texts.str.to_lowercase(), WORDS)
    hashes = text_hashes(words.texts)[words.codes] if len(words.codes) else np.zeros(0, np.uint64)
    shingles, offsets = shingles_of(hashes, words.offsets)
    token = np.unique(span_hashes(hashes, words.offsets), return_inverse=True)[1].astype(np.int64)
    return Programs(np.zeros(len(texts), np.int64), token, minhash_of(shingles, offsets), shingles, offsets)


def equal_pairs(values: list) -> tuple[np.ndarray, np.ndarray]:
    """Pairs that tie together all places with equal values; nulls are equal to nothing."""
    seen: dict = {}
    firsts = [place if value is None else seen.setdefault(value, place) for place, value in enumerate(values)]
    pairs = [(first, place) for place, first in enumerate(firsts) if first != place]
    both = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return both[:, 0], both[:, 1]


def compatible(
    identities: list[str | None], left: np.ndarray, right: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The pairs without those to which one site gives two names."""

    def clash(one: str | None, other: str | None) -> bool:
        return bool(one and other and one != other and one.partition("/")[0] == other.partition("/")[0])

    kept = np.array(
        [not clash(identities[a], identities[b]) for a, b in zip(left, right, strict=True)], dtype=bool
    )
    return left[kept], right[kept]


def tested_alike(tests: pl.DataFrame, problems: int, texts: Programs) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of places that share enough tests, and words enough not to be chance."""
    telling = tests.filter(pl.len().over("test").is_between(2, COMMON_TEST))
    pairs = (
        telling.join(telling.select("test", pl.col("place").alias("other")), on="test")
        .filter(pl.col("place") < pl.col("other"))
        .group_by("place", "other")
        .agg(pl.len().alias("shared"), pl.col("bytes").sum())
        .filter((pl.col("shared") >= SHARED_TESTS) & (pl.col("bytes") >= SHARED_BYTES))
        .sort("place", "other")
    )
    held = np.zeros(problems, dtype=np.int64)
    sizes = tests.group_by("place").len()
    held[sizes["place"].to_numpy()] = sizes["len"].to_numpy()
    left, right = pairs["place"].to_numpy(), pairs["other"].to_numpy()
    enough = pairs["shared"].to_numpy() * 2 >= np.minimum(held[left], held[right])
    left, right = left[enough], right[enough]
    alike = jaccard(texts, left, right) >= LEAST_SIMILARITY
    return left[alike], right[alike]
