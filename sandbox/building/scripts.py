"""Programs that bring scripts of their own, and Python programs of several files.

A problem package may hold a program as a folder with a script `build`, which leaves the executable `run`, or
with `run` alone (https://www.kattis.com/problem-package-format/). Both run in jails, as compilers and
programs do. Their rows are not in the language table: nobody writes solutions in them.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable
from dataclasses import replace

from sandbox.bounds import is_plain_path
from sandbox.isolation import ONE_THREAD, interpreter
from sandbox.languages import COMPILER_FOLDERS, Language, python_environment

ARCHIVE = "built.tar"
# Links are stored as what they lead to: outside of this jail they lead elsewhere.
PACK = f'chmod +x "$0" && "./$0" >&2 && chmod +x run && tar -chf {ARCHIVE} --exclude={ARCHIVE} .'
TOOLS = ("/bin", "/etc/java*", *COMPILER_FOLDERS)
MEMORY_OVERHEAD_MB, EXTRA_PROCESSES = 512, 64
NO_LIMIT_OF_DIGITS = {"PYTHONINTMAXSTRDIGITS": "0"}  # as the supervisor lifts it

RUN = Language(
    "run",
    hello="#!/bin/sh\necho 'Hello, world!'\n",
    source_name="run",
    run=("{program}/run",),
    version=("uname", "-sm"),
    folders=TOOLS,
    memory_overhead_mb=MEMORY_OVERHEAD_MB,
    extra_processes=EXTRA_PROCESSES,
)
BUILD = replace(
    RUN,
    name="build",
    hello="#!/bin/sh\nprintf '#!/bin/sh\\necho \"Hello, world!\"\\n' > run\n",
    source_name="build",
    compile=("sh", "-c", PACK, "{source}"),
    compile_folders=TOOLS,
    leaves_archive=True,
)
SCRIPTS = {row.name: row for row in (BUILD, RUN)}


def script_of(files: Iterable[str]) -> str | None:
    """`build` or `run`, whichever makes the program of these files; None where neither is among them."""
    names = set(files)
    return next((name for name in SCRIPTS if name in names), None)


def with_neighbours(language: Language) -> Language:
    """The row for programs with files beside them. Python then runs as a command, which finds its modules;
    programs that a Python module runs always do.
    """
    if not (language.in_supervisor or language.module):
        return language
    binary, needs = interpreter()
    packages = python_environment()
    environment = NO_LIMIT_OF_DIGITS | ({**ONE_THREAD, "PYTHONPATH": packages.packages} if packages else {})
    return replace(
        language,
        in_supervisor=False,
        run=(binary, "-B", "-s", *(("-m", *language.module) if language.module else ()), "{source}"),
        module=(),
        version=(binary, "--version"),
        folders=(*needs, *(packages.folders if packages else ())),
        environment=tuple(environment.items()),
        in_landlock=False,
    )


def unpack(archive: bytes, max_files: int) -> dict[str, bytes]:
    """{path: contents} of the plain files of an archive that came out of a jail, `max_files` at most."""
    files: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as packed:
        for member in packed:
            name = member.name.removeprefix("./")
            if member.isreg() and is_plain_path(name) and (packed_file := packed.extractfile(member)):
                files[name] = packed_file.read()
            if len(files) > max_files:
                raise ValueError(f"more than {max_files} files")
    return files
