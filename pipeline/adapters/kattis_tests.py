"""The tests of a Kattis package: inputs, answers, and what a test gives to the program beside its input.

`<test>.in` and `<test>.ans`; `args` of <test>.yaml or of the groups around it, or `<test>.args` of an older
draft, are the program's command line; the files of `<test>.files/` are in its working folder.
"""

from __future__ import annotations

import json
import shlex
from pathlib import PurePosixPath
from typing import Any

from pipeline.adapters.bounded_yaml import load_yaml
from pipeline.adapters.kattis_constants import with_constants
from pipeline.adapters.package_files import PackageFiles
from pipeline.adapters.source_policy import SourceRefused
from sandbox import Test

TEST_FOLDERS = {"data/sample": "public", "data/secret": "private"}
MAX_TESTS_BYTES = 192 << 20
MAX_ARGUMENTS_BYTES = 64 << 10
GROUP_FILES = ("testdata.yaml", "test_group.yaml")
Groups = dict[str, dict[str, Any]]


def load_mapping(package: PackageFiles, name: str) -> dict[str, Any]:
    """The mapping in a YAML file; empty if the file is empty or missing.

    Raises ValueError, yaml.YAMLError.
    """
    text = with_constants(package.read_text(name), package.constants) if name in package.entries else ""
    value = load_yaml(text, name) if text else {}
    if not isinstance(value, dict | None):
        raise ValueError(f"{name} is not a mapping")
    return value or {}


def load_groups(package: PackageFiles) -> Groups:
    """{path: contents} of the YAML files below data/ that belong to groups and tests."""
    return {
        name: load_mapping(package, name)
        for name in package.entries
        if name.startswith("data/") and name.endswith(".yaml") and ".files/" not in name
    }


def words_of(value: Any, name: str) -> list[str]:
    """A list of words, or a text of words. Raises ValueError for anything else."""
    if value is None:
        return []
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return str(value).split()
    if isinstance(value, list) and all(isinstance(one, str | int | float) for one in value):
        return [str(one) for one in value]
    raise ValueError(f"{name} is neither a text nor a list of words")


def tests_of(package: PackageFiles, groups: Groups) -> list[dict[str, Any]]:
    """Tests by path below data/, samples first. Raises ValueError if they are too large or not UTF-8."""
    entries = [
        (kind, entry) for folder, kind in TEST_FOLDERS.items() for entry in package.files_below(folder)
    ]
    faults = [entry.fault for _, entry in entries if entry.fault]
    if faults:
        raise SourceRefused(faults[0])
    used = [entry for _, entry in entries if is_read(entry.name)]
    if (size := sum(entry.size_bytes for entry in used)) > MAX_TESTS_BYTES:
        raise ValueError(f"tests of {size} bytes; limit {MAX_TESTS_BYTES}")
    stems = [
        (kind, entry.name.removesuffix(".in"))
        for kind, entry in entries
        if entry.name.endswith(".in") and ".files/" not in entry.name
    ]
    return [
        {
            "test_id": stem.removeprefix("data/"),
            "kind": kind,
            "mode": "stdin",
            "input": package.read_text(f"{stem}.in", MAX_TESTS_BYTES),
            "expected_output": package.read_text(f"{stem}.ans", MAX_TESTS_BYTES)
            if f"{stem}.ans" in package.entries
            else None,
            **surroundings(package, groups, stem),
        }
        for kind, stem in stems
    ]


def is_read(name: str) -> bool:
    return name.endswith((".in", ".ans")) or ".files/" in name


def surroundings(package: PackageFiles, groups: Groups, stem: str) -> dict[str, Any]:
    """`arguments` and `files` of a test, if it has any. Raises ValueError for unusable ones."""
    test_id = stem.removeprefix("data/")
    arguments = inherited(groups, test_id, ("args",))
    if f"{stem}.args" in package.entries:
        arguments = shlex.split(package.read_text(f"{stem}.args", MAX_ARGUMENTS_BYTES))
    folder = f"{stem}.files"
    files = [
        (entry.name.removeprefix(f"{folder}/"), package.read_text(entry.name, MAX_TESTS_BYTES))
        for entry in package.files_below(folder)
    ]
    Test(test_id, "stdin", "", arguments=tuple(arguments), files=tuple(files))
    columns: dict[str, Any] = {"arguments": arguments} if arguments else {}
    return columns | ({"files": json.dumps(files, ensure_ascii=False)} if files else {})


def inherited(groups: Groups, test_id: str, keys: tuple[str, ...]) -> list[str]:
    """Words for a test: its own or, if it has none, those of the nearest group around it."""
    words: list[str] = []
    for name in files_for(test_id):
        for key in keys:
            if key in groups.get(name, {}):
                words = words_of(groups[name][key], f"{key} in {name}")
    return words


def files_for(test_id: str) -> list[str]:
    """The YAML files that may speak of a test, the farthest first."""
    folders = ["data", *(f"data/{one}" for one in reversed(PurePosixPath(test_id).parents) if one.name)]
    return [f"{folder}/{name}" for folder in folders for name in GROUP_FILES] + [f"data/{test_id}.yaml"]


tests_of.__test__ = False  # type: ignore[attr-defined]  # pytest collects every imported `test_*`
