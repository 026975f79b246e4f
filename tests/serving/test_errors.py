"""Errors in OpenAI's form: types, parameters, and messages of one line."""

import json

import pytest

from llmkit.serving.errors import (
    ApiError,
    decoding_error,
    engine_failed,
    error_type,
    out_of_time,
    retryable_error,
    stopping,
)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (400, "invalid_request_error"),
        (404, "invalid_request_error"),
        (413, "invalid_request_error"),
        (429, "rate_limit_error"),
        (500, "server_error"),
        (503, "server_error"),
    ],
)
def test_the_type_follows_from_the_status(status, expected):
    assert error_type(status) == expected
    assert ApiError(status, "x").content["error"]["type"] == expected


def test_an_error_is_one_json_object_with_its_status():
    error = ApiError(400, "n: too many", param="n", code="invalid_value", headers={"a": "b"})
    response = error.response
    assert response.status_code == 400
    assert response.headers["a"] == "b"
    assert json.loads(response.body) == {
        "error": {
            "message": "n: too many", "type": "invalid_request_error", "param": "n",
            "code": "invalid_value",
        }
    }  # fmt: skip


def test_text_of_a_client_cannot_break_out_of_the_line():
    error = ApiError(400, "a\r\nb\x1b[2J" + "c" * 5000, param="x\n\u202ey").content["error"]
    assert error["message"].isprintable()
    assert len(error["message"]) < 500
    assert error["param"].isprintable()


@pytest.mark.parametrize(
    ("error", "status", "is_retried"),
    [
        (retryable_error(429, "full", "queue_full"), 429, True),
        (stopping(), 503, True),
        (engine_failed(), 503, False),
        (out_of_time(), 504, False),
    ],
)
def test_a_request_that_may_succeed_later_says_when(error, status, is_retried):
    assert error.status == status
    assert ("retry-after" in error.response.headers) == is_retried


@pytest.mark.parametrize(
    ("key", "reason", "param", "message"),
    [
        ("top_p", "too small", "top_p", "top_p: too small"),
        ("max_new_tokens", "too small", "max_tokens", "max_tokens: too small"),
        ("json_schema", "not JSON", "response_format", "response_format: not JSON"),
        (
            "", "min_new_tokens exceeds max_new_tokens", None, "min_tokens exceeds max_tokens",
        ),
    ],
)  # fmt: skip
def test_keys_of_the_decoding_are_called_as_the_request_calls_them(key, reason, param, message):
    error = decoding_error(key, reason)
    assert (error.status, error.param, str(error)) == (400, param, message)
