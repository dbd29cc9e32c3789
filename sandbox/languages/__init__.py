"""Languages: one table of their names, suffixes, fences, lexers, and how their programs are compiled and run.

`language.py` says what a row holds, `definitions/` has the rows, `table.py` finds one by any of its names,
and `toolchains.py` finds out what this machine can compile and run. The pipeline, the prompts and the command
line use the same table.
"""

from sandbox.languages.environments import ENVIRONMENT_VARIABLE, BadEnvironment, python_environment
from sandbox.languages.language import COMPILER_FOLDERS, Language
from sandbox.languages.table import (
    LANGUAGES,
    UnknownLanguage,
    did_you_mean,
    find_language,
    language_of_fence,
    language_of_suffix,
    require_language,
)
from sandbox.languages.toolchains import locate, toolchain

__all__ = [
    "COMPILER_FOLDERS",
    "ENVIRONMENT_VARIABLE",
    "LANGUAGES",
    "BadEnvironment",
    "Language",
    "UnknownLanguage",
    "did_you_mean",
    "find_language",
    "language_of_fence",
    "language_of_suffix",
    "locate",
    "python_environment",
    "require_language",
    "toolchain",
]
