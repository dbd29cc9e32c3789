"""The messages between the judge and the supervisor in a jail: one packet per message, fixed binary layouts.

A request is one letter and a body; descriptors travel as SCM_RIGHTS. The supervisor sends HELLO first. The
judge trusts nothing that comes back, so answers are plain numbers. Bodies of numbers are signed 64-bit
integers, one after the other, which both sides read and write without importing anything. protocol.h repeats
what the supervisor in C needs.
"""

HELLO = b"H"  # the supervisor's first packet: the kernel tells the judge its process id

# Requests, and their bodies.
SETUP = b"S"  # SETUP_FIELDS. Once, first.
PROGRAM = b"A"  # argv, NUL between words. The program is a command.
ARGUMENTS = b"W"  # the Python program's arguments, NUL between them
ENVIRONMENT = b"E"  # NAME=VALUE, NUL between them
# CHECK_FIELDS; two descriptors: Python source, compiler's messages. Compiles the source and forgets it. With
# `says_plain` the compiled code of a plain program takes the place of the messages.
CHECK = b"K"
PYTHON = (
    b"P"  # PYTHON_FIELDS; descriptors as for CHECK. The program is Python, run in forks of the supervisor.
)
# Names of modules. The program, which imports these, is what each test brings: compiled Python code as the
# descriptor behind its others.
SHARED = b"M"
FILE = b"F"  # a path; one descriptor: contents. Puts a file into the scratch folder.
COLLECT = b"C"  # a name. The answer carries a descriptor of that file of the scratch folder, or is REFUSED.
# A folder in the scratch folder, or nothing. The answer is the names in it, NUL between them; a slash ends
# those of folders.
LIST = b"L"
# TEST_FIELDS; the descriptors of the tests, one test after the other: those that the program finds as 0, 1, 2
# and so on; for functions, 3 and 4 are job and result. There is one answer per test, up to the first test
# after which the next one could be judged wrongly: it did not end with status 0, left something behind, or
# wrote more than MUCH_OUTPUT_BYTES.
TEST = b"T"

SETUP_FIELDS = (
    "uid",
    "memory_kb",
    "file_bytes",
    "processes",
    "open_files",
    "watch_ms",
)  # uid 0: keep the user
RUNNERS = {
    1: "functions",
    2: "assertions",
}  # `is_function`: the module that runs a function test; 0 for whole programs
CHECK_FIELDS = ("cpu_us", "wall_us", "says_plain")
PYTHON_FIELDS = ("cpu_us", "wall_us", "is_function", "is_known_to_compile")
TEST_FIELDS = ("cpu_us", "wall_us", "descriptors")  # the last one: descriptors per test

# `what`: OK or what went wrong; `status`: the wait status; `ending`: how the run ended; `flags`:
# SCRATCH_CHANGED or 0
ANSWER_FIELDS = (
    "what", "status", "cpu_us", "wall_us", "peak_kb", "ending", "flags", "output_bytes", "error_bytes",
)  # fmt: skip
# The exit status of a compiler's child whose source compiles but may not share a jail.
NOT_PLAIN = 2
OK, REFUSED, COMPILE_FAILED, COMPILE_KILLED = 0, 1, 2, 3
ENDED, CPU_EXCEEDED, WALL_EXCEEDED, MEMORY_EXCEEDED, STARVED = 0, 1, 2, 3, 4
SCRATCH_CHANGED = 1

MAX_MESSAGE = 1 << 16
MAX_DESCRIPTORS = 96  # all of them are copied with each fork
MUCH_OUTPUT_BYTES = 1 << 20
# The wall limit counts the time that a program sleeps. A program that waits for a processor this many times
# as long says something about the machine, and nothing about itself.
STARVED_FACTOR = 10
EXEC_FAILED = 127  # exit status of a child that could not become the program


def pack(*numbers):
    return b"".join([number.to_bytes(8, "little", signed=True) for number in numbers])


def unpack(body):
    """The numbers of a body, as a tuple.

    x86-64 is little-endian, so its own layout is the layout of `pack`.
    """
    return tuple(memoryview(body).cast("q"))
