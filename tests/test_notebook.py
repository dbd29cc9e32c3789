"""The notebook of the documentation: its stored outputs are those of a run, and a run today still ends."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "docs" / "tutorial" / "notebook.ipynb"


def outputs_of(notebook) -> str:
    """All text that its cells print or show."""
    texts = []
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            texts.append(output.get("text", "") or output.get("data", {}).get("text/plain", ""))
    return "\n".join(texts)


def pictures_of(notebook) -> int:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return sum("image/png" in output.get("data", {}) for output in outputs)


def test_the_stored_notebook_was_run_from_top_to_bottom():
    nbformat = pytest.importorskip("nbformat", reason="needs the extra docs")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))
    assert "the page names the problem: True" in outputs_of(notebook)
    assert pictures_of(notebook) == 2
    assert NOTEBOOK.stat().st_size < 200_000


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_notebook_runs(tmp_path, monkeypatch):
    for name in ("nbclient", "ipykernel"):
        pytest.importorskip(name, reason="needs the extra docs")
    # `spo` of this tree, for the cells that call it.
    command = tmp_path / "bin" / "spo"
    command.parent.mkdir()
    command.write_text('#!/bin/sh\nexec python -P -m flows "$@"\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{command.parent}:{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("SPO_DATA_DIR", "data")
    spec = importlib.util.spec_from_file_location("notebook", ROOT / "docs" / "notebook.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (tmp_path / "place").mkdir()
    notebook = module.executed(tmp_path / "place")
    assert "the page names the problem: True" in outputs_of(notebook)
    assert pictures_of(notebook) == 2
    assert (tmp_path / "place" / "data" / "reports" / "first-spo" / "index.html").exists()
