"""Languages that clients and data sets name, and that have no way to run here."""

from sandbox.languages.language import Language

LANGUAGES = (
    Language("cuda", suffixes=(".cu",), lexer="braces"),
    Language("jest", variant_of="typescript"),
    Language("lean", aliases=("lean4",), suffixes=(".lean",)),
    Language("python_gpu", variant_of="python3"),
)
