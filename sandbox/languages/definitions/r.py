"""R."""

from sandbox.languages.language import Language

LANGUAGES = (
    Language(
        "r",
        aliases=("rscript", "gnu r"),
        suffixes=(".r", ".R"),
        hello='name <- readLines(file("stdin"), n = 1)\ncat(paste0("Hello, ", name, "!\\n"))\n',
        source_name="main.r",
        run=("Rscript", "--vanilla", "{source}"),
        version=("Rscript", "--version"),
        folders=("/bin", "/usr/bin", "/etc/R", "/etc/alternatives", "/usr/share/R"),
        memory_overhead_mb=128,
        extra_processes=16,
        memory_errors=r"cannot allocate vector of size|memory exhausted",
    ),
)
