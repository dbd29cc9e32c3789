"""What a power cut may leave of a folder: the system calls of a process, recorded by strace, and every state
that they allow.

The rules are those of POSIX, with nothing that a certain file system adds: a flush (fsync) of a file keeps
its content, a flush of a folder keeps its names, and nothing else is kept. After the last flush each name of
a folder may have any value that it has had since, independent of the others; each file may have its old
content, its new one, or a part or zeros in place of what is new.
"""

from __future__ import annotations

import itertools
import os
import random
import re
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CALLS = (
    "open,openat,creat,write,pwrite64,writev,pwritev,ftruncate,truncate,fallocate,fsync,fdatasync,sync,syncfs,rename,renameat,"
    "renameat2,link,linkat,unlink,unlinkat,mkdir,mkdirat,rmdir,close,lseek,dup,dup2,dup3,fcntl,sendfile,copy_file_range"
)
# Calls that put bytes into a file in a way that this model does not follow.
UNKNOWN = (
    "fallocate",
    "truncate",
    "pwritev",
    "sendfile",
    "copy_file_range",
    "dup2",
    "dup3",
    "sync",
    "syncfs",
)
STRACE = ["strace", "-f", "-qq", "-xx", "-s", "100000000", "--seccomp-bpf", "-z", "-e", "signal=none"]
LINE = re.compile(r"^(?P<thread>\d+) +(?P<call>\w+)\((?P<arguments>.*)\) += (?P<result>-?\w+)")
STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')


def can_record() -> bool:
    try:
        return (
            subprocess.run(["strace", "-qq", "-o", "/dev/null", "true"], capture_output=True).returncode == 0
        )
    except OSError:
        return False


