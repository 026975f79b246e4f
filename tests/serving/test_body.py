"""Bodies of requests: what is read, what is refused, and which parameter is named."""

import asyncio
import json

import pytest
from served import error_of, open_tiny, serving
from starlette.requests import ClientDisconnect, Request

from llmkit.serving.body import (
    IGNORED,
    UNSUPPORTED,
    Body,
    ChatBody,
    CompletionBody,
    parse_body,
    read_body,
)
from llmkit.serving.errors import ApiError
from llmkit.serving.security import Limits

CHAT = "/v1/chat/completions"
LIMITS = Limits(max_body_bytes=2000, max_prompt_tokens=100, max_new_tokens=40, max_queue=2)
HELLO = {"messages": [{"role": "user", "content": "Who?"}]}


@pytest.fixture(scope="module")
def served(tiny_gpt2):
    with serving(open_tiny(tiny_gpt2, "chat"), LIMITS, max_rows=2) as served:
        yield served


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({}, "missing_required_parameter", "prompt"),
        ({"prompt": None}, "missing_required_parameter", "prompt"),
        ({"prompt": ""}, "invalid_value", "prompt"),
        ({"prompt": []}, "invalid_value", "prompt"),
        ({"prompt": [[]]}, "invalid_value", "prompt"),
        ({"prompt": 5}, "invalid_value", "prompt"),
        ({"prompt": [True]}, "invalid_value", "prompt"),
        ({"prompt": [-1]}, "invalid_value", "prompt"),
        ({"prompt": [10**9]}, "invalid_value", "prompt"),
        ({"prompt": ["a", 5]}, "invalid_value", "prompt"),
        ({"prompt": [5] * 101}, "context_length_exceeded", "prompt"),
        ({"prompt": [5] * 95, "max_tokens": 40}, "context_length_exceeded", "prompt"),
        ({"prompt": "a", "max_tokens": 41}, "invalid_value", "max_tokens"),
        ({"prompt": "a", "max_tokens": 0}, "invalid_value", "max_tokens"),
        ({"prompt": "a", "max_tokens": "4"}, "invalid_value", "max_tokens"),
        ({"prompt": "a", "max_tokens": True}, "invalid_value", "max_tokens"),
        ({"prompt": "a", "temperature": -1}, "invalid_value", "temperature"),
        ({"prompt": "a", "temperature": 1e-9}, "invalid_value", None),
        ({"prompt": "a", "top_p": 0, "temperature": 0}, "invalid_value", "top_p"),
        ({"prompt": "a", "top_p": 1.5}, "invalid_value", "top_p"),
        ({"prompt": "a", "n": 0}, "invalid_value", "n"),
        ({"prompt": "a", "n": 2}, "invalid_value", "n"),
        ({"prompt": "a", "n": 5, "temperature": 1}, "too_many_completions", None),
        ({"prompt": "a", "seed": -1}, "invalid_value", "seed"),
        ({"prompt": "a", "stop": [""]}, "invalid_value", "stop"),
        ({"prompt": "a", "stop": ["a", "b", "c", "d", "e"]}, "invalid_value", "stop"),
        ({"prompt": "a", "stop": 5}, "invalid_value", "stop"),
        ({"prompt": "a", "stream": 1}, "invalid_value", "stream"),
        ({"prompt": "a", "logprobs": 0}, "unsupported_parameter", "logprobs"),
        ({"prompt": "a", "presence_penalty": 0.5}, "unsupported_parameter", "presence_penalty"),
        ({"prompt": "a", "logit_bias": {"5": 1}}, "unsupported_parameter", "logit_bias"),
        ({"prompt": "a", "best_of": 2}, "unsupported_parameter", "best_of"),
        ({"prompt": "a", "max_token": 2}, "unknown_parameter", "max_token"),
        ({"prompt": "a", "messages": []}, "unknown_parameter", "messages"),
        ({"prompt": "a", "regex": "a", "choices": ["a"]}, "invalid_value", None),
        (
            {"prompt": "a", "response_format": {"type": "xml"}},
            "invalid_value", "response_format.type",
        ),
        (
            {"prompt": "a", "response_format": {"type": "json_schema"}},
            "invalid_value", "response_format",
        ),
        (
            {"prompt": "a", "stream_options": {"usage": True}},
            "unknown_parameter", "stream_options.usage",
        ),
    ],
)  # fmt: skip
def test_a_mistake_in_the_body_names_the_parameter(served, body, code, param):
    response = served.client.post("/v1/completions", json=body)
    assert response.status_code == 400
    error = error_of(response)
    assert (error["code"], error["param"]) == (code, param)
    assert error["type"] == "invalid_request_error"
    assert not served.service.jobs


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (b"{", {}, 400),
        (b"", {}, 400),
        (b"[]", {}, 400),
        (b'"a"', {}, 400),
        (b'{"prompt": "a", "temperature": NaN}', {}, 400),
        (b'{"prompt": "a", "temperature": 1e999}', {}, 400),
        (b'{"prompt": "\\ud800"}', {}, 400),
        (b'{"prompt": "\xff"}', {}, 400),
        (b"[" * 1900, {}, 400),
        (b'{"prompt": ' + b"9" * 1900 + b"}", {}, 400),
        (b"{}", {"content-type": "text/plain"}, 415),
        (b"{}", {"content-type": ""}, 415),
        (b"{}", {"content-encoding": "gzip"}, 415),
        (b" " * 2001, {}, 413),
    ],
)
def test_a_body_that_is_not_json_is_refused(served, content, headers, status):
    headers = {"content-type": "application/json", **headers}
    response = served.client.post("/v1/completions", content=content, headers=headers)
    assert response.status_code == status
    error_of(response)


