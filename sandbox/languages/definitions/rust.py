"""Rust."""

from sandbox.languages.language import Language

HELLO = """fn main() {
    let mut name = String::new();
    std::io::stdin().read_line(&mut name).unwrap();
    println!("Hello, {}!", name.trim());
}
"""

LANGUAGES = (
    Language(
        "rust",
        aliases=("rs", "rustc"),
        suffixes=(".rs",),
        lexer="rust",
        hello=HELLO,
        source_name="main.rs",
        run=("{program}/main",),
        compile=(
            "rustc", "--edition", "2021", "-C", "opt-level=3", "-A", "warnings", "-o", "main", "{source}",
        ),
        version=("rustc", "--version"),
        memory_errors=r"memory allocation of \d+ bytes failed",
    ),
)  # fmt: skip
