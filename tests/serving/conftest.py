"""Fixtures of the tests of the server and of its engine's thread."""

import pytest
from jobs import running
from served import open_tiny, serving


@pytest.fixture(scope="module")
def session(tiny_gpt2):
    return open_tiny(tiny_gpt2)


@pytest.fixture(scope="module")
def served(tiny_gpt2):
    with serving(open_tiny(tiny_gpt2)) as served:
        yield served


@pytest.fixture(scope="module")
def engine(session):
    with running(session) as engine:
        yield engine
