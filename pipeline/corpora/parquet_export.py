"""Exports a published corpus as plain Parquet with a data card: `datasets.load_dataset` reads the folder
without the store.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq

from pipeline.corpora.publication import Corpus, CorpusError, reward_column, verify
from pipeline.store import SqlError, Store, connect, relation
from pipeline.store import write_rows as write_relation

CARD = "_README.md"
PROBLEM_COLUMNS = ("title", "statement", "input_mode", "difficulty", "tags", "licence")


def export(store: Store, corpus: Corpus, folder: str | Path) -> Path:
    """Write `folder/data/train.parquet` (zstd, one row per trajectory, sorted by id) and the data card
    `folder/_README.md`: readers of a folder of Parquet (pandas, Arrow) pass over names that begin with `_`.

    The rows are those of the view `judged` at the pinned versions, with the corpus's reward and columns of
    the problem. `folder` appears only when everything is written. Raises CorpusError if the folder is not
    empty or cannot be written.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise CorpusError(f"{folder} exists and is not an empty folder; name another one")
    unfinished = folder.with_name(f".{folder.name}.unfinished-{os.getpid()}")
    try:
        (unfinished / "data").mkdir(parents=True)
        write_rows(store, corpus, unfinished / "data" / "train.parquet")
        (unfinished / CARD).write_text(data_card(corpus, unfinished / "data" / "train.parquet"))
        os.replace(unfinished, folder)
    except (OSError, SqlError) as error:
        raise CorpusError(f"cannot export to {folder}: {error}") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def write_rows(store: Store, corpus: Corpus, path: Path) -> None:
    """Stream the rows, so that a corpus need not fit into memory."""
    problem_columns = ", ".join(f"p.{column}" for column in PROBLEM_COLUMNS)
    with connect(store, corpus.pins) as connection:
        verify(connection, corpus)
        connection.register("chosen", pl.DataFrame({"trajectory_id": corpus.rows}).to_arrow())
        rows = relation(
            connection,
            f"SELECT j.* EXCLUDE (reward_binary), {reward_column(corpus.reward)}, {problem_columns}"
            " FROM judged j SEMI JOIN chosen USING (trajectory_id)"
            " LEFT JOIN problems p ON p.problem_id = j.problem_id ORDER BY trajectory_id",
        )
        assert rows is not None, "a SELECT gives rows"
        with open(path, "wb") as file:
            write_relation(rows, file, "parquet")


def data_card(corpus: Corpus, path: Path) -> str:
    """The data card: description, query, pinned versions, contents, licences and columns."""
    counts = corpus.statistics
    origins = [
        (origin, verdict, count)
        for origin, verdicts in counts["origins"].items()
        for verdict, count in verdicts.items()
    ]
    licences = pl.read_parquet(path, columns=["licence"])["licence"].value_counts(sort=True)
    parts = [
        "---\nconfigs:\n- config_name: default\n  data_files:\n"
        "  - split: train\n    path: data/train.parquet\n---",
        f"# {corpus.name}",
        corpus.description or "Judged programs for programming contests.",
        f"{counts['rows']} trajectories of {counts['problems']} problems; "
        f"mean reward {counts['mean_reward']:.4f}; "
        f"{counts['left_out_without_reward']} selected rows were left out because they have no reward.",
        f"Corpus `{corpus.corpus_id}`, published {corpus.published_at:%Y-%m-%d %H:%M} UTC.",
        f"## How the rows were selected\n```sql\n{corpus.query.strip()}\n```\n"
        f"Parameters: `{json.dumps(corpus.parameters)}`. Reward: `{corpus.reward}`. "
        f"Table versions: `{json.dumps(corpus.pins)}`.",
        "## Contents\n" + markdown_table(("origin", "verdict", "rows"), origins),
        markdown_table(("language", "rows"), counts["languages"].items()),
        "## Licences, as stated by the sources\n"
        + markdown_table(
            ("licence of the problem", "rows"),
            [(name or "not stated", n) for name, n in licences.iter_rows()],
        ),
        "## Columns\n" + markdown_table(("column", "type"), [(f.name, f.type) for f in pq.read_schema(path)]),
        "Read with `datasets.load_dataset(FOLDER)` or `pandas.read_parquet(FOLDER)`. On the Hub, rename this"
        " card to README.md.",
    ]
    return "\n\n".join(parts) + "\n"


def markdown_table(heads, rows) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(
        "| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines
    )
