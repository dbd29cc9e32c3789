"""PHP."""

from sandbox.languages.language import Language

LANGUAGES = (
    Language(
        "php",
        suffixes=(".php",),
        lexer="php",
        hello="<?php echo 'Hello, ' . trim(fgets(STDIN)) . '!';\n",
        source_name="main.php",
        run=("php", "-d", "memory_limit={memory_mb}M", "-d", "display_errors=stderr", "{source}"),
        version=("php", "--version"),
        folders=("/etc/php",),
        memory_overhead_mb=32,
        memory_errors=r"Allowed memory size of \d+ bytes exhausted|Out of memory",
    ),
)
