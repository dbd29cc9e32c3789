"""protocol.py and protocol.h agree: the supervisors in C and in Python use the same constants and layouts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sandbox.isolation import native
from sandbox.isolation.guest import protocol

HEADER = (Path(native.__file__).parent / "guest" / "protocol.h").read_text()
SUPERVISOR = (Path(native.__file__).parent / "guest" / "supervisor.c").read_text()


def constants(source: str) -> dict[str, int]:
    """The enumerations of a C source.

    Each constant must have a value of its own: a number, a letter, or a shift.
    """
    actual: dict[str, int] = {}
    for body in re.findall(r"\benum \{(.*?)\};", source, re.DOTALL):
        for constant in filter(None, map(str.strip, body.split(","))):
            name, _, value = constant.partition(" = ")
            if letter := re.fullmatch(r"'(.)'", value):
                actual[name] = ord(letter[1])
            else:
                number, _, shift = value.partition(" << ")
                actual[name] = int(number) << int(shift or 0)
    return actual


def fields(source: str, struct: str) -> tuple[str, ...]:
    """The names of a struct's numbers, all of which are 64 bits wide."""
    (body,) = re.findall(rf"\bstruct {struct} \{{(.*?)\}};", source, re.DOTALL)
    assert re.fullmatch(r"\s*int64_t [\w, ]+;\s*", body)
    return tuple(re.findall(r"\w+", body))[1:]


def of_python(name: str) -> int:
    value = getattr(protocol, name)
    return ord(value) if isinstance(value, bytes) else value


CONSTANTS = constants(HEADER)


def test_the_header_is_read():
    """By values written out here: a reader that finds nothing would let everything pass."""
    read = {
        name: CONSTANTS[name]
        for name in ("SETUP", "HELLO", "MAX_MESSAGE", "MAX_DESCRIPTORS", "STARVED", "OK")
    }
    assert read == {
        "SETUP": 83,
        "HELLO": 72,
        "MAX_MESSAGE": 65536,
        "MAX_DESCRIPTORS": 96,
        "STARVED": 4,
        "OK": 0,
    }
    assert len(CONSTANTS) == 18


@pytest.mark.parametrize("name", CONSTANTS)
def test_constants(name):
    assert CONSTANTS[name] == of_python(name)


@pytest.mark.parametrize("struct", ["setup", "test", "answer"])
def test_layouts(struct):
    assert fields(HEADER, struct) == getattr(protocol, f"{struct.upper()}_FIELDS")


def test_no_constant_is_written_out_a_second_time():
    """A letter or an enumeration in supervisor.c itself would escape the comparison."""
    names = set(re.findall(r"\b(\w+) = ", " ".join(re.findall(r"\benum \{(.*?)\};", SUPERVISOR, re.DOTALL))))
    assert not names & set(CONSTANTS)
    assert not re.findall(r"letter == '", SUPERVISOR)


def test_letters_of_requests_differ():
    requests = [
        "SETUP",
        "PROGRAM",
        "ARGUMENTS",
        "ENVIRONMENT",
        "CHECK",
        "PYTHON",
        "FILE",
        "COLLECT",
        "LIST",
        "TEST",
    ]
    assert len({getattr(protocol, name) for name in requests}) == len(requests)