def test_a_chunked_body_is_limited_too(served):
    def chunks():
        for _ in range(300):
            yield b" " * 10

    headers = {"content-type": "application/json"}
    response = served.client.post("/v1/completions", content=chunks(), headers=headers)
    assert response.status_code == 413
    assert error_of(response)["code"] == "request_too_large"


def test_parameters_that_change_nothing_are_accepted(served):
    neutral = {
        "user": "u", "metadata": {"a": "b"}, "presence_penalty": 0, "frequency_penalty": 0.0,
        "logprobs": False, "logit_bias": {}, "tools": [], "top_p": 1, "response_format":
        {"type": "text"}, "stop": None, "service_tier": "auto", "max_completion_tokens": 3,
    }  # fmt: skip
    response = served.client.post(CHAT, json={**HELLO, **neutral})
    assert response.status_code == 200
    assert response.json()["usage"]["completion_tokens"] <= 3


@pytest.mark.parametrize(("messages", "param"), [([], "messages"), ([5], "messages.0")])
def test_a_mistake_in_the_form_of_the_messages_is_named(served, messages, param):
    response = served.client.post(CHAT, json={"messages": messages})
    assert response.status_code == 400
    assert error_of(response)["param"] == param


def test_a_mistake_in_the_messages_names_them(served):
    for messages in ([("assistant", "a")], [("system", "word " * 200), ("user", "Who?")]):
        response = served.chat(*messages)
        assert response.status_code == 400
        assert error_of(response)["param"] == "messages"


def parse(kind: type[Body] = CompletionBody, **fields) -> Body:
    return parse_body(json.dumps({"prompt": "a", **fields}).encode(), kind)


def test_only_what_a_request_sets_changes_the_decoding():
    assert parse().decoding == {}
    nothing = dict.fromkeys(Body.model_fields)  # null counts as not given
    assert parse(**nothing).decoding == {}
    given = {"temperature": 0.0, "top_k": 0, "stop": [], "min_p": 0.0}
    assert parse(**given).decoding == given, "zero is a value"
    renamed = parse(max_tokens=5, min_tokens=2, stop="x").decoding
    assert renamed == {"max_new_tokens": 5, "min_new_tokens": 2, "stop": ["x"]}


@pytest.mark.parametrize(
    ("format", "expected"),
    [
        ({"type": "text"}, None),
        ({"type": "json_object"}, {"type": "object"}),
        ({"type": "json_schema", "json_schema": {"schema": {"type": "null"}}}, {"type": "null"}),
    ],
)
def test_a_response_format_is_a_json_schema(format, expected):
    assert parse(response_format=format).decoding.get("json_schema") == expected


def test_the_newer_name_of_max_tokens_wins_in_a_chat():
    body = json.dumps({**HELLO, "max_tokens": 5, "max_completion_tokens": 3}).encode()
    assert parse_body(body, ChatBody).decoding == {"max_new_tokens": 3}
    with pytest.raises(ApiError, match="unknown parameter"):
        parse(max_completion_tokens=3)


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_a_parameter_that_is_not_supported_is_accepted_only_with_values_that_mean_nothing(name):
    for neutral in UNSUPPORTED[name]:
        assert parse(**{name: neutral}) == parse()
    for value in (True, 0.25, "x", ["x"], {"x": 1}):
        with pytest.raises(ApiError) as refused:
            parse(**{name: value})
        assert (refused.value.param, refused.value.code) == (name, "unsupported_parameter")


def test_parameters_that_change_nothing_may_have_any_value():
    assert parse(**{name: {"a": [1]} for name in IGNORED}) == parse()


@pytest.mark.parametrize("digits", ["5000", "0005000", "9" * 400])
def test_a_body_that_announces_too_much_is_refused_unread(digits):
    async def receive():
        raise AssertionError("the body was read")

    with pytest.raises(ApiError) as refused:
        asyncio.run(read(receive, ("content-length", digits)))
    assert refused.value.status == 413


def test_a_body_that_stalls_is_refused_and_one_whose_client_leaves_is_given_up():
    async def stall():
        await asyncio.Event().wait()

    async def leave():
        return {"type": "http.disconnect"}

    with pytest.raises(ApiError, match=r"within 0\.01 seconds") as refused:
        asyncio.run(read(stall))
    assert refused.value.status == 408
    with pytest.raises(ClientDisconnect):
        asyncio.run(read(leave))


def read(receive, *headers) -> Body:
    """The body that a connection sends."""
    pairs = [("content-type", "application/json"), *headers]
    scope = {"type": "http", "headers": [(n.encode(), v.encode()) for n, v in pairs]}
    return read_body(Request(scope, receive), CompletionBody, Limits(2000, read_timeout=0.01))
