"""Other libraries deduplicate the same programs: run by ingest.py in an environment of its own, `python
ingest_peers.py FOLDER`.

FOLDER holds programs.npz: shingles (uint32, end to end), offsets [programs + 1], groups [programs] (the
problem of each); and texts.json: the tokens of each program in one line. None of them knows a programming
language, so they begin where the lexer ends. All use 125 permutations in 25 bands of 5. Prints a JSON line:
peer -> programs per CPU-second of what it does, or why there is no figure: datasketch and gaoya go from
shingles to the candidates of each program within its problem, datatrove and Daft to signatures, as those have
no more, or only through files.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np

BANDS, ROWS, THRESHOLD = 25, 5, 0.7


def datasketch(shingles: list[np.ndarray], groups: list[int], texts: list[str]) -> float:
    """MinHash and LSH of all programs, the candidates of each within its problem; nothing is verified."""
    from datasketch import MinHash, MinHashLSH

    begin = time.process_time()
    index: dict[int, MinHashLSH] = {}
    for number, (one, group) in enumerate(zip(shingles, groups, strict=True)):
        minhash = MinHash(num_perm=BANDS * ROWS)
        minhash.update_batch([value.tobytes() for value in one])
        lsh = index.setdefault(group, MinHashLSH(params=(BANDS, ROWS), num_perm=BANDS * ROWS))
        lsh.query(minhash)
        lsh.insert(number, minhash)
    return len(shingles) / (time.process_time() - begin)


def gaoya(shingles: list[np.ndarray], groups: list[int], texts: list[str]) -> float:
    """Its index, one a problem; it checks its candidates by their signatures."""
    from gaoya.minhash import MinHashStringIndex

    begin = time.process_time()
    index: dict[int, MinHashStringIndex] = {}
    for number, (one, group) in enumerate(zip(shingles, groups, strict=True)):
        if group not in index:
            index[group] = MinHashStringIndex(32, THRESHOLD, BANDS, ROWS, analyzer="word", ngram_range=(1, 1))
        text = " ".join(map(str, one))
        index[group].query(text)
        index[group].insert_document(number, text)
    return len(shingles) / (time.process_time() - begin)


def datatrove(shingles: list[np.ndarray], groups: list[int], texts: list[str]) -> float:
    """Signatures, from shingles that are hashed already; its buckets and clusters go through files."""
    from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupSignature

    with tempfile.TemporaryDirectory() as folder:
        config = MinhashConfig(n_grams=5, num_buckets=BANDS, hashes_per_bucket=ROWS)
        step = MinhashDedupSignature(output_folder=folder, config=config)
        begin = time.process_time()
        for one in shingles:
            if len(one):
                step.get_signature(one.astype(np.uint64).reshape(-1, 1))
        return len(shingles) / (time.process_time() - begin)


def daft(shingles: list[np.ndarray], groups: list[int], texts: list[str]) -> float:
    """Its MinHash over the words of a line; it has no index and no clusters."""
    import daft

    begin = time.process_time()
    frame = daft.from_pydict({"text": texts}).select(
        daft.col("text").minhash(num_hashes=BANDS * ROWS, ngram_size=5, seed=1)
    )
    frame.to_arrow()
    return len(texts) / (time.process_time() - begin)


def main() -> None:
    folder = Path(sys.argv[1])
    held = dict(np.load(folder / "programs.npz"))
    shingles = [held["shingles"][a:b] for a, b in pairwise(held["offsets"])]
    groups, texts = held["groups"].tolist(), json.loads((folder / "texts.json").read_text())
    results: dict[str, float | str] = {}
    for peer, programs in ((datasketch, 5_000), (gaoya, 5_000), (datatrove, 5_000), (daft, 20_000)):
        assert max(Counter(groups[:programs]).values()) > 1
        try:
            results[peer.__name__] = peer(shingles[:programs], groups[:programs], texts[:programs])
        except Exception as error:
            results[peer.__name__] = (
                f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            )
    print(json.dumps(results))


if __name__ == "__main__":
    main()
