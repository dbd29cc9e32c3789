"""Rust."""

from sandbox.languages.language import Language

LANGUAGES = (
    Language(
        "rust",
        aliases=("rs", "rustc"),
        suffixes=(".rs",),
        lexer="rust",
        hello='fn main() { println!("Hello, world!"); }\n',
        source_name="main.rs",
        run=("{program}/main",),
        compile=(
            "rustc", "--edition", "2021", "-C", "opt-level=3", "-A", "warnings", "-o", "main", "{source}",
        ),
        version=("rustc", "--version"),
    ),
)  # fmt: skip
