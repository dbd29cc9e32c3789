"""Go."""

from sandbox.languages.language import Language

LANGUAGES = (
    Language(
        "go",
        aliases=("golang",),
        suffixes=(".go",),
        lexer="braces",
        hello='package main\n\nimport "fmt"\n\nfunc main() { fmt.Println("Hello, world!") }\n',
        source_name="main.go",
        run=("{program}/main",),
        compile=("go", "build", "-o", "main", "{source}"),
        version=("go", "version"),
        memory_overhead_mb=64,
        extra_processes=32,
        environment=(("GOCACHE", "/tmp/go-cache"), ("GO111MODULE", "off"), ("GOPATH", "/tmp/go")),
    ),
)
