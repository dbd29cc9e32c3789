"""Python.

Version 3 runs in the supervisor's own interpreter. PyPy and version 2 run where they are installed; what
names them is stored as Python all the same.
"""

from sandbox.languages.language import Language

HELLO = "print('Hello, ' + input() + '!')\n"
HELLO_2 = "print 'Hello, ' + raw_input() + '!'\n"
PYTEST_HELLO = """import os
def test_hello():
    print("Hello, " + input() + "!", flush=True)
    os._exit(0)
"""
PYPY_VERSION = "import sys; print('pypy ' + sys.version.split('PyPy ')[1].split(' ')[0])"

LANGUAGES = (
    Language(
        "python3",
        aliases=("python", "py", "py3", "pyth3", "cpython", "cpython3", "cython"),
        suffixes=(".py", ".py3"),
        fences=("python", "ipython"),
        lexer="python",
        family="python",
        hello=HELLO,
        source_name="main.py",
        in_supervisor=True,
        in_landlock=True,
    ),
    Language(
        "pypy3",
        aliases=("pypy", "pyp3", "python pypy", "python3 pypy"),
        lexer="python",
        family="python",
        variant_of="python3",
        hello=HELLO,
        source_name="main.py",
        run=("pypy3", "-B", "{source}"),
        environment=(("PYTHONINTMAXSTRDIGITS", "0"),),  # integers of any number of digits
        version=("pypy3", "-c", PYPY_VERSION),
        memory_overhead_mb=64,
        memory_errors=r"^MemoryError",
    ),
    # As SandboxFusion calls programs that are run for their tests.
    Language(
        "pytest",
        lexer="python",
        family="python",
        variant_of="python3",
        hello=PYTEST_HELLO,
        source_name="test_main.py",
        module=("pytest", "-q", "-s", "-p", "no:cacheprovider"),
    ),
    Language(
        "python2",
        aliases=("py2", "pyth", "python2?", "cpython2"),
        suffixes=(".py2",),
        lexer="python",
        family="python",
        hello=HELLO_2,
        source_name="main.py",
        run=("python2", "-B", "{source}"),
        version=("python2", "--version"),
    ),
    Language(
        "pypy2",
        lexer="python",
        family="python",
        variant_of="python2",
        hello=HELLO_2,
        source_name="main.py",
        run=("pypy2", "-B", "{source}"),
        version=("pypy2", "--version"),
        memory_overhead_mb=64,
    ),
)
