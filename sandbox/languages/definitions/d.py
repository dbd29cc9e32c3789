"""D by LDC."""

from dataclasses import replace

from sandbox.languages.language import COMPILER_FOLDERS, Language

HELLO = """import std.stdio, std.string;
void main() { writeln("Hello, ", readln().strip(), "!"); }
"""

UNIT_TESTS = """import std.stdio, std.string;
unittest { writeln("Hello, ", readln().strip(), "!"); }
void main() {}
"""
COMPILE = ("ldc2", "-O2", "-d-version=ONLINE_JUDGE", "-od=/dev/shm", "-of=main", "{source}")

D = Language(
    "d",
    aliases=("dlang", "ldc", "dmd", "dmd32", "gdc", "d ldc", "d dmd"),
    suffixes=(".d",),
    lexer="braces",
    hello=HELLO,
    source_name="main.d",
    run=("{program}/main",),
    compile=COMPILE,
    version=("ldc2", "--version"),
    compile_folders=("/bin", "/etc/ldc2.conf", *COMPILER_FOLDERS),
    extra_processes=8,
    compiles_all=True,
    memory_errors=r"OutOfMemoryError",
)
LANGUAGES = (
    D,
    # As SandboxFusion calls programs that are run for their unit tests.
    replace(
        D, name="d_ut", aliases=(), suffixes=(), variant_of="d", hello=UNIT_TESTS,
        compile=(*COMPILE, "-unittest"),
    ),
)  # fmt: skip
