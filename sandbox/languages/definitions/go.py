"""Go."""

from dataclasses import replace

from sandbox.languages.language import Language

HELLO = """package main

import "fmt"

func main() {
	var name string
	fmt.Scan(&name)
	fmt.Printf("Hello, %s!\\n", name)
}
"""

TESTS = """package main

import (
	"fmt"
	"os"
	"testing"
)

func TestMain(m *testing.M) {
	var name string
	fmt.Scan(&name)
	fmt.Printf("Hello, %s!\\n", name)
	os.Exit(0)
}
"""

GO = Language(
    "go",
    aliases=("golang",),
    suffixes=(".go",),
    lexer="braces",
    hello=HELLO,
    source_name="main.go",
    run=("{program}/main",),
    compile=("go", "build", "-o", "main", "{source}"),
    version=("go", "version"),
    memory_overhead_mb=64,
    extra_processes=32,
    memory_errors=r"fatal error: (?:runtime: )?(?:out of memory|cannot allocate memory)",
    environment=(
        ("GOCACHE", "/tmp/go-cache"),
        ("GO111MODULE", "off"),
        ("GOPATH", "/tmp/go"),
        ("CGO_ENABLED", "0"),
    ),
)
LANGUAGES = (
    GO,
    # As SandboxFusion calls programs that are run for their tests. They have the standard library alone.
    replace(
        GO, name="go_test", aliases=(), suffixes=(), variant_of="go", hello=TESTS,
        source_name="main_test.go", compile=("go", "test", "-c", "-o", "main", "{source}"),
    ),
)  # fmt: skip
