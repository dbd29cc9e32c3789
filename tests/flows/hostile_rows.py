"""Rows that a colleague with hostile intent could put into a shared store, and what each must not do: run
code, or send control sequences to a terminal. For a test and for the benchmark of trust.

`attempts(folder)` tries all of them in an empty folder and yields (attack, fault), the fault empty where the
attack was repelled. It raises where the attack itself did not take place.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from contextlib import chdir
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pexpect
import polars as pl

from pipeline.adapters import SourceError
from pipeline.ingest import Selection, ingest, retry
from pipeline.store import Store

ROOT = Path(__file__).parents[2]
SHOWN = "hostile-row"
# What a terminal would obey, or what reorders text; none is used by our own output.
SEQUENCES = {
    "window title": "\x1b]0;pwned\x07",
    "clears the screen": "\x1b[2J\x1b[3J",
    "moves the cursor": "\x1b[1;1H",
    "device control": "\x1bPpwned\x1b\\",
    "8-bit control": "\x9b1A",
    "bell": "\x07",
    "overwrites the line": "\rfine",
    "right to left": "\u202e",
}
HOSTILE = SHOWN + "".join(f"{text} " for text in SEQUENCES.values())
COMMANDS = (
    ("sql", "select title, statement from problems"),
    ("sql", "select error(statement) from problems"),
    ("sql", "select reason from quarantine"),
    ("quarantine", "list"),
    ("quarantine", "show"),
    ("quarantine", "show", "--raw"),
    ("search", "best_of", "no-such-policy"),
)
PROBLEM = {
    "problem_id": "src/a",
    "source": "src",
    "split": "train",
    "title": HOSTILE,
    "statement": HOSTILE,
    "input_mode": "stdin",
    "checker": "tokens",
    "case_sensitive": True,
    "tags": [HOSTILE],
    "test_set_hash": "none",
    "test_count": 0,
    "batch_id": "b",
    "source_file": "problems.jsonl",
    "source_line": 1,
}


def attempts(folder: Path) -> Iterator[tuple[str, str]]:
    for part in (adapters_in_quarantine, folders_of_policies, terminal_sequences):
        place = folder / part.__name__
        place.mkdir()
        yield from part(place)


def code_that_marks(mark: Path) -> str:
    return f"open({str(mark)!r}, 'w').close()\n"


def quarantine_row(store: Store, folder: Path, number: int, **changed: str) -> None:
    """A row like one of ours, of a batch of its own, with some values replaced."""
    if store.version("quarantine") < 0:
        (folder / "x.jsonl").write_text(f"no JSON {HOSTILE}")
        ingest(store, "plain", str(folder / "x.jsonl"))
    values = {"quarantine_id": f"{number:032x}", "batch_id": f"hostile-{number}", **changed}
    row = store.read("quarantine").head(1).with_columns(**{name: pl.lit(v) for name, v in values.items()})
    store.append("quarantine", row, producer="colleague", sequence=number)


def adapters_in_quarantine(folder: Path) -> Iterator[tuple[str, str]]:
    """Names of adapters that would be a file or a module to import, each tried by name and with all rows."""
    mark, own = folder / "ran", folder / "evil.py"
    own.write_text(code_that_marks(mark))
    names = [f"{own}:evil", "evil.py:evil", "./evil.py:evil", f"../{folder.name}/evil.py:evil"]
    names += ["evil:evil", "evil", str(own), f"file://{own}:evil", f"{own}:evil\n", f" {own}:evil"]
    names += ["os:system", "pipeline.adapters.plain:evil", f"plain,{own}:evil", f"{own}:evil#plain"]
    store = Store(folder / "store")
    sys.path.insert(0, str(folder))
    try:
        with chdir(folder):
            for number, name in enumerate(names):
                quarantine_row(store, folder, number, adapter=name)
                for how, selection in (("by name", Selection(adapter=name)), ("with all", Selection())):
                    fault = retried(store, selection)
                    yield f"quarantined by {name!r}, {how}", "ran a file" if mark.exists() else fault
                    mark.unlink(missing_ok=True)
                    sys.modules.pop("evil", None)
    finally:
        sys.path.remove(str(folder))


def retried(store: Store, selection: Selection) -> str:
    try:
        retry(store, selection)
    except SourceError as refusal:
        return "" if str(refusal).isprintable() else f"not one printable line: {refusal}"
    except Exception as error:
        return f"ended with {error!r}"
    return ""


class Marks:
    """Pickled, it runs a command where it is loaded."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch '{self.mark}'",)


def folders_of_policies(folder: Path) -> Iterator[tuple[str, str]]:
    """Models whose folders hold code, found through the store and loaded, with a user who says yes to all
    questions of a library.
    """
    mark = folder / "ran"
    store = Store(folder / "store")
    models = hostile_models(folder, mark)
    for number, place in enumerate(models.values()):
        row = {"policy_id": f"p{number}", "fingerprint": "f", "details": "{}", "folder": str(place)}
        row["created_at"] = datetime.now(UTC)
        store.append("policies", pl.DataFrame([row]), producer="colleague", sequence=number)
    outcomes = loaded(store.location, mark, [f"p{number}" for number in range(len(models))])
    for name, outcome in zip(models, outcomes, strict=True):
        yield f"a policy's folder with {name}", "ran code" if outcome["ran"] else ""


