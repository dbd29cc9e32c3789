"""Languages: one row per language in `table.py`, and what of it this machine can compile and run."""

from sandbox.languages.table import LANGUAGES, Language, adapt_java, find_language, locate, toolchain

__all__ = ["LANGUAGES", "Language", "adapt_java", "find_language", "locate", "toolchain"]
