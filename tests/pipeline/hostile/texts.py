"""Lines and documents: JSON, plain and compressed, and the data sets written in it."""

import base64
import gzip
import json
import pickle
import socket
import zlib

import pyarrow as pa

from hostile.attack import PROBLEM, Attack, fifo, good_lines, hole, link, secret_file, write

OUT = "a link that leads out of the source"
ATTACKS: list[Attack] = []


def attack(name, *, good=0, reason=None, adapter="plain", **more):
    """A decorator: the function fills the folder."""

    def add(make):
        ATTACKS.append(Attack(f"{adapter}: {name}", adapter, make, good, reason, **more))
        return make

    return add


def beside(name, reason, make, file="x.jsonl", good=1, **more):
    """Something at `file`, beside a file with a good problem; `make` is given its path."""

    @attack(name, good=good, reason=reason, **more)
    def fill(folder):
        good_lines(folder)
        secret_file(folder)
        make(folder / "source" / file)


def zeros(mebibytes, content=b"\0"):
    """A gzip file that unpacks to so much of one content."""

    def make(path):
        block = content * ((1 << 20) // len(content))
        with gzip.open(path, "wb", 6) as file:
            for _ in range(mebibytes):
                file.write(block)

    return make


def zstd_zeros(path):
    with pa.CompressedOutputStream(str(path), "zstd") as file:
        for _ in range(600):
            file.write(b"{}\n" * (1 << 18))


def zstd_window(path):
    """A frame that asks for a window of 2 GiB: magic, descriptor, window 2^31, one raw block."""
    write(path, b"\x28\xb5\x2f\xfd" + b"\x00" + bytes([(31 - 10) << 3]) + b"\x11\x00\x00{}")


def socket_file(path):
    import os

    where = os.getcwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(path.name)
    finally:
        os.chdir(where)


def of_lines(*lines):
    return lambda path: write(path, b"\n".join(lines))


beside("a FIFO", "a FIFO instead of a file", fifo)
beside("a socket", "a socket instead of a file", socket_file)
beside("a folder named like a file", "a folder named like a file", lambda path: write(path / "inside", "x"))
beside("a link out of the source", OUT, lambda path: link(path, "../outside/secret.txt"))
beside("a link to /dev/zero", OUT, lambda path: link(path, "/dev/zero"))
beside("a link to /dev/stdin", OUT, lambda path: link(path, "/proc/self/fd/0"))
beside("a link to nothing", "a link to a missing file", lambda path: link(path, "/no-such-folder-5d1c/x"))
beside("a link to itself", "a circle of links", lambda path: link(path, "x.jsonl"))
beside("a link to a file inside", None, lambda path: link(path, "problems.jsonl"), good=2)
beside("a link to /etc", None, lambda path: link(path, "/etc"), file="etc")
beside("a file of 4 TiB that is a hole", "with almost no data", lambda path: hole(path, 4 << 40))
beside("a file of macOS", None, lambda path: write(path, b"\0\5\x16\7"), file="._x.jsonl")
beside("a file in a hidden folder", None, lambda path: write(path, "no JSON"), file=".git/x.jsonl")
beside("a file that may not be read", "not readable", lambda path: write(path, "{}").chmod(0), as_nobody=True)
beside("300 MiB of zeros in gzip", "row of", zeros(300), file="x.jsonl.gz")
beside("2 GiB of zeros in gzip", "expands to more than", zeros(2048), file="x.jsonl.gz")
beside("lines in gzip that become 50 million", "more than", zeros(144, b"{}\n"), file="x.jsonl.gz")
beside("blank lines in gzip", "more than", zeros(144, b"\n"), file="x.jsonl.gz")
beside("lines in zstd that become 150 million", "more than", zstd_zeros, file="x.jsonl.zst")
beside("a zstd window of 2 GiB", "truncated or broken", zstd_window, file="x.jsonl.zst")
beside("gzip that is no gzip", "truncated or broken", of_lines(b"no gzip"), file="x.jsonl.gz")
beside("UTF-16", "the file is UTF-16", lambda path: write(path, "{}".encode("utf-16")))
beside("a name over two lines", "not JSON", of_lines(b"x"), file="x\n\x1b[31m.jsonl")
for depth in (250, 1_200, 100_000):
    text = b'{"problem_id": "a/deep", "tests": ' + b"[" * depth + b"]" * depth + b', "statement": "s"}'
    beside(f"JSON nested {depth} times", "nested too deeply", of_lines(text))
beside("an integer of 100,000 digits", "not JSON", of_lines(b'{"statement": ' + b"9" * 100_000 + b"}"))
beside("half a surrogate", "unpaired surrogate", of_lines(b'{"statement": "\\ud800"}'))
beside(
    "100,000 keys",
    "neither a problem",
    of_lines(json.dumps(dict.fromkeys(map(str, range(100_000)))).encode()),
)


@attack(
    "a file of gzip as the source that is a link to a device", error=None, reason="a device instead of a file"
)
def device_source(folder):
    link(folder / "x.jsonl", "/dev/zero")
    return folder / "x.jsonl"


@attack("a cache of the Hub, whose files are links to its blobs", good=1, reason=OUT)
def hub_cache(folder):
    repository = folder / "datasets--a--b"
    write(repository / "blobs" / "0f", [PROBLEM])
    link(repository / "snapshots" / "1" / "data" / "x.jsonl", "../../../blobs/0f")
    link(repository / "snapshots" / "1" / "data" / "y.jsonl", secret_file(folder))
    return repository / "snapshots" / "1"


@attack("a blob of the Hub's cache that is a link out", reason=OUT)
def hub_blob(folder):
    repository = folder / "datasets--a--b"
    link(repository / "blobs" / "0f", secret_file(folder))
    link(repository / "snapshots" / "1" / "x.jsonl", "../../blobs/0f")
    return repository / "snapshots" / "1"


@attack("problems that are a FIFO", adapter="bundle", reason="a FIFO instead of a file")
def bundle_fifo(folder):
    for name in ("problems", "human_solutions", "model_samples"):
        fifo(folder / "source" / f"{name}.jsonl.gz")


def document(name, adapter, content, reason, good=0, file="x.json", **more):
    """One document in JSON."""

    @attack(name, adapter=adapter, reason=reason, good=good, **more)
    def make(folder):
        write(folder / "source" / file, content() if callable(content) else content)


APPS = {"id": 1, "question": "Q", "solutions": "[]", "input_output": "", "url": "u", "difficulty": "d"}
document("a string of 40 MiB of escapes", "apps", lambda: b'[{"a": "' + b"\\n" * (20 << 20), "truncated")
document("brackets that do not close", "apps", "[" * 200_000, "truncated")
document("brackets that were not open", "apps", "]" * 200_000, "has no opening bracket")
document(
    "300,000 values of nothing in gzip",
    "apps",
    lambda: gzip.compress(b"[" + b"{}," * (64 << 20)),
    "more than",
    file="x.json.gz",
    cpu_s=10,
)
nested = "[" * 900 + "]" * 900
document("nested JSON in a text", "apps", [APPS | {"solutions": nested}], "nested too deeply", file="x.jsonl")
document(
    "solutions that are no texts",
    "apps",
    [APPS | {"solutions": "[[[1]]]"}],
    "not the documented shape",
    file="x.jsonl",
)
document(
    "values deeper than 200 in a list",
    "evalplus",
    '{"eval": {"a": [' + "[" * 300 + "]" * 300 + "]}}",
    "nested",
)
TACO = {"question": "Q", "solutions": "[]", "input_output": "", "source": "s", "url": "u"}
for name, tags in (
    ("brackets", "[" * 9_000),
    ("signs", "-" * 9_000 + "1"),
    ("length", "[" + "1," * 9_000 + "]"),
):
    document(
        f"tags that are an expression of {name}", "taco", [TACO | {"tags": tags}], "tags", file="x.jsonl"
    )
CODEFORCES = {"id": "1/A", "title": "t", "description": "d"}
cases = [{"input": str(number), "output": "x" * 30} for number in range(20_000)]
document(
    "20,000 examples and 20,000 tests",
    "codeforces",
    lambda: [
        CODEFORCES | {"examples": cases, "official_tests": [one | {"output": "y" * 30} for one in cases]}
    ],
    None,
    1,
    "x.jsonl",
)
LEETCODE = {"task_id": "a", "problem_description": "d", "entry_point": "f", "prompt": "", "starter_code": ""}
for name, code in (
    ("brackets", "assert " + "(" * 150 + "1" + ")" * 150),
    ("signs", "assert " + "-" * 5_000 + "1"),
):
    check = f"def check(candidate):\n    {code}\n"
    document(f"a test of nested {name}", "leetcode", [LEETCODE | {"test": check}], None, 1, "x.jsonl")
LIVE = {
    "question_title": "t",
    "question_content": "c",
    "platform": "p",
    "question_id": "1",
    "public_test_cases": "[]",
}


def packed(content):
    return base64.b64encode(zlib.compress(content, 9)).decode()


class Evil:
    def __reduce__(self):
        return print, ("a pickle ran",)


for name, tests, reason in (
    ("that unpack to 190 MiB", lambda: packed(b"\0" * (190 << 20)), "private_test_cases of more than"),
    ("that call a function", lambda: packed(pickle.dumps(Evil())), "only strings are allowed"),
    ("that are not packed", lambda: "AAAA", "not the documented shape"),
    ("that are nested", lambda: packed(pickle.dumps(nested)), "nested too deeply"),
):
    document(
        f"tests {name}",
        "livecodebench",
        lambda tests=tests: [LIVE | {"private_test_cases": tests()}],
        reason,
        file="x.jsonl",
    )
BLANKS = "```" + " " * 6_000 + "x`\n"
document(
    "blanks after a fence",
    "verl",
    [{"input": "i", "output": BLANKS, "score": 1, "step": 1}],
    None,
    1,
    "1.jsonl",
)
nodes = [{"parent": 0, "message": {"role": "assistant", "content": "x"}, "sampled": True}] * 2
document(
    "nodes that are their own parents",
    "prime_rl",
    [{"id": "a", "nodes": nodes, "rewards": {}, "task": {"data": {}}}],
    None,
    1,
    "x.jsonl",
)


@attack("requests that are a FIFO", adapter="openai_batch", reason="a FIFO instead of a file")
def batch_fifo(folder):
    write(folder / "source" / "out.jsonl", [{"custom_id": "a/1", "response": None, "error": {"code": "x"}}])
    fifo(folder / "source" / "requests.jsonl")
