"""Ruby."""

from sandbox.languages.language import Language

LANGUAGES = (
    Language(
        "ruby",
        aliases=("rb",),
        suffixes=(".rb",),
        hello='puts "Hello, #{gets.chomp}!"\n',
        source_name="main.rb",
        run=("ruby", "{source}"),
        version=("ruby", "--version"),
        memory_overhead_mb=32,
        extra_processes=8,
        memory_errors=r"NoMemoryError|failed to allocate memory",
    ),
)
