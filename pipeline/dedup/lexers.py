"""Splits programs into tokens, for hashing and near-duplicates: one regular expression per language, applied
to whole columns.

A lexer knows the strings and comments of its language, so it reads neither `"# no comment"` nor `/* "no
string" */` wrongly. It accepts any text, because many programs by models do not parse; a character that
matches no rule is a token.

Comments and white space are dropped. In languages with significant indentation (Python), a line end outside
brackets is a token that holds the indentation level of the next line. Levels are ranks of the program's own
widths: 2 spaces, 4 spaces and tabs give the same tokens.
"""

from __future__ import annotations

import builtins
import keyword
import re
from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np
import polars as pl

from sandbox.languages import find_language

# Part of every signature. Increase it with every change that alters tokens.
LEXER_VERSION = 2
TAB_COLUMNS = 8
NEWLINE = "\n"

NAME = r"[A-Za-z_][A-Za-z0-9_]*"
NUMBER = r"(?:[0-9]|\.[0-9])(?:[eEpP][+-]|[0-9A-Za-z_.]|'[0-9A-Fa-f])*"
# In languages where `0..n` is a range, a number ends before a dot that no digit follows.
RANGE_NUMBER = r"(?:[0-9]|\.[0-9])(?:[eEpP][+-]|[0-9A-Za-z_]|\.[0-9])*"
PYTHON_NUMBER = (
    r"0[xX][0-9A-Fa-f_]+|0[bBoO][0-7_]+|(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)(?:[eE][+-]?[0-9]+)?[jJlL]?"
)
SLASH_COMMENTS = r"//(?:[^\r\n\\]|\\(?:\r\n|[\s\S]))*|/\*[\s\S]*?(?:\*/|\z)"
QUOTED = r'"(?:[^"\\\r\n]|\\(?:\r\n|[\s\S]))*"'
LONG_QUOTED = r'"(?:[^"\\]|\\[\s\S])*"'  # may span several lines
LONG_SINGLE_QUOTED = r"'(?:[^'\\]|\\[\s\S])*'"
SINGLE_QUOTED = r"'(?:[^'\\\r\n]|\\(?:\r\n|[\s\S]))*'"
ASSIGNING = r"[-+*/%&|^!<>=]=|[^\s]"
PYTHON_OPERATORS = rf"<<=|>>=|\*\*=|//=|\.\.\.|->|\*\*|//|<<|>>|:=|@=|{ASSIGNING}"
C_OPERATORS = rf"<<=|>>=|\.\.\.|->\*|->|::|\+\+|--|<<|>>|<=>|&&|\|\||:=|=>|{ASSIGNING}"

PYTHON_PATTERN = "|".join(
    (
        r"#[^\r\n]*",
        r"\\\r?\n",
        r"[\r\n][ \t\f]*",
        r'[rRbBuUfF]{0,2}"""(?:[^\\]|\\[\s\S])*?"""',
        r"[rRbBuUfF]{0,2}'''(?:[^\\]|\\[\s\S])*?'''",
        rf"[rRbBuUfF]{{0,2}}{QUOTED}",
        rf"[rRbBuUfF]{{0,2}}{SINGLE_QUOTED}",
        NAME,
        PYTHON_NUMBER,
        PYTHON_OPERATORS,
    )
)
CPP_PATTERN = "|".join(
    (
        SLASH_COMMENTS,
        # These regular expressions have no back references: the closing delimiter may differ from the opening
        # one.
        r'(?:u8|[uUL])?R"\([\s\S]*?\)"',
        r'(?:u8|[uUL])?R"[^()\\\s"]{1,16}\([\s\S]*?\)[^()\\\s"]{1,16}"',
        rf"(?:u8|[uUL])?{QUOTED}",
        rf"(?:u8|[uUL])?{SINGLE_QUOTED}",
        NAME,
        NUMBER,
        C_OPERATORS,
    )
)
JAVA_PATTERN = "|".join(
    (SLASH_COMMENTS, r'"""(?:[^\\]|\\[\s\S])*?"""', QUOTED, SINGLE_QUOTED, NAME, NUMBER, C_OPERATORS)
)
# Languages of the C family have different strings: verbatim in C#, raw in Go, templates in JavaScript.
BRACES_PATTERN = "|".join(
    (
        SLASH_COMMENTS,
        r'[@$]{1,2}"(?:[^"]|"")*"',
        r"`(?:[^`\\]|\\[\s\S])*`",
        r'"""(?:[^\\]|\\[\s\S])*?"""',
        QUOTED,
        SINGLE_QUOTED,
        NAME,
        RANGE_NUMBER,
        C_OPERATORS,
    )
)
RUST_PATTERN = "|".join(
    (
        r"//[^\r\n]*",
        r"/\*[\s\S]*?(?:\*/|\z)",  # nested comments end together
        r'b?r"[^"]*"',
        r'b?r#"[\s\S]*?"#',
        r'b?r##"[\s\S]*?"##',
        rf"b?{LONG_QUOTED}",
        r"b?'(?:[^'\\\r\n]|\\(?:u\{[0-9A-Fa-f_]*\}|x[0-9A-Fa-f]{2}|[^\r\n]))'",
        rf"'{NAME}",  # a lifetime
        NAME,
        RANGE_NUMBER,
        rf"\.\.=|\.\.|{C_OPERATORS}",
    )
)
PHP_PATTERN = "|".join(
    (
        r"(?://|#)(?:[^\r\n?]|\?+[^\r\n?>])*(?:\?+(?:[\r\n]|\z))?",  # `?>` ends it too
        r"/\*[\s\S]*?(?:\*/|\z)",
        LONG_QUOTED,
        LONG_SINGLE_QUOTED,
        NAME,
        RANGE_NUMBER,
        C_OPERATORS,
    )
)
# For languages without their own lexer: nothing is dropped, comments count as text.
PLAIN_PATTERN = "|".join((QUOTED, NAME, NUMBER, C_OPERATORS))

