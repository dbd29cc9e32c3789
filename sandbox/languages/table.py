"""The languages: one entry each. What cannot be found on this machine is "language unavailable", never an error."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

COMPILER_FOLDERS = ("/usr/bin", "/usr/include", "/usr/libexec", "/etc/alternatives")


@dataclass(frozen=True)
class Language:
    """How to build and run one language.

    In `compile` and `run`: {source} is the source file, {program} the folder of built files, {memory_mb} the limit,
    {main} the main class. A first word without a slash is looked up on PATH.
    """

    name: str
    source_name: str
    run: tuple[str, ...]
    compile: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    version: tuple[str, ...] = ()
    folders: tuple[
        str, ...
    ] = ()  # read-only system folders it needs at run time, beside the shared libraries
    compile_folders: tuple[str, ...] = COMPILER_FOLDERS
    memory_overhead_mb: int = 0  # what the run time itself takes, on top of the program's limit
    extra_processes: int = 0  # threads of the run time
    time_factor: float = 1.0
    environment: tuple[tuple[str, str], ...] = ()
    static: bool = False  # what is built needs no shared library
    header_first: bool = False  # g++'s <bits/stdc++.h> is compiled beforehand
    adapt: Callable[[str], tuple[str, str]] | None = None  # source -> (source, main class)


def adapt_java(source: str) -> tuple[str, str]:
    """Java wants the file called after the public class; the package would want folders."""
    source = re.sub(r"^\s*package\s+[\w.]+\s*;", "", source, count=1, flags=re.M)
    public = re.search(r"\bpublic\s+(?:final\s+|abstract\s+|strictfp\s+)*class\s+(\w+)", source)
    if public:
        return source, public.group(1)
    before_main = (
        source[: m.start()] if (m := re.search(r"\bstatic\s+(?:\w+\s+)*void\s+main\b", source)) else source
    )
    classes = re.findall(r"^\s*(?:\w+\s+)*class\s+(\w+)", before_main, flags=re.M)
    return source, classes[-1] if classes else "Main"


def _cpp(name: str, standard: str, *aliases: str) -> Language:
    compile_line = ("g++", "-x", "c++", f"-std={standard}", "-O2", "-static", "-pipe", "-w", "-DONLINE_JUDGE")
    return Language(
        name, "main.cpp", ("{program}/main",), (*compile_line, "-o", "main", "{source}"), aliases, ("g++", "--version"),
        static=True, header_first=True,
    )  # fmt: skip


LANGUAGES = (
    Language("python3", "main.py", (), aliases=("python", "py", "py3", "pypy3")),
    _cpp("cpp", "gnu++20", "c++", "cpp20", "c++20", "cpp23"),
    _cpp("cpp17", "gnu++17", "c++17", "cpp14", "cpp11"),
    Language(
        "c", "main.c", ("{program}/main",),
        ("gcc", "-std=gnu17", "-O2", "-static", "-pipe", "-w", "-DONLINE_JUDGE", "-o", "main", "{source}", "-lm"),
        version=("gcc", "--version"), static=True,
    ),
    Language(
        "java", "{main}.java",
        ("java", "-cp", "{program}", "-Xss64m", "-Xms16m", "-Xmx{memory_mb}m", "-XX:+UseSerialGC", "-XX:-UsePerfData",
         "-XX:TieredStopAtLevel=4", "-XX:CICompilerCount=2", "-Xshare:auto", "-DONLINE_JUDGE=true", "{main}"),
        ("javac", "-encoding", "UTF-8", "-nowarn", "-proc:none", "-J-Xss64m", "-J-Xmx768m", "-J-XX:+UseSerialGC",
         "-J-XX:-UsePerfData", "-d", ".", "{source}"),
        version=("javac", "-version"), folders=("/etc/java*",), memory_overhead_mb=256, extra_processes=32,
        time_factor=1.5, adapt=adapt_java,
    ),
    Language(
        "javascript", "main.js", ("node", "--stack-size={stack_kb}", "--max-old-space-size={memory_mb}", "{source}"),
        aliases=("js", "node", "nodejs"), version=("node", "--version"), memory_overhead_mb=256, extra_processes=32,
        time_factor=1.5,
    ),
    Language(
        "go", "main.go", ("{program}/main",), ("go", "build", "-o", "main", "{source}"), ("golang",),
        ("go", "version"), memory_overhead_mb=64, extra_processes=32,
        environment=(("GOCACHE", "/tmp/go-cache"), ("GO111MODULE", "off"), ("GOPATH", "/tmp/go")),
    ),
    Language(
        "rust", "main.rs", ("{program}/main",),
        ("rustc", "--edition", "2021", "-C", "opt-level=3", "-A", "warnings", "-o", "main", "{source}"),
        ("rs",), ("rustc", "--version"),
    ),
)  # fmt: skip


@cache
def find_language(name: str) -> Language | None:
    """The entry for a language's name or one of its aliases, in any case."""
    name = name.strip().lower()
    return next(
        (language for language in LANGUAGES if name == language.name or name in language.aliases), None
    )


@cache
def locate(tool: str) -> str | None:
    """Absolute real path of a tool, or None. Links are followed, because the links' folder is not inside the jail."""
    path = shutil.which(tool)
    if path and os.path.basename(os.path.realpath(path)) == "rustup":
        # rustup's proxies want its whole home folder; the tool chain behind it stands on its own.
        answer = subprocess.run(
            [path, f"+{_rustup_default(path)}", "--print", "sysroot"], capture_output=True, text=True
        )
        path = os.path.join(answer.stdout.strip(), "bin", tool) if answer.returncode == 0 else None
    return os.path.realpath(path) if path else None


def _rustup_default(proxy: str) -> str:
    rustup = os.path.join(os.path.dirname(proxy), "rustup")
    answer = subprocess.run([rustup, "show", "active-toolchain"], capture_output=True, text=True)
    return answer.stdout.split()[0] if answer.stdout.split() else "stable"


@cache
def toolchain(language: Language) -> str | None:
    """Name and version of what builds and runs the language here, or None where it is absent."""
    if language.name == "python3":
        return "python " + ".".join(map(str, sys.version_info[:3]))
    tools = {words[0] for words in (language.compile, language.run) if words and "{" not in words[0]}
    if not all(locate(tool) for tool in tools):
        return None
    answer = subprocess.run(
        [locate(language.version[0]) or "", *language.version[1:]], capture_output=True, text=True
    )
    lines = (answer.stdout or answer.stderr).strip().splitlines()
    return lines[0] if answer.returncode == 0 and lines else None
