"""From source text to a folder of files that a jail shows as the program. Compilers run in jails, too."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from sandbox.bounds import shown
from sandbox.building.compilation import (
    COMPILE_LIMITS,
    CompileError,
    CompilerLimit,
    compile_in_jail,
)
from sandbox.building.shared import SharedJails
from sandbox.building.syntax import SyntaxJails
from sandbox.building.tools import home_of
from sandbox.contracts import Limits
from sandbox.isolation import Isolation, ProgramCopies, is_open
from sandbox.languages import Language, toolchain

HEADER = "bits/stdc++.h"
HEADER_AGAIN = b"#include_next <bits/stdc++.h>\n"  # for other headers that include it, such as bits/extc++.h
# Only where nothing but comments comes before it: macros defined there may change what the header says.
HEADER_FIRST = re.compile(rb"(?:\s|//[^\n]*\n|/\*.*?\*/)*#[ \t]*include[ \t]*<bits/stdc\+\+\.h>", re.DOTALL)


STATIC = "-static"
FEWER_NAMES = "fewer_names.h"
NOT_LINKED = re.compile(r"cannot find -l|attempted static link|unable to find library -l")


@dataclass(frozen=True)
class Built:
    """A program ready to run: `folder` is shown at /program, `main` is its main class, `standard` the one by
    which it was compiled ("" where its language has one alone), a `static` one needs no shared library, and
    `compile_s` is the wall time that the compiler took.
    """

    folder: str
    main: str
    standard: str = ""
    static: bool = False
    compile_s: float = 0.0


class About(NamedTuple):
    """How a program was compiled."""

    standard: str = ""
    static: bool = False
    compile_s: float = 0.0


class Builder:
    """Builds programs. What it has built stays in `cache`, by hash of source, command line and tool chain."""

    def __init__(self, isolation: Isolation, cache: Path, shared_jails: bool = False) -> None:
        self.isolation, self.cache = isolation, cache
        cache.mkdir(parents=True, exist_ok=True)
        self.syntax = SyntaxJails(isolation)
        self.shared = SharedJails(isolation) if shared_jails else None
        self._copies: ProgramCopies | None = None

    def close(self) -> None:
        """End the syntax jails and the shared one, and remove copies of programs. All come again when they
        are needed.
        """
        self.syntax.close()
        if self.shared:
            self.shared.close()
        if self._copies:
            self._copies.close()
            self._copies = None

    def build(
        self,
        language: Language,
        source: str,
        files: Mapping[str, str | bytes] = MappingProxyType({}),
        limits: Limits = COMPILE_LIMITS,
    ) -> Built:
        """Build a program with `files`, {path: contents}, beside its source. Raises CompileError."""
        source, main = source.removeprefix("\ufeff"), "Main"
        if language.adapt_source:
            source, main = language.adapt_source(source)
        beside = {name: encoded(text) for name, text in sorted(files.items())}
        row = [language.name, language.compile, language.standards, toolchain(language), main]
        parts = [
            json.dumps(row).encode(),
            encoded(source),
            *(name.encode() + b"=" + text for name, text in beside.items()),
        ]
        # Each part is hashed by itself: no source can pass for another one with a file beside it.
        key = hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()
        target = self.cache / key[:2] / key
        if not target.is_dir():
            target.parent.mkdir(exist_ok=True)
            beside[language.source_name.format(main=main)] = encoded(source)
            made, about = (
                self._compile(language, beside, main, limits) if language.compile else (beside, About())
            )
            _write(target.with_suffix(".json"), json.dumps(about))
            _store(made, target)
        about = About(*json.loads(target.with_suffix(".json").read_text()))
        if language.find_main:
            main = language.find_main(target, main, source)
        return Built(str(self._reachable(target)), main, *about)

    def _reachable(self, folder: Path) -> Path:
        """The folder of a program, or a copy that its user can reach: Landlock cannot mount the folder."""
        if self.isolation.kind == "bwrap" or not self.isolation.uid or is_open(folder):
            return folder
        self._copies = self._copies or ProgramCopies()
        return self._copies.copy(folder)

    def _compile(
        self, language: Language, files: Mapping[str, bytes], main: str, limits: Limits
    ) -> tuple[dict[str, bytes], About]:
        """What the compiler makes of the files, by the first standard that takes them. Raises CompileError,
        with the message for the first standard.
        """
        errors: list[CompileError] = []
        for standard in language.standards or ("",):
            try:
                return self._link(language, files, main, standard, limits)
            except CompilerLimit as error:
                errors.append(error)
                break
            except CompileError as error:
                errors.append(error)
        raise errors[0]

    def _link(
        self, language: Language, files: Mapping[str, bytes], main: str, standard: str, limits: Limits
    ) -> tuple[dict[str, bytes], About]:
        """Statically where the language's row says so and the machine has the libraries for it."""
        name = language.source_name.format(main=main)
        words = compiler_words(language, name, main, standard)
        if language.compiles_all:
            # Other sources beside the first one are a part of the program.
            at = words.index(name) + 1
            words[at:at] = sorted(one for one in files if one != name and one.endswith(language.suffixes))
        header, own_words = None, words
        if self._precompiles(language) and HEADER_FIRST.match(files[name]):
            header = str(self._header(language, standard))
            words = [f"-I{self.isolation.path_inside(header)}", *words]
        static = language.static
        try:
            made, compile_s = compile_in_jail(self.isolation, language, files, words, header, limits)
        except CompileError as error:
            if STATIC in words and NOT_LINKED.search(str(error)):
                static, words = False, [word for word in words if word != STATIC]
            elif language.name_clash and re.search(language.name_clash, str(error)):
                files = {**files, FEWER_NAMES: language.fewer_names.encode()}
                header, words = None, ["-include", FEWER_NAMES, *own_words]
            else:
                raise
            made, compile_s = compile_in_jail(self.isolation, language, files, words, header, limits)
        if "{program}/main" in language.run and "main" not in made:
            raise CompileError("the compiler left no program")
        return made, About(standard, static, round(compile_s, 3))

    def _precompiles(self, language: Language) -> bool:
        """Whether the header can be shown to the compiler: only bubblewrap can mount its folder."""
        return language.precompiled_header and self.isolation.kind == "bwrap"

    def _header(self, language: Language, standard: str) -> Path:
        """The folder with the large header of g++, compiled beforehand."""
        others = (STATIC, "-pipe", "-o", "main", "{source}")
        flags = [word for word in compiler_words(language, "{source}", "", standard) if word not in others]
        recipe = [HEADER, HEADER_AGAIN.decode(), flags, toolchain(language)]
        folder = self.cache / f"header-{hashlib.sha256(json.dumps(recipe).encode()).hexdigest()}"
        if not folder.is_dir():
            flags[flags.index("-x") + 1] = "c++-header"
            files = {"main.h": f"#include <{HEADER}>".encode()}
            built, _ = compile_in_jail(self.isolation, language, files, [*flags, "-o", "compiled", "main.h"])
            _store({f"{HEADER}.gch": built["compiled"], HEADER: HEADER_AGAIN}, folder)
        return folder


