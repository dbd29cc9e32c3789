"""Building: from a source text to a program that is ready to run in a jail.

Compilers run in jails of their own.

`availability.py` says which languages can be judged, `builder.Builder` compiles and keeps what it has built,
`syntax.SyntaxJails` says whether Python sources compile, and `program.Program` holds a built program together
with the jail that it runs in.
"""

from sandbox.building.availability import (
    LanguageUnavailable,
    ProvenLanguages,
    require_usable,
    usable_toolchain,
)
from sandbox.building.builder import COMPILE_LIMITS, Builder, Built, CompileError, encoded
from sandbox.building.program import Program, with_run_time
from sandbox.building.syntax import SyntaxJails

__all__ = [
    "COMPILE_LIMITS",
    "Builder",
    "Built",
    "CompileError",
    "LanguageUnavailable",
    "Program",
    "ProvenLanguages",
    "SyntaxJails",
    "encoded",
    "require_usable",
    "usable_toolchain",
    "with_run_time",
]