C_WORDS = """
alignas alignof asm auto bool break case catch char class const constexpr const_cast continue decltype default
delete do double dynamic_cast else enum explicit export extern false final float for friend goto if inline int
long mutable namespace new noexcept nullptr operator override private protected public register
reinterpret_cast return short signed sizeof static static_cast struct switch template this throw true try
typedef typeid typename union unsigned using virtual void volatile wchar_t while define ifdef ifndef endif
include pragma undef main std cin cout cerr endl printf scanf puts gets getchar putchar string vector map set
pair queue stack deque list bitset tuple array unordered_map unordered_set multiset multimap priority_queue
max min abs swap sort reverse make_pair push_back size_t int64_t uint64_t int32_t uint32_t NULL EOF INT_MAX
INT_MIN sqrt pow ceil floor memset getline lower_bound upper_bound accumulate begin end size greater less
"""
RUST_WORDS = """
as async await break const continue crate dyn else enum extern false fn for if impl in let loop match mod move
mut pub ref return self Self static struct super trait true type unsafe use where while i8 i16 i32 i64 i128
isize u8 u16 u32 u64 u128 usize f32 f64 bool char str String Vec Option Some None Result Ok Err Box HashMap
HashSet BTreeMap BTreeSet VecDeque BinaryHeap std io stdin read_line println print format unwrap parse trim
split_whitespace map collect iter into_iter len push pop main
"""
JAVA_WORDS = """
abstract assert boolean break byte case catch char class const continue default do double else enum extends
final finally float for goto if implements import instanceof int interface long native new package private
protected public return short static strictfp super switch synchronized this throw throws transient try void
volatile while true false null var record yield String System Integer Long Double Math Object List ArrayList
Map HashMap Set HashSet Arrays Collections Scanner BufferedReader InputStreamReader PrintWriter StringBuilder
StringTokenizer Deque ArrayDeque LinkedList Queue PriorityQueue TreeMap TreeSet Exception IOException
Character Boolean Override main
"""


@dataclass(frozen=True)
class Lexer:
    """How one language is split into tokens. `fixed`: names with a fixed meaning, which abstraction keeps."""

    name: str
    pattern: str
    comments: tuple[str, ...] = ()
    fixed: frozenset[str] = frozenset()
    indented: bool = False


PYTHON = Lexer(
    "python",
    PYTHON_PATTERN,
    ("#", "\\\n", "\\\r\n"),
    frozenset({*keyword.kwlist, *dir(builtins)}),
    indented=True,
)
CPP = Lexer("cpp", CPP_PATTERN, ("//", "/*"), frozenset(C_WORDS.split()))
JAVA = Lexer("java", JAVA_PATTERN, ("//", "/*"), frozenset(JAVA_WORDS.split()))
RUST = Lexer("rust", RUST_PATTERN, ("//", "/*"), frozenset(RUST_WORDS.split()))
PHP = Lexer("php", PHP_PATTERN, ("//", "/*", "#"), frozenset(C_WORDS.split()))
BRACES = Lexer("braces", BRACES_PATTERN, ("//", "/*"), frozenset(C_WORDS.split() + JAVA_WORDS.split()))
PLAIN = Lexer("plain", PLAIN_PATTERN)
LEXERS = {lexer.name: lexer for lexer in (PYTHON, CPP, JAVA, RUST, PHP, BRACES, PLAIN)}


def lexer_of(language: str) -> Lexer:
    """The lexer of a language; `PLAIN`, which keeps comments, for a language without its own."""
    row = find_language(language)
    return LEXERS[row.lexer] if row else PLAIN


