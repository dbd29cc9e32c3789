"""Text of models and sites: the program in a completion, its language, and other names for languages,
verdicts and splits.
"""

from pipeline.text.escapes import visible, visible_line
from pipeline.text.extract import detect_language, extract_program
from pipeline.text.names import VERDICT_NAMES, language_name, split_of, suffix_language, verdict_name
from pipeline.text.tex import plain_tex

__all__ = [
    "VERDICT_NAMES",
    "detect_language",
    "extract_program",
    "language_name",
    "plain_tex",
    "split_of",
    "suffix_language",
    "verdict_name",
    "visible",
    "visible_line",
]
