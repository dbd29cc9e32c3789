"""Lua."""

from sandbox.languages.language import Language

LANGUAGES = (
    Language(
        "lua",
        aliases=("luajit",),
        suffixes=(".lua",),
        hello='print("Hello, " .. io.read() .. "!")\n',
        source_name="main.lua",
        run=("lua", "{source}"),
        version=("lua", "-v"),
        memory_errors=r"not enough memory",
    ),
)
