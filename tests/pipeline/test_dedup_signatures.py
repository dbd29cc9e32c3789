"""Signatures: hashes that tell apart what they should, shingles by a second method, MinHash against exact
similarity.
"""

import numpy as np
import polars as pl

from pipeline.dedup.lexers import PYTHON, lex
from pipeline.dedup.signatures import PERMUTATIONS, minhash_of, sign

SUM = """n = int(input())
values = list(map(int, input().split()))
total = 0
for value in values:
    if value % 2 == 0:
        total += value
print(total)
"""
SAME_TOKENS = "# sum of even\n" + SUM.replace("    ", "\t").replace(" = ", "=").replace(
    "print(", "\n\nprint(  "
)
RENAMED = SUM.replace("values", "a").replace("value", "x").replace("total", "s")
NEAR = SUM + "import sys\n"
OTHER = (
    "import math\na, b = [int(x) for x in input().split()]\nprint(math.gcd(a, b), a * b // math.gcd(a, b))\n"
)


def test_hashes_tell_apart_what_they_should():
    signatures = sign(pl.Series([SUM, SUM, SAME_TOKENS, RENAMED, NEAR, SUM.replace("+=", "-=")]), "python3")
    raw, token, abstract = signatures.raw_hash, signatures.token_hash, signatures.abstract_hash
    assert raw[0] == raw[1] and len(set(raw)) == 5
    assert token[0] == token[1] == token[2] and len(set(token)) == 4
    assert abstract[0] == abstract[2] == abstract[3] and len(set(abstract)) == 3


def test_renaming_is_consistent_and_keeps_what_has_a_meaning():
    pairs = {
        "a = b": ("x = y", True),
        "a = a": ("x = y", False),
        "a.sort()": ("b.sort()", True),
        "a.append(b)": ("a.extend(b)", False),
        "print(a)": ("input(a)", False),
        "for i in a: b": ("for j in c: d", True),
        "if a: b": ("if a:\n  b", False),
    }
    for one, (other, same) in pairs.items():
        signatures = sign(pl.Series([one, other]), "python3")
        assert (signatures.abstract_hash[0] == signatures.abstract_hash[1]) is same, one


def test_indentation_is_part_of_a_python_program():
    inside = "for i in range(3):\n    a()\n    b()\n"
    signatures = sign(
        pl.Series([inside, inside.replace("    b", "b"), inside.replace("    ", "  ")]), "python3"
    )
    assert signatures.token_hash[0] == signatures.token_hash[2] != signatures.token_hash[1]


def test_a_program_has_the_same_signature_alone_and_among_others():
    programs = [SUM, "", "x", OTHER, "# nothing", "print(1)\n" * 200, SAME_TOKENS]
    together = sign(pl.Series(programs), "python3").frame()
    single = pl.concat([sign(pl.Series([program]), "python3").frame() for program in programs])
    assert together.equals(single)
    assert together["shingles"].bin.size().to_list()[1:5] == [0, 4, len(together["shingles"][3]), 0]


def test_shingles_are_the_distinct_windows_of_five_tokens():
    """By a second method: windows of token texts in a Python set."""
    programs = [SUM, OTHER, "a b c d", "a b c d e", "a b c d e f a b c d e f", ""]
    tokens = lex(pl.Series(programs), PYTHON)
    actual = sign(pl.Series(programs), "python3")
    sizes = np.diff(actual.shingle_offsets)
    for number in range(len(programs)):
        texts = tokens.of(number)
        windows = (
            {tuple(texts[place : place + 5]) for place in range(max(1, len(texts) - 4))} if texts else set()
        )
        assert sizes[number] == len(windows)
        span = actual.shingles[actual.shingle_offsets[number] : actual.shingle_offsets[number + 1]]
        assert (np.diff(span.astype(np.int64)) > 0).all()


def test_minhash_estimates_jaccard():
    generator = np.random.default_rng(1)
    for share in (0.2, 0.5, 0.7, 0.9):
        common = generator.integers(0, 1 << 32, int(4000 * share))
        own = generator.integers(0, 1 << 32, (2, int(2000 * (1 - share))))
        sets = [np.unique(np.concatenate([common, part])).astype(np.uint32) for part in own]
        exact = len(np.intersect1d(*sets)) / len(np.union1d(*sets))
        minhash = minhash_of(np.concatenate(sets), np.array([0, len(sets[0]), len(sets[0]) + len(sets[1])]))
        assert minhash.shape == (2, PERMUTATIONS)
        # Four standard deviations of the mean of 125 Bernoulli draws.
        assert (
            abs((minhash[0] == minhash[1]).mean() - exact) < 4 * (exact * (1 - exact) / PERMUTATIONS) ** 0.5
        )
