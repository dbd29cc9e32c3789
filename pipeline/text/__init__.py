"""Text from models and web sites: extracts the program from a completion, detects its language, and maps
names of languages, verdicts and splits to the store's names.
"""

from typing import TYPE_CHECKING

from pipeline.later import exports

if TYPE_CHECKING:
    from pipeline.text.answer import program_of_arguments, reasoning_length
    from pipeline.text.detect import detect_language
    from pipeline.text.escapes import visible, visible_line
    from pipeline.text.extract import extract_program
    from pipeline.text.names import VERDICT_NAMES, language_name, split_name, suffix_language, verdict_name
    from pipeline.text.tex import plain_tex
else:
    # Whatever prints needs `visible`, and none of the others.
    __getattr__ = exports(
        __name__,
        {
            "answer": "program_of_arguments reasoning_length",
            "detect": "detect_language",
            "escapes": "visible visible_line",
            "extract": "extract_program",
            "names": "VERDICT_NAMES language_name split_name suffix_language verdict_name",
            "tex": "plain_tex",
        },
    )

__all__ = [
    "VERDICT_NAMES",
    "detect_language",
    "extract_program",
    "language_name",
    "plain_tex",
    "program_of_arguments",
    "reasoning_length",
    "split_name",
    "suffix_language",
    "verdict_name",
    "visible",
    "visible_line",
]
