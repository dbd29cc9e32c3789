"""Parts of a stage's work, by a hash of the problem or of the program."""


def part_predicate(column: str, part: int, parts: int) -> str:
    """SQL condition that selects a part by md5, which is the same on every machine and in every version."""
    return f"md5_number_lower({column}) % {parts} = {part}"
