"""JavaScript by Node.js."""

from sandbox.languages.language import Language

LANGUAGES = (
    Language(
        "javascript",
        aliases=("js", "node", "nodejs", "node.js", "v8js", "javascript v8"),
        suffixes=(".js",),
        fences=("javascript", "ecmascript"),
        lexer="braces",
        hello="console.log('Hello, world!')\n",
        source_name="main.js",
        run=("node", "--stack-size={stack_kb}", "--max-old-space-size={memory_mb}", "{source}"),
        version=("node", "--version"),
        memory_overhead_mb=256,
        extra_processes=32,
        time_factor=1.5,
    ),
)
