"""Swift."""

from sandbox.languages.language import Language

LANGUAGES = (
    Language(
        "swift",
        suffixes=(".swift",),
        lexer="braces",
        hello='print("Hello, \\(readLine()!)!")\n',
        source_name="main.swift",
        run=("{program}/main",),
        compile=("swiftc", "-O", "-suppress-warnings", "-o", "main", "{source}"),
        version=("swiftc", "--version"),
        tools=("swiftc",),
        extra_processes=8,
        compiles_all=True,
    ),
)
