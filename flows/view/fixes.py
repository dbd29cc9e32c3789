"""What would fix a refused row: one sentence per reason of the quarantine.

Most reasons of adapters end with what to do, after a semicolon; the others are matched here, the first
pattern that occurs in a reason counts. `tests/flows/view/test_view_fixes.py` ingests rows with most faults.
"""

from __future__ import annotations

import re

RETRY = "then `spo quarantine retry`"
AGAIN = "ingest the file again; rows that are in the store are not added twice"
FIXES: list[tuple[str, str]] = [
    (r"after a fix|the rest is not read: fix", f"Correct the adapter, and {AGAIN}."),
    (r"the problem that it solves was refused", f"Fix the problem of the same line first, {RETRY}."),
    (r"the whole file was refused|cannot retry single rows", f"Correct the file, and {AGAIN}."),
    (r"tests of a problem that is not in the store|tests of an unknown problem",
     f"Ingest the source that has this problem's statement, {RETRY}."),
    (r"neither in the store nor earlier", f"Ingest the problem that `problem_id` names, {RETRY}."),
    (r"names no problem", "Ingest the problem whose statement the prompt contains, or the key"
     f" that names it with `--map problem_id=KEY`, {RETRY}."),
    (r"another problem with different content", "Give the problem an id of its own, or leave it out: the"
     " store has a problem with this id whose statement or tests differ."),
    (r"another trajectory with different content", "Give the row an id of its own, or leave it out."),
    (r"is used by an earlier", "Give each test of the problem a `test_id` of its own, or none."),
    (r"is missing|is empty|key is missing", "Fill {field} at the source, or give it to all rows with"
     f" `--set`, or name the key that has it with `--map`; {AGAIN}."),
    (r"is not one of .* did you mean", f"Use the word that the reason suggests, and {AGAIN}."),
    (r"is not one of|unknown (word|verdict)|known: ", "Write one of the values that the reason lists into"
     f" {{field}}, and {AGAIN}."),
    (r"one number for each of token_ids", "Store as many log-probabilities as token ids, or leave"
     " `token_logprobs` out."),
    (r"is (less|greater|shorter) than|is not greater than|breaks the rule",
     f"Correct {{field}}, which is outside of its bounds, and {AGAIN}."),
    (r"expected (a|an|true|text)\b(?! JSON object)",
     f"Write {{field}} as the type that the reason names, and {AGAIN}."),
    (r"null in a list", f"Take the null out of the list in {{field}}, and {AGAIN}."),
    (r"NUL character|unpaired surrogate", f"Remove the broken characters from {{field}}, and {AGAIN}."),
    (r"not UTF-8|in UTF-8|utf-8", "Retry with the encoding of the file: `spo quarantine retry --encoding"
     " latin-1`, or convert the file."),
    (r"not JSON|not the documented shape|expected a JSON object|more fields than the header|not CSV",
     f"Correct the syntax of this line, or leave it out, and {AGAIN}."),
    (r"truncated|damaged|checksum|broken|no local header|cannot be read",
     f"Export or download the file again: it is damaged; {AGAIN}."),
    (r"larger than|more than|expands to|limit \d|too (large|long)|deeper than",
     f"Split it or make it smaller, below the limit that the reason names; {AGAIN}."),
    (r"a checker or interactor|not a problem of programming|neither a problem",
     "Nothing, if it is something else than a problem or a solution; otherwise name its keys with `--map`."),
    (r"pytest|solution as a module|which is not supported|is required|is not supported|named file|"
     r"the file .* instead of standard input",
     "It cannot be judged here: leave it out, or rewrite its tests as input and output."),
    (r"has no test\b|no test set|neither inputs and outputs|inputs but .* outputs|has no value",
     f"Complete the tests of this problem, and {AGAIN}."),
    (r"the request failed|has no turn of the assistant", "Nothing was sampled here: sample it again, or leave"
     " it out."),
    (r"permission|not readable", f"Let this user read the file, and {AGAIN}."),
    (r"in adapter \w+:", f"Correct the row, or report the adapter with this row as an example; {AGAIN}."),
]  # fmt: skip
PATTERNS = [(re.compile(pattern, re.IGNORECASE), sentence) for pattern, sentence in FIXES]
OTHERWISE = f"Correct {{field}} at the source, and {AGAIN}."
ADVICE = re.compile(r"; (?!did you mean)(?P<advice>[a-z][^;]{3,200})$")


def fix_of(reason: str | None, field: str | None = None) -> str:
    """One sentence. Backquotes are around what is typed; `field` is the column or key of the fault."""
    text = reason or ""
    named = f"`{field}`" if field else "the row"
    if "the rest is not read" not in text and (given := ADVICE.search(text)):
        advice = given["advice"].rstrip(".")
        return f"{advice[0].upper()}{advice[1:]}, and {AGAIN}."
    for pattern, sentence in PATTERNS:
        if pattern.search(text):
            return sentence.replace("{field}", named)
    return OTHERWISE.replace("{field}", named)
