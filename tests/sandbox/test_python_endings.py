"""What a Python program leaves to the end of its interpreter happens, however quick that end is.

Each expectation is what the judge's own interpreter prints, started bare on the same program.
"""

from __future__ import annotations

import subprocess

import pytest

from sandbox import Submission, Test
from sandbox.isolation import interpreter

GENERATOR = "def g():\n    try:\n        yield 1\n    finally:\n        print('closed')\n"
PROGRAMS = {
    "nothing": "print(7)",
    "no line end": "import sys\nsys.stdout.write('7')\nsys.stderr.write('e')",
    "bytes": "import sys\nsys.stdout.buffer.write(b'7')",
    "a finalizer of a global": "class A:\n    def __del__(self):\n        print('gone')\na = A()",
    "a finalizer in a cycle": "class A:\n    def __del__(self): print('gone')\na = A()\na.a = a\ndel a",
    "a finalizer set later": "class A: pass\nA.__del__ = lambda self: print('gone')\na = A()",
    "a finalizer made by name": "A = type('A', (), {'__d' + 'el__': lambda self: print('gone')})\na = A()",
    "a generator": GENERATOR + "a = g()\nnext(a)",
    "a generator in a list": GENERATOR + "a = [g() for _ in range(2)]\nnext(a[0])",
    "an exit handler": "import atexit\natexit.register(print, 'bye')",
    "a handler of a module": "import logging, logging.handlers as h, sys\n"
    "m = h.MemoryHandler(9, target=logging.StreamHandler(sys.stdout))\n"
    "logging.getLogger().addHandler(m)\nlogging.warning('kept')",
    "a finalizer of weakref": "from weakref import finalize\nclass A: pass\na = A()\n"
    "finalize(a, print, 'bye')",
    "a thread": "import threading, time\n"
    "threading.Thread(target=lambda: (time.sleep(0.05), print('late'))).start()",
    "another stream": "import sys\nclass S:\n    def write(self, t): sys.__stdout__.write(t.upper())\n"
    "    def flush(self): sys.__stdout__.write('.')\nsys.stdout = S()\nprint('a')",
    "a closed stream": "import sys\nprint(7, flush=True)\nsys.stdout.close()",
    "code from a text": "exec('class A:\\n def __del__(self): print(1)\\na = A()')",
    "a program that exits": "import sys\nprint(7, end='')\nsys.exit()",
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_end_of_a_program(pool, name):
    command = [interpreter()[0], "-S", "-c", PROGRAMS[name]]
    bare = subprocess.run(command, capture_output=True, text=True, timeout=30)
    test = Test("1", "stdin", "", None)
    judgement = pool.judge(Submission(PROGRAMS[name], "python3", (test, test), keep_bytes=1000))
    assert judgement.verdict == ("runtime_error" if bare.returncode else "accepted"), judgement
    for output in judgement.outputs:
        assert (output.stdout, output.stderr) == (bare.stdout, bare.stderr)
