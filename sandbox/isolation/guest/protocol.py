"""The messages between the judge and the supervisor inside the jail: one packet each way, fixed binary layouts.

The judge trusts nothing that comes back, so answers are plain numbers; descriptors travel as SCM_RIGHTS.
A request is one letter and its body; see the constants. The supervisor opens with HELLO. Bodies of numbers are signed
64-bit integers one after the other, which both sides read and write without importing anything.
"""

HELLO = b"H"  # the supervisor's first packet, for the judge to learn its process id
# uid (0: keep), memory limit in KiB, file size in bytes, processes, open files, interval of looking at the memory in ms
SETUP = b"S"  # Once, first.
PROGRAM = b"A"  # body: argv, NUL between words. The program is a command.
ARGUMENTS = b"W"  # body: the Python program's arguments, NUL between them.
ENVIRONMENT = b"E"  # body: NAME=VALUE, NUL between them.
# Two descriptors: Python source, and where the compiler's messages go. Body: CPU limit and wall limit in microseconds.
CHECK = b"K"  # says whether the source compiles, and forgets it.
# Body also: 1 for functions, 0 for a whole program; 1 where the source is known to compile.
PYTHON = b"P"  # The program is Python, run in forks of the supervisor itself.
FILE = b"F"  # body: name; one descriptor: contents. Puts a file into the scratch folder.
COLLECT = b"C"  # body: name. Answers with a descriptor for a file of the scratch folder, or a refusal.
LIST = b"L"  # answers with the names of the files in the scratch folder, NUL between them.
# Body: CPU limit and wall limit in microseconds, descriptors per test. Descriptors, test after test: those the program finds
# as 0, 1, 2 and so on; for functions, 3 and 4 are job and result. One answer per test, up to the first after which another
# might be judged wrongly: it did not end with status 0, left something behind, or wrote more than MUCH_OUTPUT_BYTES.
TEST = b"T"

# An answer is: OK or what went wrong; wait status; CPU, wall in microseconds; peak memory in KiB; how it was ended; leftovers;
# bytes on standard output and standard error.
ANSWER_NUMBERS = 9
OK, REFUSED, COMPILE_FAILED, COMPILE_KILLED = 0, 1, 2, 3
ENDED, CPU_EXCEEDED, WALL_EXCEEDED, MEMORY_EXCEEDED, STARVED = 0, 1, 2, 3, 4
SCRATCH_CHANGED = 1
MUCH_OUTPUT_BYTES = 1 << 20

# The wall limit counts the time a program sleeps. A program that waits for a processor this many times as long says
# nothing about itself, only about the machine.
STARVED_FACTOR = 10
MAX_MESSAGE = 1 << 16
MAX_DESCRIPTORS = 96  # all of them are copied with each fork


def pack(*numbers):
    return b"".join([number.to_bytes(8, "little", signed=True) for number in numbers])


def unpack(body):
    """A tuple. x86-64 is little-endian, so that the machine's own layout is the one of `pack`."""
    return tuple(memoryview(body).cast("q"))