@dataclass
class Tokens:
    """Tokens of many programs, concatenated.

    `codes` int32 [tokens]: index into `texts`; `offsets` int64 [programs + 1]: where each program begins;
    `levels` int32 [tokens]: for a line end the indentation level of the next line, else -1.
    """

    texts: list[str]
    codes: np.ndarray
    offsets: np.ndarray
    levels: np.ndarray
    lexer: Lexer = field(repr=False)

    @property
    def rows(self) -> np.ndarray:
        """Program of each token, int64 [tokens]."""
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))

    def of(self, program: int) -> list[str]:
        """The tokens of one program as text; a line end as a newline followed by its level."""
        span = slice(self.offsets[program], self.offsets[program + 1])
        pairs = zip(self.codes[span], self.levels[span], strict=True)
        return [self.texts[code] if level < 0 else f"{NEWLINE}{level}" for code, level in pairs]


def lex(programs: pl.Series, lexer: Lexer) -> Tokens:
    """Split every program of a column into tokens, without comments and white space."""
    lists = programs.str.extract_all(lexer.pattern).to_arrow()
    encoded = lists.flatten().dictionary_encode()
    texts = encoded.dictionary.to_pylist()
    codes = encoded.indices.to_numpy()
    offsets = lists.offsets.to_numpy().astype(np.int64) - lists.offsets[0].as_py()
    tokens = Tokens(texts, codes, offsets, np.zeros(0, np.int32), lexer)
    is_comment = np.array([text.startswith(lexer.comments) for text in texts], dtype=bool)
    if lexer.indented:
        return _with_lines(tokens, is_comment)
    tokens = _only(tokens, ~is_comment[codes])
    tokens.levels = np.full(len(tokens.codes), -1, dtype=np.int32)
    return tokens


def _only(tokens: Tokens, mask: np.ndarray) -> Tokens:
    indices = np.flatnonzero(mask)
    return Tokens(
        tokens.texts,
        tokens.codes[indices],
        np.searchsorted(indices, tokens.offsets),
        tokens.levels,
        tokens.lexer,
    )


def _with_lines(tokens: Tokens, is_comment: np.ndarray) -> Tokens:
    """Drop comments, keep the line ends that end a statement, and set their level to that of the next
    line."""
    is_line = np.array([text[0] in "\r\n" for text in tokens.texts], dtype=bool)
    # Inside brackets a line end is white space (Python language reference, 2.1.6).
    opens = np.array(
        [(text in "([{") - (text in ")]}") if len(text) == 1 else 0 for text in tokens.texts], dtype=np.int32
    )
    depth = np.cumsum(opens[tokens.codes], dtype=np.int32)
    start = np.append(np.int32(0), depth)[tokens.offsets[:-1]]
    inside = depth > np.repeat(start, np.diff(tokens.offsets))
    tokens = _only(tokens, ~(is_comment[tokens.codes] | is_line[tokens.codes] & inside))
    # A blank line ends no statement, nor does a line end before the first token or after the last.
    line = is_line[tokens.codes]
    ends = tokens.offsets[1:][np.diff(tokens.offsets) > 0] - 1
    next_is_line = np.append(line[1:], True)
    next_is_line[ends] = True
    mask = ~(line & next_is_line)
    tokens = _only(tokens, mask)
    begins = tokens.offsets[:-1][np.diff(tokens.offsets) > 0]
    leading = begins[is_line[tokens.codes[begins]]]
    if len(leading):
        mask = np.ones(len(tokens.codes), dtype=bool)
        mask[leading] = False
        tokens = _only(tokens, mask)
    tokens.levels = _levels(tokens, is_line)
    return tokens


def _levels(tokens: Tokens, is_line: np.ndarray) -> np.ndarray:
    """Rank of each line's indentation among the widths of its program (0 included), int32 [tokens]; -1
    elsewhere."""
    width = np.array(
        [_width(text) if line else 0 for text, line in zip(tokens.texts, is_line, strict=True)],
        dtype=np.int64,
    )
    indices = np.flatnonzero(is_line[tokens.codes])
    programs = len(tokens.offsets) - 1
    scale = int(width.max(initial=0)) + 1
    rows = np.searchsorted(tokens.offsets, indices, side="right") - 1
    keys = rows * scale + width[tokens.codes[indices]]
    _, inverse = np.unique(np.concatenate([np.arange(programs) * scale, keys]), return_inverse=True)
    zero = inverse[:programs]
    levels = np.full(len(tokens.codes), -1, dtype=np.int32)
    levels[indices] = inverse[programs:] - zero[rows]
    return levels


def _width(line_end: str) -> int:
    return sum(TAB_COLUMNS if character == "\t" else 1 for character in line_end[1:])


IS_NAME = re.compile(NAME)


def text_hashes(texts: list[str]) -> np.ndarray:
    """A 64-bit hash of each text, uint64 [texts]; the same on every machine and in every version."""
    packed = b"".join(blake2b(text.encode(), digest_size=8).digest() for text in texts)
    return np.frombuffer(packed, dtype="<u8")
