"""What `judge` measures of problem packages: packages of each kind, from their folders to verdicts."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.ingest import ingest
from pipeline.labelling import label
from pipeline.store import Store, connect, query
from sandbox import Pool
from tests.benchmarks.package_cases import CASES, Case

LINK = "-> "  # before the target of a symbolic link


def build(root: Path, case: Case) -> Path:
    """The source of a case: a folder of one package, or one with an archive."""
    kind, _, files, _ = case
    source = root / "contest"
    for name, text in files.items():
        path = source / "package" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if text.startswith(LINK):
            path.symlink_to(text.removeprefix(LINK))
        else:
            path.write_text(text)
    if kind == "zipped":
        with zipfile.ZipFile(root / "package.zip", "w") as archive:
            for path in (source / "package").rglob("*"):
                archive.write(path, path.relative_to(source / "package"))
        return root / "package.zip"
    return source


def faults_of(case: Case, pool: Pool) -> tuple[int, list[str]]:
    """(outcomes tried, those that are not as wanted) of one package."""
    kind, adapter, _, wanted = case
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "store")
        ingest(store, adapter, str(build(Path(folder), case)))
        label(store, pool)
        with connect(store) as connection:
            problems = query(connection, "select * from problems").to_dicts()
            rows = query(
                connection, "select source_key, claimed_verdict, verdict, score from judged"
            ).to_dicts()
    if not wanted:
        return 1, [f"{kind}: it was not refused"] if problems else []
    if not problems:
        return 1, [f"{kind}: it was refused"]
    return len(wanted), list(differences(kind, wanted, problems[0], {row["source_key"]: row for row in rows}))


def differences(
    kind: str, wanted: dict[str, Any], problem: dict[str, Any], rows: dict[str, dict[str, Any]]
) -> Iterator[str]:
    for key, value in wanted.items():
        if key == "problem":
            results: Any = {name: problem[name] for name in value}
        elif key == "claims":
            results = {name: rows[name]["claimed_verdict"] for name in value if name in rows}
        elif row := rows.get(next((name for name in rows if name.endswith(key)), "")):
            results = (row["verdict"], row["score"]) if isinstance(value, tuple) else row["verdict"]
        else:
            results = "refused"
        if results != value:
            yield f"{kind}, {key}: {results}, not {value}"


def package_cases() -> tuple[int, int, int]:
    """(kinds, outcomes tried, right ones) over the packages of all kinds; prints one line per kind."""
    tried = right = 0
    with Pool(1) as pool:
        for case in CASES:
            count, faults = faults_of(case, pool)
            tried, right = tried + count, right + count - len(faults)
            print(f"{case[0]:<32} {count - len(faults)} of {count}", *faults, sep="  ", flush=True)
    return len(CASES), tried, right
