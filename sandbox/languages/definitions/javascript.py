"""JavaScript by Node.js."""

from typing import Any

from sandbox.languages.language import Language

NODE = ("node", "--stack-size={stack_kb}", "--max-old-space-size={memory_mb}")
NODE_LIMITS: dict[str, Any] = {
    "memory_overhead_mb": 256,
    "extra_processes": 32,
    "time_factor": 1.5,
    "memory_errors": r"JavaScript heap out of memory|Array buffer allocation failed|Reached heap limit",
}

LANGUAGES = (
    Language(
        "javascript",
        aliases=(
            "js",
            "node",
            "nodejs",
            "node.js",
            "v8js",
            "v8",
            "javascript v8",
            "javascript node.js",
            "javascript node",
        ),
        suffixes=(".js", ".mjs", ".cjs"),
        fences=("javascript", "ecmascript"),
        lexer="braces",
        hello="console.log('Hello, ' + require('fs').readFileSync(0, 'utf8').trim() + '!')\n",
        source_name="main.js",
        run=(*NODE, "{source}"),
        version=("node", "--version"),
        **NODE_LIMITS,
    ),
)