def compiler_words(language: Language, source: str, main: str, standard: str) -> list[str]:
    """The compiler's command line, without its name."""
    values = {"source": source, "main": main, "standard": standard, "home": home_of(language)}
    return [word.format(**values) for word in language.compile[1:]]


def encoded(source: str | bytes) -> bytes:
    """UTF-8; surrogates that stand for no character stay what they are, and so do bytes."""
    return source.encode("utf-8", "surrogatepass") if isinstance(source, str) else source


def _write(path: Path, text: str) -> None:
    """Write a file that others may read meanwhile."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
        file.write(text)
    os.replace(file.name, path)


def _store(files: dict[str, bytes], target: Path) -> None:
    """Write to a temporary folder and rename it: readers see all or nothing, the first builder wins."""
    folder = Path(tempfile.mkdtemp(dir=target.parent))
    for name, contents in files.items():
        path = folder / name
        if not path.resolve().is_relative_to(folder.resolve()):
            raise ValueError(f"{shown(name)} does not name a file of the program")
        if path.parent != folder:
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        path.write_bytes(contents)
        path.chmod(0o755)
    folder.chmod(0o755)
    try:
        folder.rename(target)
    except OSError:
        shutil.rmtree(folder, ignore_errors=True)
        if not target.is_dir():
            raise
