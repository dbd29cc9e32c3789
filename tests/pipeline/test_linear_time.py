"""Time grows with the length of a text, not with its square: what strangers write is read by patterns and
scanners.
"""

import json
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.adapters import SourceFile
from pipeline.adapters.documents import document_rows
from pipeline.ingest.statement_index import StatementIndex, split_words
from pipeline.text import detect_language, extract_program, plain_tex
from pipeline.text.fences import fences

FENCED = {
    "three backticks, blanks, text": lambda n: "```" + " " * n + "x`\n",
    "a label, blanks, one backtick": lambda n: "```python" + " " * n + "`\n",
    "tildes, blanks, a backtick": lambda n: "~~~" + " " * n + "`",
    "text before the fence": lambda n: "a " * n + "```python `",
    "backticks": lambda n: "`" * n,
    "fences in one line": lambda n: "``` " * n,
    "fences that open": lambda n: "```python\n" * n,
    "fences that open and close": lambda n: "```python\nprint(1)\n```\n" * n,
    "tabs before line ends": lambda n: "```\t\t\t\n" * n,
    "braces": lambda n: "```" + "{" * n + "\n",
    "line ends": lambda n: "```\n" + "\n" * n,
    "fences in lines": lambda n: "```\n" * n,
    "misplaced closing fences": lambda n: "a ```python\n    ```\n" * n,
    "Markdown in Markdown": lambda n: "````md\n" + "```md\n" * n,
    "quotation marks": lambda n: ">" * n + "```python\n" + (">" * n + "\n"),
    "reasoning": lambda n: "<think>\n</think>\n" * n,
    "reasoning without an end": lambda n: "<think>\n" * n,
    "brackets": lambda n: "[" * n,
    "tags": lambda n: "<answer>\n" * n,
    "calls": lambda n: "<tool_call>" * n,
    "end tokens": lambda n: "</s>" * n,
    "prose": lambda n: "Here is it now.\n\n" * n,
    "uses": lambda n: "```python\nf(1)\n```\n" * n,
    "carriage returns": lambda n: "\r" * n,
}
TEX = {
    "section": lambda n: "\\section{" * n,
    "section with groups": lambda n: "\\section{" + "{a}" * n,
    "sections and groups": lambda n: "\\section{{a}" * n,
    "begin": lambda n: "\\begin{itemize}[" * n,
    "item": lambda n: "\\item" + " " * n + "\\item",
    "emph": lambda n: "\\emph{a" * n,
    "subs": lambda n: "\\" + "sub" * n,
    "percent": lambda n: "\\%" * n,
    "line ends": lambda n: "\n" * n + "x",
}


def seconds(work):
    """CPU seconds, the least of some."""
    actual = []
    for _ in range(3):
        begin = time.process_time()
        work()
        actual.append(time.process_time() - begin)
    return min(actual)


