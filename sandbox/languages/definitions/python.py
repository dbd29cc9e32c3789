"""Python.

Version 3 runs in the supervisor's own interpreter; version 2 is stored, but has no tool chain here.
"""

from sandbox.languages.language import Language

LANGUAGES = (
    Language(
        "python3",
        aliases=("python", "py", "py3", "pypy", "pypy3", "pyth3", "cpython", "cython"),
        suffixes=(".py", ".py3"),
        fences=("python", "ipython"),
        lexer="python",
        family="python",
        hello="print('Hello, world!')\n",
        source_name="main.py",
        in_supervisor=True,
        in_landlock=True,
    ),
    Language(
        "python2",
        aliases=("py2", "pypy2", "pyth", "python2?"),
        suffixes=(".py2",),
        lexer="python",
        family="python",
        hello="print 'Hello, world!'\n",
    ),
)
