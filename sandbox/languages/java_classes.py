"""Names in Java sources and class files: which file a source belongs into, and which class holds `main`.

Class files: https://docs.oracle.com/javase/specs/jvms/se17/html/jvms-4.html. They come out of a jail, so
nothing in them is believed: what is not a class file is none.
"""

from __future__ import annotations

import re
import struct
from pathlib import Path

TOKEN = re.compile(
    r'"""(?:\\.|[^\\])*?"""|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|//[^\n]*|/\*.*?\*/'
    r"|(?P<word>(?:[^\W\d]|\$)[\w$]*)|(?P<mark>[{}()\[\];@])",
    re.DOTALL,
)
# Java reads it as the character wherever it stands (section 3.3 of its specification).
UNICODE_ESCAPE = re.compile(r"(?<!\\)((?:\\\\)*)\\u+([0-9a-fA-F]{4})")
KINDS = ("class", "interface", "enum", "record")
MAGIC = 0xCAFEBABE
PUBLIC_STATIC = 0x0009
ARGUMENTS = b"([Ljava/lang/String;)V"
MAX_CLASS_FILE_BYTES = 4 << 20
# {tag of a constant: bytes behind it}; a string of text has its length before it
CONSTANT_BYTES = {
    3: 4,
    4: 4,
    5: 8,
    6: 8,
    7: 2,
    8: 2,
    9: 4,
    10: 4,
    11: 4,
    12: 4,
    15: 3,
    16: 2,
    17: 4,
    18: 4,
    19: 2,
    20: 2,
}
TEXT, CLASS, LONG, DOUBLE = 1, 7, 5, 6


def public_class(source: str) -> str | None:
    """The public class, interface, enum or record at the outermost level, after which Java wants the file
    named.
    """
    depth, is_public, kind = 0, False, ""
    for token in TOKEN.finditer(without_escapes(source)):
        word, mark = token["word"], token["mark"]
        if mark and mark in "{([":
            depth += 1
        elif mark and mark in "})]":
            depth -= 1
        if depth == 0 and mark in ("}", ";"):
            is_public, kind = False, ""
        elif depth == 0 and word:
            if kind and is_public:
                return word
            is_public = is_public or word == "public"
            kind = word if word in KINDS else ""
    return None


def without_escapes(source: str) -> str:
    """A source with the characters that `\\uXXXX` stands for."""
    return UNICODE_ESCAPE.sub(lambda match: match[1] + chr(int(match[2], 16)), source)


def main_class(folder: Path, file_name: str, source: str) -> str:
    """The class whose `main` starts the program: the one that the file is named after, else `Main`, else an
    outer one, else the first in the source. `file_name` where no class has `main`.
    """
    source = without_escapes(source)
    names = [name for path in sorted(folder.rglob("*.class")) if (name := class_with_main(path))]

    def rank(name: str) -> tuple[bool, bool, bool, int, str]:
        simple = name.rpartition(".")[2]
        place = re.search(rf"\b{re.escape(simple.rpartition('$')[2])}\b", source)
        return (
            simple != file_name,
            simple != "Main",
            "$" in name,
            place.start() if place else len(source),
            name,
        )

    return min(names, key=rank, default=file_name)


def class_with_main(path: Path) -> str | None:
    """The name of the class in a class file, if it has `public static void main(String[])`."""
    try:
        with path.open("rb") as file:
            return _ClassFile(file.read(MAX_CLASS_FILE_BYTES)).name_with_main()
    except (struct.error, IndexError, KeyError, UnicodeDecodeError, OSError):
        return None


class _ClassFile:
    """A reader of one class file. Raises struct.error, IndexError or KeyError for anything else."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def number(self, layout: str) -> int:
        value: int = struct.unpack_from(f">{layout}", self.data, self.at)[0]
        self.at += struct.calcsize(f">{layout}")
        return value

    def name_with_main(self) -> str | None:
        if self.number("I") != MAGIC:
            return None
        self.at += 4  # version
        texts, classes = self.constants()
        self.at += 2  # access
        name = texts[classes[self.number("H")]]
        self.at += 2  # superclass
        interfaces = self.number("H")
        self.at += 2 * interfaces
        self.members(texts)  # fields
        has_main = any(
            access & PUBLIC_STATIC == PUBLIC_STATIC and method == b"main" and kind == ARGUMENTS
            for access, method, kind in self.members(texts)
        )
        return name.decode().replace("/", ".") if has_main else None

    def constants(self) -> tuple[dict[int, bytes], dict[int, int]]:
        """{index: text} and {index of a class: index of its name}."""
        texts, classes, index, count = {}, {}, 1, self.number("H")
        while index < count:
            tag = self.number("B")
            if tag == TEXT:
                size = self.number("H")
                texts[index] = self.data[self.at : self.at + size]
                self.at += size
            elif tag == CLASS:
                classes[index] = self.number("H")
            else:
                self.at += CONSTANT_BYTES[tag]
            index += 2 if tag in (LONG, DOUBLE) else 1
        return texts, classes

    def members(self, texts: dict[int, bytes]) -> list[tuple[int, bytes, bytes]]:
        """(access, name, type) of the fields or methods."""
        members = []
        for _ in range(self.number("H")):
            access, name, kind = self.number("H"), self.number("H"), self.number("H")
            for _ in range(self.number("H")):
                self.at += 2  # name of the attribute
                size = self.number("I")
                self.at += size
            members.append((access, texts[name], texts[kind]))
        return members