def hostile_models(folder: Path, mark: Path) -> dict[str, Path]:
    """{what is in it: folder}"""
    actual = {}

    def model(name: str, **files: dict | str | bytes) -> Path:
        place = actual[name] = folder / f"model{len(actual)}"
        place.mkdir()
        (place / "evil.py").write_text(code_that_marks(mark))
        for file, content in files.items():
            content = json.dumps(content) if isinstance(content, dict) else content
            path = place / file.replace("__", ".")
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return place

    code = {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}
    small = {"model_type": "llama", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    small |= {"intermediate_size": 8, "vocab_size": 8, "architectures": ["LlamaForCausalLM"]}
    tokens = '{"version": "1.0", "model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}}'
    model("code for its configuration", config__json={"model_type": "evil", "auto_map": code})
    model("code beside a known type", config__json=small | {"auto_map": code}, tokenizer__json=tokens)
    own = {"tokenizer_class": "Evil", "auto_map": {"AutoTokenizer": ["evil.Evil", None]}}
    model("code for its tokenizer", config__json=small, tokenizer_config__json=own)
    weights = io.BytesIO()
    pickle.dump(Marks(mark), weights)
    plain = {"tokenizer_class": "PreTrainedTokenizerFast"}
    parts = {"config__json": small, "tokenizer__json": tokens, "tokenizer_config__json": plain}
    model("pickled weights", **parts, pytorch_model__bin=weights.getvalue())
    template = "{{ ''.__class__.__mro__[1].__subclasses__() }}{{ cycler.__init__.__globals__.os }}"
    with_template = {"tokenizer_config__json": plain | {"chat_template": template}}
    model("a template that reaches for objects", **parts | with_template)
    remote = {"model_type": "evil", "auto_map": {name: f"{folder}--{one}" for name, one in code.items()}}
    model("code of another folder", config__json=remote)
    return actual


LOADS = """
import json, sys
from pathlib import Path
from pipeline.store import Store
from trainer.policies.publishing import find_policy
mark = Path(sys.argv[2])
for policy_id in sys.argv[3:]:
    refusal = None
    try:
        find_policy(Store(sys.argv[1]), policy_id).load().prompt_ids("a")
    except Exception as error:
        refusal = f"{type(error).__name__}: {error}"
    print(json.dumps({"ran": mark.exists(), "refusal": refusal}), flush=True)
    mark.unlink(missing_ok=True)
"""


def loaded(store: str, mark: Path, policy_ids: list[str]) -> list[dict[str, Any]]:
    """For each policy, whether loading it ran its code, and the refusal; loading it without its code is
    right, too.
    """
    surroundings = os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "TRUST_REMOTE_CODE": ""}
    done = subprocess.run(
        [sys.executable, "-c", LOADS, store, str(mark), *policy_ids],
        input="y\n" * 200, capture_output=True, text=True, timeout=240, env=surroundings,
    )  # fmt: skip
    outcomes = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"ran"')]
    if done.returncode or len(outcomes) != len(policy_ids) or "PolicyNotFound" in done.stdout:
        raise RuntimeError(f"an attack did not take place: {done.stdout[-500:]} {done.stderr[-500:]}")
    return outcomes


def terminal_sequences(folder: Path) -> Iterator[tuple[str, str]]:
    """Commands on a real terminal, showing rows whose texts hold control sequences."""
    store = Store(folder / "store")
    store.append("problems", pl.DataFrame([PROBLEM]), producer="colleague", sequence=0)
    texts = dict.fromkeys(("reason", "source_file", "adapter"), HOSTILE)
    quarantine_row(store, folder, 1, **texts)
    policy = {"policy_id": HOSTILE, "fingerprint": "f", "folder": "", "details": "{}"}
    policy["created_at"] = datetime.now(UTC)
    store.append("policies", pl.DataFrame([policy]), producer="colleague", sequence=0)
    for command in COMMANDS:
        shown = on_a_terminal([*command, "--store", store.location], folder)
        if SHOWN not in shown:
            raise RuntimeError(f"spo {' '.join(command)} does not show the row: {shown[-500:]}")
        for name, text in SEQUENCES.items():
            yield f"{name}, spo {' '.join(command)}", "reached the terminal" if text in shown else ""


def on_a_terminal(words: list[str], data: Path) -> str:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "SPO_"))
    }
    surroundings = environment | {"SPO_DATA_DIR": str(data), "TERM": "xterm", "PYTHONPATH": str(ROOT)}
    shown, _ = pexpect.run(
        f"{sys.executable} -m flows {' '.join(map(quoted, words))}",
        env=surroundings,
        timeout=180,
        withexitstatus=True,
        encoding="utf-8",
        codec_errors="replace",
        cwd=str(ROOT),
    )
    return str(shown)


def quoted(word: str) -> str:
    return "'" + word + "'"
