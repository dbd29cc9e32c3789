"""A published corpus as plain Parquet with a data card: a folder that `datasets.load_dataset` reads, with
no store behind it.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq

from pipeline.corpora.publication import Corpus, CorpusError, prove, reward_column
from pipeline.store import SqlError, Store, connect, relation
from pipeline.store import write_rows as write_result

COLUMNS_OF_PROBLEM = ("title", "statement", "input_mode", "difficulty", "tags", "licence")


def export(store: Store, corpus: Corpus, folder: str | Path) -> Path:
    """Write `folder/data/train.parquet` (zstd, a row a trajectory, sorted by id) and `folder/README.md`, the
    data card.

    Rows are those of the view `judged` at the pinned versions, with the corpus's reward and the problem's
    statement. Nothing appears under `folder` before all is written. Raises CorpusError if the folder has
    content or cannot be written.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise CorpusError(f"{folder} exists and is not an empty folder; name another one")
    unfinished = folder.with_name(f".{folder.name}.unfinished-{os.getpid()}")
    try:
        (unfinished / "data").mkdir(parents=True)
        write_rows(store, corpus, unfinished / "data" / "train.parquet")
        (unfinished / "README.md").write_text(data_card(corpus, unfinished / "data" / "train.parquet"))
        os.replace(unfinished, folder)
    except (OSError, SqlError) as error:
        raise CorpusError(f"cannot export to {folder}: {error}") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def write_rows(store: Store, corpus: Corpus, path: Path) -> None:
    """Rows are written while they are read, so that a corpus need not fit into memory."""
    of_problem = ", ".join(f"p.{column}" for column in COLUMNS_OF_PROBLEM)
    with connect(store, corpus.pins) as connection:
        prove(connection, corpus)
        connection.register("chosen", pl.DataFrame({"trajectory_id": corpus.rows}).to_arrow())
        rows = relation(
            connection,
            f"SELECT j.* EXCLUDE (reward_binary), {reward_column(corpus.reward)}, {of_problem}"
            " FROM judged j SEMI JOIN chosen USING (trajectory_id) LEFT JOIN problems p ON p.problem_id = j.problem_id"
            " ORDER BY trajectory_id",
        )
        assert rows is not None, "a SELECT gives rows"
        with open(path, "wb") as file:
            write_result(rows, file, "parquet")


def data_card(corpus: Corpus, path: Path) -> str:
    """The card: what it is, where it is from, how it was chosen, what is in it, and each column."""
    counts = corpus.statistics
    origins = [
        (origin, verdict, count)
        for origin, verdicts in counts["origins"].items()
        for verdict, count in verdicts.items()
    ]
    licences = pl.read_parquet(path, columns=["licence"])["licence"].value_counts(sort=True)
    parts = [
        "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: data/train.parquet\n---",
        f"# {corpus.name}",
        corpus.description or "Judged programs for programming contests.",
        f"{counts['rows']} trajectories of {counts['problems']} problems; mean reward {counts['mean_reward']:.4f}; "
        f"{counts['left_out_without_reward']} selected rows were left out because they have no reward.",
        f"Corpus `{corpus.corpus_id}`, published {corpus.published_at:%Y-%m-%d %H:%M} UTC.",
        f"## How it was chosen\n```sql\n{corpus.query.strip()}\n```\n"
        f"Parameters: `{json.dumps(corpus.parameters)}`. Reward: `{corpus.reward}`. Table versions: `{json.dumps(corpus.pins)}`.",
        "## What is in it\n" + markdown_table(("origin", "verdict", "rows"), origins),
        markdown_table(("language", "rows"), counts["languages"].items()),
        "## Licences, as the sources state them\n"
        + markdown_table(
            ("licence of the problem", "rows"),
            [(name or "not stated", n) for name, n in licences.iter_rows()],
        ),
        "## Columns\n" + markdown_table(("column", "type"), [(f.name, f.type) for f in pq.read_schema(path)]),
        'Read with `datasets.load_dataset("parquet", data_files="data/train.parquet")`.',
    ]
    return "\n\n".join(parts) + "\n"


def markdown_table(heads, rows) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(
        "| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines
    )