def assert_linear(make, size):
    """Twice the size takes at most three times as long, from a small size up: a cube would not come back
    from a large one. The 20 ms allow a slow machine the step where a text becomes long enough for more rules.
    """
    for length in (size // 64, size // 8, size):
        for _attempt in range(3):  # other processes on the machine slow down single measurements
            once, twice = seconds(make(length)), seconds(make(2 * length))
            if twice <= 3 * once + 0.02:
                break
        else:
            raise AssertionError(f"{length}: {once:.3f} s, {2 * length}: {twice:.3f} s")


@pytest.mark.parametrize("shape", FENCED)
def test_programs_in_completions(shape):
    def make(n):
        text = FENCED[shape](n)
        return lambda: extract_program(text, "python3")

    assert_linear(make, 4_000)


@pytest.mark.parametrize("shape", TEX)
def test_statements_in_tex(shape):
    def make(n):
        text = TEX[shape](n)
        return lambda: plain_tex(text)

    assert_linear(make, 40_000)


PIECES = [
    "def a",
    "fn a",
    "function",
    "class a",
    "import a,",
    "public a",
    "let ",
    "for a in ",
    "object a",
    "\\",
    "```",
    "{",
]
PIECES += [" ", "\n", "\t", "a", "(", ")", ":", "=", "<", ">", ".a", "~~~", "`", "print ", "return", "}"]


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.sampled_from(PIECES), min_size=1, max_size=2),
    st.lists(st.sampled_from(PIECES), min_size=1, max_size=3),
)
@example(["def a"], [" "])
@example(["fn a"], ["\n"])
@example(["function"], [" "])
def test_languages_and_programs_of_texts_that_repeat(begin, repeated):
    piece = "".join(repeated)

    def make(n):
        text = "".join(begin) + piece * (n // len(piece))
        return lambda: (detect_language(text), extract_program(text), plain_tex(text))

    # The language is told by the first 20,000 characters.
    assert_linear(make, 5_000)


@settings(max_examples=500, deadline=None)
@given(st.text(alphabet="`~ \t\nab{", max_size=60))
@example("~~~ ``` \n~~~~x ~~~\n```a```\n   ```` b \t\n````")
def test_fences_are_the_first_of_each_line(text):
    """Compared with a search line by line."""
    begin, wanted = 0, []
    for line in text.split("\n"):
        positions = [place for place in (line.find("```"), line.find("~~~")) if place >= 0]
        if positions:
            first = min(positions)
            marker = line[first:][: len(line[first:]) - len(line[first:].lstrip(line[first]))]
            rest = line[first + len(marker) :].strip(" \t")
            wanted.append((begin, begin + len(line), line[:first], marker, rest))
        begin += len(line) + 1
    assert [(f.begin, f.end, f.prefix, f.marker, f.info) for f in fences(text)] == wanted


@pytest.mark.slow
@pytest.mark.parametrize("shape", FENCED)
def test_ten_million_characters_take_less_than_a_second(shape):
    text = (FENCED[shape](1_000_000) * 10)[:10_000_000]
    assert seconds(lambda: extract_program(text, "python3")) < 1


def test_a_prompt_that_repeats_the_beginning_of_a_statement():
    def make(n):
        statement, prompt = "a " * n + "end", "a " * 2 * n
        index = StatementIndex([("s/1", statement)])
        return lambda: index._find(split_words(prompt))

    assert_linear(make, 20_000)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from("ab"), min_size=4, max_size=9), max_size=6),
    st.lists(st.sampled_from("ab"), max_size=30),
)
def test_the_longest_statement_in_a_prompt_is_found(statements, prompt):
    """Compared with a search in the joined words."""
    texts = {" ".join(words): f"s/{number}" for number, words in reversed(list(enumerate(statements)))}
    inside = [text for text in texts if f" {text} " in f" {' '.join(prompt)} "]
    actual = StatementIndex(
        [(f"s/{number}", " ".join(words)) for number, words in enumerate(statements)]
    ).find(" ".join(prompt))
    longest = max((len(text) for text in inside), default=0)
    assert (actual is None) == (not inside)
    if actual:
        place = {name: len(text) for text, name in texts.items()}
        assert place[actual] == longest


@pytest.mark.parametrize("content", ["\\n", "a", "\\\\", "[", "\\u0041"])
def test_a_long_string_in_a_document(tmp_path, content):
    """It comes in many blocks, and each is looked at once."""

    def make(n):
        path = tmp_path / f"{n}.json"
        path.write_text('[{"a": "' + content * n + '"}]')
        return lambda: list(document_rows(SourceFile(str(path), "x.json", "0", 0)))

    assert_linear(make, (12 << 20) // len(content))


def test_a_string_is_whole_wherever_blocks_end(tmp_path, monkeypatch):
    values = [{"a": "\\" * n + '"' * (n % 3) + "é" * n} for n in range(12)]
    path = tmp_path / "x.json"
    path.write_text(json.dumps(values, ensure_ascii=False))
    content = path.read_bytes()
    for size in (1, 2, 3, 5, 7):
        pieces = [content[begin : begin + size] for begin in range(0, len(content), size)]
        monkeypatch.setattr(
            "pipeline.adapters.documents.read_blocks", lambda file, stored, pieces=pieces: iter(pieces)
        )
        actual = list(document_rows(SourceFile(str(path), "x.json", "0", 0)))
        assert [row.value for row in actual] == values
