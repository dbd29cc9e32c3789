"""What every writer writes: a problem of ours, and three answers to it."""

STATEMENT = "Read one integer n from standard input and print twice its value, nothing else."
ANSWERS = (
    "Sure.\n```python\nprint(int(input()) * 2)\n```",
    "Sure.\n```python\nprint(int(input()) * 3)\n```",
    "I cannot solve this.",
)
STUB = 'def double(n):\n    """Twice n."""\n'
FUNCTION_ANSWERS = (
    "```python\ndef double(n):\n    return 2 * n\n```",
    "```python\ndef double(n):\n    return 3 * n\n```",
    "I cannot solve this.",
)
