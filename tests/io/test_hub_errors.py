"""What an exception of the client library is taken for."""

import pytest

from llmkit.io.hub_errors import causes, first_line, is_unreachable


def raised_from(error, cause):
    try:
        raise error from cause
    except Exception as caught:
        return caught


def test_an_exception_is_told_from_its_causes():
    first, second = ValueError("first\nsecond line"), KeyError("second")
    error = raised_from(RuntimeError(), raised_from(first, second))
    assert list(causes(error)) == [error, first, second]
    assert first_line(error) == "RuntimeError"
    assert first_line(first) == "first"


class ConnectTimeout(Exception):
    """As in httpx, whose exceptions share no base with those of Python."""


@pytest.mark.parametrize("cause", [ConnectionResetError(), TimeoutError(), ConnectTimeout()])
def test_a_lost_connection_is_recognized_below_other_exceptions(cause):
    assert is_unreachable(raised_from(RuntimeError("Error while uploading"), cause))
    assert not is_unreachable(ValueError("not connected with this"))