@dataclass(eq=False)
class File:
    content: bytes = b""
    flushed: bytes = b""

    def contents(self) -> list[bytes]:
        """What may be in it after a power cut."""
        if self.content == self.flushed:
            return [self.content]
        shared = zip(self.content, self.flushed, strict=False)
        common = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], shared))
        part = self.content[: (common + len(self.content)) // 2]
        zeros = self.content[:common] + bytes(len(self.content) - common)
        return list(dict.fromkeys([self.content, self.flushed, part, zeros]))


@dataclass(eq=False)
class Folder:
    names: dict[str, Any] = field(default_factory=dict)
    # Values that each name has had since the folder was flushed; the first one is flushed.
    since: dict[str, list[Any]] = field(default_factory=dict)

    def put(self, name: str, value: File | Folder | None) -> None:
        values = self.since.setdefault(name, [self.names.get(name)])
        if value not in values:
            values.append(value)
        if value is None:
            self.names.pop(name, None)
        else:
            self.names[name] = value


@dataclass
class Open:
    """An open file description."""

    node: File | Folder
    thread: str
    position: int = 0
    appends: bool = False


class Disk:
    """A folder and all below it, as the recorded calls change it. What is there at the beginning counts as
    flushed.
    """

    def __init__(self, root: Path):
        self.root = root
        self.top = Folder()
        self.open: dict[int, Open] = {}
        self._load(root, self.top)

    def _load(self, path: Path, folder: Folder) -> None:
        for entry in os.scandir(path):
            if entry.is_dir():
                folder.names[entry.name] = Folder()
                self._load(Path(entry.path), folder.names[entry.name])
            else:
                content = Path(entry.path).read_bytes()
                folder.names[entry.name] = File(content, content)

    def apply(self, thread: str, call: str, arguments: str, result: int) -> bytes:
        """Follow one call that succeeded; returns what it wrote to standard output."""
        strings = [bytes.fromhex(text.replace("\\x", "")) for text in STRING.findall(arguments)]
        numbers = [part.strip() for part in STRING.sub("", arguments).split(",")]
        first = int(numbers[0]) if numbers[0].lstrip("-").isdigit() else -1
        if call in ("write", "writev") and first == 1:
            return b"".join(strings)
        if call in UNKNOWN and self._is_ours(strings, first):
            raise NotImplementedError(f"{call}({arguments[:200]})")
        handler = getattr(self, f"_{call.removesuffix('64').removesuffix('at2').removesuffix('at')}", None)
        if handler:
            handler(thread, strings, numbers, result)
        return b""

    def _is_ours(self, strings: list[bytes], descriptor: int) -> bool:
        return descriptor in self.open or any(text.startswith(os.fsencode(self.root)) for text in strings)

    def _find(self, path: bytes, at: str) -> tuple[Folder | None, str]:
        """The folder that a path's last name is in, and that name; None for a path that is elsewhere."""
        text = os.fsdecode(path)
        folder: Any = self.top
        if os.path.isabs(text):
            if not text.startswith(f"{self.root}/"):
                return None, ""
            text = text[len(str(self.root)) + 1 :]
        elif at.isdigit() and int(at) in self.open:
            folder = self.open[int(at)].node
        else:
            return None, ""
        *above, name = [part for part in text.split("/") if part not in ("", ".")]
        for part in above:
            folder = folder.names.get(part) if isinstance(folder, Folder) else None
        return folder, name

    def _open(self, thread: str, strings: list[bytes], numbers: list[str], result: int) -> None:
        flags = next((part for part in numbers if "O_" in part), "")
        if os.fsdecode(strings[0]) == str(self.root):
            node: Any = self.top
        else:
            folder, name = self._find(strings[0], numbers[0])
            if folder is None:
                self.open.pop(result, None)
                return
            if name not in folder.names and "O_CREAT" in flags:
                folder.put(name, File())
            node = folder.names[name]
        if "O_TRUNC" in flags:
            node.content = b""
        self.open[result] = Open(node, thread, appends="O_APPEND" in flags)

    def _close(self, thread: str, strings: list[bytes], numbers: list[str], result: int) -> None:
        # Another thread's `open` may be recorded before the `close` that freed its number.
        if int(numbers[0]) in self.open and self.open[int(numbers[0])].thread == thread:
            del self.open[int(numbers[0])]

    def _dup(self, thread: str, strings: list[bytes], numbers: list[str], result: int) -> None:
        if int(numbers[0]) in self.open:
            self.open[result] = self.open[int(numbers[0])]

    def _fcntl(self, thread: str, strings: list[bytes], numbers: list[str], result: int) -> None:
        if numbers[1].startswith("F_DUPFD"):
            self._dup(thread, strings, numbers, result)

    def _lseek(self, thread: str, strings: list[bytes], numbers: list[str], result: int) -> None:
        if int(numbers[0]) in self.open:
            self.open[int(numbers[0])].position = result

    def _write(self, thread: str, strings: list[bytes], numbers: list[str], result: int) -> None:
        if (file := self.open.get(int(numbers[0]))) is None:
            return
        position = len(file.node.content) if file.appends else file.position  # type: ignore[union-attr]
        put_bytes(file.node, position, b"".join(strings)[:result])
        file.position = position + result

    _writev = _write

    def _pwrite(self, thread: str, strings: list[bytes], numbers: list[str], result: int) -> None:
        if (file := self.open.get(int(numbers[0]))) is not None:
            put_bytes(file.node, int(numbers[-1]), strings[0][:result])

    def _ftruncate(self, thread: str, strings: list[bytes], numbers: list[str], result: int) -> None:
        if (file := self.open.get(int(numbers[0]))) is not None:
            size = int(numbers[1])
            file.node.content = file.node.content[:size].ljust(size, b"\0")  # type: ignore[union-attr]

    def _fsync(self, thread: str, strings: list[bytes], numbers: list[str], result: int) -> None:
        if (file := self.open.get(int(numbers[0]))) is None:
            return
        if isinstance(file.node, File):
            file.node.flushed = file.node.content
        else:
            file.node.since.clear()

    _fdatasync = _fsync

    def _mkdir(self, thread: str, strings: list[bytes], numbers: list[str], result: int) -> None:
        folder, name = self._find(strings[0], numbers[0])
        if folder is not None:
            folder.put(name, Folder())

    def _unlink(self, thread: str, strings: list[bytes], numbers: list[str], result: int) -> None:
        folder, name = self._find(strings[0], numbers[0])
        if folder is not None:
            folder.put(name, None)

    _rmdir = _unlink

    def _link(self, thread: str, strings: list[bytes], numbers: list[str], result: int) -> None:
        folder, name = self._find(strings[0], numbers[0])
        other, new_name = self._find(strings[1], next((n for n in numbers[1:] if n.isdigit()), ""))
        if folder is not None and other is not None:
            other.put(new_name, folder.names[name])

    def _rename(self, thread: str, strings: list[bytes], numbers: list[str], result: int) -> None:
        self._link(thread, strings, numbers, result)
        self._unlink(thread, strings[:1], numbers, result)


def put_bytes(node: Any, position: int, data: bytes) -> None:
    before = node.content.ljust(position, b"\0")
    node.content = before[:position] + data + before[position + len(data) :]


Choice = tuple[Any, str | None, list[Any]]


class PowerCut:
    """The states that a cut at one moment allows: each is a value for every name and every file that is
    not flushed.
    """

    def __init__(self, disk: Disk, beside: str):
        """`beside` is a folder of spare copies: what is not flushed in such folders is chosen together, in
        a few ways.
        """
        self.top = disk.top
        self.choices: list[Choice] = []
        self.spare: list[Choice] = []
        self._collect(disk.top, False, beside, set())

    def _collect(self, node: Any, spare: bool, beside: str, seen: set[int]) -> None:
        if id(node) in seen:
            return
        seen.add(id(node))
        choices = self.spare if spare else self.choices
        if isinstance(node, File):
            if len(contents := node.contents()) > 1:
                choices.append((node, None, contents))
            return
        choices += [(node, name, values) for name, values in sorted(node.since.items()) if len(values) > 1]
        # What is flushed under other names first, so that a file with a link elsewhere is no mere copy.
        for name in sorted({*node.names, *node.since}, key=lambda name: name == beside):
            for value in {id(v): v for v in (*node.since.get(name, ()), node.names.get(name)) if v}.values():
                self._collect(value, spare or name == beside, beside, seen)

    def states(self, at_most: int, draw: random.Random) -> Iterator[dict[tuple[int, str | None], Any]]:
        """Every combination, or `at_most` of them by chance where there are more; the latest state comes
        first.
        """
        count = 1
        for _, _, values in self.choices:
            count *= len(values)
        ways = list(self._spare_ways())
        if count * len(ways) <= at_most:
            products: Iterable[tuple[Any, ...]] = itertools.product(
                *(values for _, _, values in self.choices)
            )
            combinations: Iterable[Any] = itertools.product(products, ways)
        else:
            combinations = (
                (tuple(draw.choice(values) for _, _, values in self.choices), draw.choice(ways))
                for _ in range(at_most)
            )
        for chosen, spare in combinations:
            keys = [(id(node), name) for node, name, _ in self.choices]
            yield dict(zip(keys, chosen, strict=True)) | spare

    def _spare_ways(self) -> Iterator[dict[tuple[int, str | None], Any]]:
        """Copies: all as they are now, all as they were flushed, and those that were ever there with a
        part or zeros in them.
        """
        if not self.spare:
            yield {}
            return
        for pick in (
            lambda name, values: values[-1] if name else values[0],
            lambda name, values: values[0] if name else values[1],
            lambda name, values: next((v for v in reversed(values) if v), None) if name else values[-1],
            lambda name, values: next((v for v in reversed(values) if v), None) if name else values[-2],
        ):
            yield {(id(node), name): pick(name, values) for node, name, values in self.spare}


Tree = dict[str, Any]


def tree_of(folder: Folder, chosen: dict[tuple[int, str | None], Any]) -> Tree:
    """A state by itself, whatever calls follow: names with their contents, or with the trees below them."""
    tree: Tree = {}
    for name in {*folder.names, *folder.since}:
        value = chosen.get((id(folder), name), folder.names.get(name))
        if isinstance(value, Folder):
            tree[name] = tree_of(value, chosen)
        elif value is not None:
            tree[name] = chosen.get((id(value), None), value.content)
    return tree


def write_tree(tree: Tree, target: Path) -> None:
    """Make a state on a real disk."""
    target.mkdir()
    for name, value in tree.items():
        if isinstance(value, dict):
            write_tree(value, target / name)
        else:
            (target / name).write_bytes(value)


def signature(folder: Folder, chosen: dict[tuple[int, str | None], Any]) -> Any:
    """Equal for states that look the same."""
    actual = []
    for name in sorted({*folder.names, *folder.since}):
        value = chosen.get((id(folder), name), folder.names.get(name))
        if isinstance(value, Folder):
            actual.append((name, signature(value, chosen)))
        elif value is not None:
            actual.append((name, chosen.get((id(value), None), value.content)))
    return hash(tuple(actual))


def record(command: list[str], root: Path, cwd: Path) -> list[tuple[str, str, str, int]]:
    """Run a command and return its calls: thread, name, arguments, result."""
    log = root.parent / f"{root.name}.calls"
    done = subprocess.run(
        [*STRACE, "-e", f"trace={CALLS}", "-o", str(log), *command],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=280,
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    with open(log) as lines:
        calls = [match for line in lines if (match := LINE.match(line))]
    log.unlink()
    return [(m["thread"], m["call"], m["arguments"], int(m["result"], 0)) for m in calls]
