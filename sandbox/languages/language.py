"""What one row of the language table holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

COMPILER_FOLDERS = ("/usr/bin", "/usr/include", "/usr/libexec", "/etc/alternatives")


@dataclass(frozen=True)
class Language:
    """One language: what others call it, how its programs are recognised, and how they are compiled and run.

    Names, suffixes and fences are in lower case, except suffixes whose case matters. A language without
    `source_name` is stored but cannot be judged.

    In `compile` and `run`: {source} is the source file, {program} the folder of built files, {memory_mb} the
    memory limit, {stack_kb} the stack limit, {main} the main class, {standard} one of `standards`,
    {home} where the tool chain is installed. Of Java's heap, {heap_mb} is all of it and {young_mb} the part
    for new objects. A first word without a slash is looked up on PATH.
    """

    name: str
    """The name in the store's tables and in submissions."""
    aliases: tuple[str, ...] = ()
    """Names at Codeforces, AtCoder, CodeChef, Kattis, DMOJ and in data sets, without trailing versions."""
    suffixes: tuple[str, ...] = ()
    fences: tuple[str, ...] = ()
    """Words behind a Markdown fence, beside name and aliases. Prompts write the first one."""
    lexer: str = "plain"
    """The lexer of `pipeline.dedup.lexers` that splits its programs into tokens."""
    family: str = ""
    """Languages of one family are often confused: C in a fence marked cpp compiles."""
    variant_of: str = ""
    """The language whose name the store keeps, for a row that differs only in how it is compiled."""
    hello: str = ""
    """A program that reads `world` and prints `Hello, world!`: it proves that the tool chain works."""

    source_name: str = ""
    run: tuple[str, ...] = ()
    compile: tuple[str, ...] = ()
    version: tuple[str, ...] = ()
    """The command whose first line of output names the tool chain."""
    folders: tuple[str, ...] = ()
    """Read-only system folders needed at run time, beside the shared libraries."""
    compile_folders: tuple[str, ...] = COMPILER_FOLDERS
    memory_overhead_mb: int = 0
    """Memory of the run time itself, on top of the program's limit."""
    extra_processes: int = 0
    """Threads of the run time itself."""
    time_factor: float = 1.0
    tools: tuple[str, ...] = ()
    """Other programs of the tool chain that compiling or running needs. {home} is where the first one is."""
    needs: tuple[str, ...] = ()
    """Other files that the tool chain consists of."""
    module: tuple[str, ...] = ()
    """A module of the named Python environment, with its arguments, that runs programs instead of `run`."""
    standards: tuple[str, ...] = ()
    """Versions of the language to compile by: the first one that takes the program."""
    name_clash: str = ""
    """A regular expression for the compiler's message that a name of the program is one of the system's."""
    fewer_names: str = ""
    """The header with which the compiler then tries again, included first: it leaves such names out."""
    compiles_all: bool = False
    """Sources of the language beside the first one are compiled with it."""
    keeps_folders: bool = False
    """The compiler leaves what it makes in folders, too."""
    memory_errors: str = ""
    """A regular expression for what a run time without memory writes to standard error."""
    environment: tuple[tuple[str, str], ...] = ()
    static: bool = False
    """The built program needs no shared library."""
    precompiled_header: bool = False
    """g++'s <bits/stdc++.h> is compiled beforehand."""
    in_supervisor: bool = False
    """Programs run in forks of the supervisor's own interpreter; only these languages have function tests."""
    in_landlock: bool = False
    """Programs run without /proc, child processes and a writable folder, as in a Landlock jail."""
    leaves_archive: bool = False
    """Compiling leaves one archive of the built files: see `building/scripts.py`."""
    adapt_source: Callable[[str], tuple[str, str]] | None = None
    """source -> (adapted source, name of its file without the suffix)"""
    find_main: Callable[[Path, str, str], str] | None = None
    """(folder of built files, name of the source file, source) -> main class"""

    @property
    def is_judged(self) -> bool:
        """Whether the table says how to run its programs."""
        return bool(self.source_name)

    @property
    def stored_name(self) -> str:
        """The name in the store's tables."""
        return self.variant_of or self.name

    @property
    def fence(self) -> str:
        """The word that prompts and completions write behind a fence."""
        return self.fences[0] if self.fences else self.name
