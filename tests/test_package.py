"""The package as others get it: its public names, its documents, the wheel in an environment of its own."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_public_names_are_there():
    code = "import spo, json; print(json.dumps({n: getattr(spo, n) is not None for n in spo.__all__}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    names = json.loads(done.stdout)
    wanted = {"Store", "ingest", "label", "Pool", "publish", "connect", "Stream", "train", "evaluate"}
    assert wanted < names.keys() and all(names.values())


def test_a_program_without_training_imports_no_torch():
    code = "import spo, sys; spo.Store, spo.ingest, spo.connect; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_an_unknown_name_is_one_line_with_those_there_are():
    import spo

    with pytest.raises(AttributeError, match=r"module 'spo' has no attribute 'stoer'; it has: .*Store"):
        spo.stoer  # noqa: B018


def test_a_foreign_package_that_hides_one_of_ours_is_named(tmp_path):
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows" / "__init__.py").write_text("raise RuntimeError('somebody else')\n")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from spo.command import main; main()"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert f"the package 'flows' is found at {tmp_path / 'flows'}, not at" in done.stderr
    assert "somebody else" not in done.stderr


def test_contributing_names_files_that_are_there():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    named = [name for name in re.findall(r"`([\w./]+)`", text) if "/" in name and "NAME" not in name]
    assert len(named) >= 12
    for name in named:
        assert (ROOT / name).exists(), name


def test_licence_and_version_say_the_same_everywhere():
    assert PROJECT["license"] == "Apache-2.0" and "Apache License" in (ROOT / "LICENSE").read_text()
    citation = (ROOT / "CITATION.cff").read_text()
    assert f"version: {PROJECT['version']}" in citation and "license: Apache-2.0" in citation
    assert f"## {PROJECT['version']}" in (ROOT / "CHANGELOG.md").read_text()


def built(kind: str, source: Path, target: Path) -> Path:
    """The wheel or sdist of a source tree."""
    words = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(target)]
    done = subprocess.run(words, cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (package,) = target.iterdir()
    return package


@pytest.fixture(scope="module")
def sdist(tmp_path_factory) -> Path:
    return built("sdist", ROOT, tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def wheel(sdist, tmp_path_factory) -> Path:
    """Built from the sdist, as pip does that is given one."""
    source = tmp_path_factory.mktemp("source")
    with tarfile.open(sdist) as archive:
        archive.extractall(source, filter="data")
    (tree,) = source.iterdir()
    return built("wheel", tree, tmp_path_factory.mktemp("wheel"))


def test_the_sdist_is_enough_to_build_the_wheel_of_the_tree(sdist, wheel, tmp_path):
    direct = built("wheel", ROOT, tmp_path)

    def members(path):
        return {one.filename: one.CRC for one in zipfile.ZipFile(path).infolist()}

    assert members(wheel) == members(direct)
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"LICENSE", "CHANGELOG.md", "run", "requirements.lock", "tests/test_package.py"} <= names
    assert not any(name.startswith((".ci", ".git/", "data/store", ".venv")) for name in names)


def test_the_wheel_has_data_licence_and_types(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for name in ("spo/data/starter/problems.jsonl.gz", "spo/data/corpora/humans.sql", "spo/py.typed"):
        assert name in names, name
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert any(name.startswith("sandbox/") and name.endswith(".c") for name in names)
    assert not any(name.startswith(("tests/", "data/", ".ci")) for name in names)


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """An environment with the wheel alone, and what it depends on from this one. Returns its `bin`."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    packages = next((folder / "lib").glob("python3.*")) / "site-packages"
    zipfile.ZipFile(wheel).extractall(packages)
    # Ours are editable there, by a .pth file, which `addsitedir` would read and a plain path is not.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    script = folder / "bin" / "spo"
    script.write_text(f"#!{folder / 'bin' / 'python'}\nfrom spo.command import main\nmain()\n")
    script.chmod(0o755)
    return folder / "bin"


def run_in(folder: Path, program: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a program of the environment, which sees no variable of this one."""
    return subprocess.run(
        [folder / program, *words],
        cwd=folder.parent,
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin"},
    )


def commands_of(folder: Path, *before: str) -> list[str]:
    shown = said(folder, *before, "--help")
    return re.findall(r"^│ ([a-z][a-z-]+)  ", shown, re.MULTILINE)


def said(folder: Path, *words: str, code: int = 0) -> str:
    done = run_in(folder, "spo", *words)
    assert done.returncode == code, (words, done.stdout, done.stderr)
    return done.stdout


def test_the_installed_package_is_used_and_not_the_tree(installed):
    code = "import spo, pipeline, flows; print(spo.__file__, pipeline.__file__, spo.__version__)"
    done = run_in(installed, "python", "-c", code)
    assert done.stdout.count(str(installed.parent)) == 2 and done.stdout.split()[-1] == PROJECT["version"]
    assert said(installed, "--version") == f"spo {PROJECT['version']}\n"


def test_the_installed_command_goes_from_problems_to_sql(installed):
    starter = next(installed.parent.glob("lib/*/site-packages/spo/data/starter"))
    said(installed, "ingest", str(starter), "--limit", "3")
    said(installed, "label")
    said(installed, "deduplicate")
    rows = said(installed, "sql", "select count(*) as n from judged where verdict = 'accepted'", "-o", "json")
    assert json.loads(rows)[0]["n"] > 0


@pytest.mark.slow
def test_every_installed_command_has_help(installed):
    names = commands_of(installed)
    assert {"demo", "ingest", "judge", "train", "sql"} <= set(names)
    for name in names:
        assert f"spo {name}" in said(installed, name, "--help")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_installed_demo_runs(installed):
    settings = installed.parent / "small.json"
    few = {"samples_per_problem": 2, "max_new_tokens": 16}
    small = {"starter_limit": 40, "train_problems": 8, "earlier_problems": 4, "test_problems": 4}
    training = {"training": {"steps": 4, "batch_tokens": 2048}, "share": 0.5, "programs": 2, "seed": 0}
    settings.write_text(
        json.dumps(
            small
            | {"warm_start": training | {"model": {"layers": 1, "width": 32}}, "earlier_steps": 2}
            | {"reference_sampling": few, "earlier_sampling": few, "evaluation": few}
            | {"training": {"steps": 4}, "online": {"from_step": 2, "every": 2, "problems": 2}}
        )
    )
    line = said(installed, "demo", "--settings", str(settings), "--seeds", "1", "--json").splitlines()[-1]
    assert json.loads(line)["read"] > 0
