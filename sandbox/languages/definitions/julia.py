"""Julia."""

from sandbox.languages.language import Language

LANGUAGES = (
    Language(
        "julia",
        aliases=("jl",),
        suffixes=(".jl",),
        hello='println("Hello, ", readline(), "!")\n',
        source_name="main.jl",
        run=("julia", "--startup-file=no", "--history-file=no", "{source}"),
        version=("julia", "--version"),
        memory_overhead_mb=256,
        extra_processes=32,
        time_factor=1.5,
        memory_errors=r"OutOfMemoryError",
    ),
)
