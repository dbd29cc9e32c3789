"""Building: from a source text to a program that is ready to run in a jail.

Compilers run in jails of their own.

`availability.py` says which languages can be judged, `scripts.py` how programs with scripts of their own are,
`builder.Builder` keeps what `compilation.py` has compiled, `tools.py` says what a jail must show of a tool
chain, `syntax.SyntaxJails` whether Python sources compile, and `program.Program` holds a built program
together with the jail that it runs in.
"""

from sandbox.building.availability import (
    LanguageUnavailable,
    ProvenLanguages,
    require_usable,
    usable_toolchain,
)
from sandbox.building.builder import Builder, Built, encoded
from sandbox.building.compilation import COMPILE_LIMITS, CompileError, compile_limits
from sandbox.building.program import Program, with_run_time
from sandbox.building.scripts import SCRIPTS, script_of, with_neighbours
from sandbox.building.shared import SharedJails, is_asked_for
from sandbox.building.syntax import SyntaxJails

__all__ = [
    "COMPILE_LIMITS",
    "SCRIPTS",
    "Builder",
    "Built",
    "CompileError",
    "LanguageUnavailable",
    "Program",
    "ProvenLanguages",
    "SharedJails",
    "SyntaxJails",
    "compile_limits",
    "encoded",
    "is_asked_for",
    "require_usable",
    "script_of",
    "usable_toolchain",
    "with_neighbours",
    "with_run_time",
]
