"""One pool and one isolation for all tests of the sandbox, with a cache of built programs for the session."""

from __future__ import annotations

import pytest

from sandbox import Pool, Submission, Test
from sandbox.isolation import establish


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("programs")


@pytest.fixture(scope="session")
def isolation(cache):
    """The isolation of this process, for tests that start jails without a pool."""
    isolation = establish(cache, "bwrap")
    yield isolation
    isolation.close()


@pytest.fixture(scope="session")
def pool(cache):
    with Pool(2, cache=cache) as pool:
        yield pool


@pytest.fixture(scope="session")
def judge(pool):
    """judge(language, program, (input, expected), ..., **fields of the submission)"""

    def judge(language, program, *tests, **fields):
        tests = tuple(
            test if isinstance(test, Test) else Test(str(number), "stdin", *test)
            for number, test in enumerate(tests)
        )
        return pool.judge(Submission(program, language, tests, **fields))

    return judge
