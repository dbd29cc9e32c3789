"""Rows of a shared store run no code and send nothing but text to a terminal."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest


def neighbour(name):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


rows = neighbour("hostile_rows")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("part", ["adapters_in_quarantine", "folders_of_policies", "terminal_sequences"])
def test_no_row_gets_further_than_text(tmp_path, part):
    outcomes = list(getattr(rows, part)(tmp_path))
    assert [(attack, fault) for attack, fault in outcomes if fault] == []
    assert len(outcomes) >= 6


def test_the_models_run_code_where_somebody_allows_it(tmp_path, monkeypatch):
    """The attacks are real: with leave to run code, the folder's code runs."""
    from transformers import AutoConfig

    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    mark = tmp_path / "ran"
    folder = rows.hostile_models(tmp_path, mark)["code for its configuration"]
    with pytest.raises(Exception, match="Config"):
        AutoConfig.from_pretrained(folder, trust_remote_code=True)
    assert mark.exists()
