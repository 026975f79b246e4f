"""Rejected requests: the status and the JSON object in OpenAI's format."""

import pytest
from served import open_tiny, serving

from llmkit.serving.security import Limits

CHAT = "/v1/chat/completions"
LIMITS = Limits(max_body_bytes=2000, max_prompt_tokens=100, max_new_tokens=40, max_queue=2)
HELLO = {"messages": [{"role": "user", "content": "Who?"}]}


@pytest.fixture(scope="module")
def served(tiny_gpt2):
    with serving(open_tiny(tiny_gpt2, "chat"), LIMITS, max_rows=2) as served:
        yield served


def error_of(response):
    """Check the format of an error response; return the error object."""
    assert response.headers["content-type"] == "application/json"
    (error,) = response.json().values()
    assert list(error) == ["message", "type", "param", "code"]
    assert error["message"].isprintable()
    assert len(error["message"]) < 500
    return error


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
def test_the_error_for_an_invalid_body_names_the_parameter(served, body, code, param):
    response = served.client.post("/v1/completions", json=body)
    assert response.status_code == 400
    error = error_of(response)
    assert (error["code"], error["param"]) == (code, param)
    assert error["type"] == "invalid_request_error"
    assert not served.service.jobs


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([], "messages: "),
        ([5], "messages.0: "),
        ([{"role": "user"}], "has no text in `content`"),
        ([{"role": "robot", "content": "a"}], "has the role 'robot'"),
        ([{"role": "tool", "content": "a"}], "calls a tool"),
        ([{"role": "assistant", "content": "a"}], "must alternate"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], "only parts of type 'text'"),
        (
            [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],
            "the last message must have the role user",
        ),
    ],
)
def test_the_error_for_invalid_messages_says_what_is_wrong(served, messages, message):
    response = served.client.post(CHAT, json={"messages": messages})
    assert response.status_code == 400
    assert message in error_of(response)["message"]


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
def test_a_body_that_is_not_json_is_rejected(served, content, headers, status):
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


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v2/models", 404),
        ("GET", "/v1/models/", 404),
        ("GET", "/v1/models/other", 404),
        ("GET", "/%00", 404),
        ("GET", "/v1//models", 404),
        ("GET", "/v1/completions", 405),
        ("DELETE", "/v1/models", 405),
        ("OPTIONS", "/v1/completions", 405),
    ],
)
def test_unknown_paths_and_methods_are_rejected(served, method, path, status):
    response = served.client.request(method, path, follow_redirects=False)
    assert response.status_code == status
    error_of(response)


def test_a_model_of_another_name_is_not_found(served):
    for response in (
        served.complete("a", model="gpt-4o"),
        served.chat("a", model="gpt-4o"),
        served.client.get("/v1/models/gpt-4o"),
    ):
        assert response.status_code == 404
        assert error_of(response)["code"] == "model_not_found"
    assert served.client.get("/v1/models/tiny").json()["id"] == "tiny"


def test_a_conversation_that_cannot_be_truncated_to_fit_is_rejected(served):
    response = served.chat(("system", "word " * 200), "Who?")
    assert response.status_code == 400
    error = error_of(response)
    assert (error["code"], error["param"]) == ("context_length_exceeded", "messages")


def test_parameters_without_effect_are_accepted(served):
    neutral = {
        "user": "u", "metadata": {"a": "b"}, "presence_penalty": 0, "frequency_penalty": 0.0,
        "logprobs": False, "logit_bias": {}, "tools": [], "top_p": 1, "response_format":
        {"type": "text"}, "stop": None, "service_tier": "auto", "max_completion_tokens": 3,
    }  # fmt: skip
    response = served.client.post(CHAT, json={**HELLO, **neutral})
    assert response.status_code == 200
    assert response.json()["usage"]["completion_tokens"] <= 3


def test_a_stopping_server_rejects_new_requests(served):
    served.service.is_draining = True
    try:
        for response in (served.complete("a"), served.chat("a"), served.client.get("/health")):
            assert response.status_code == 503
            assert error_of(response)["type"] == "server_error"
            assert int(response.headers["retry-after"]) > 0
    finally:
        served.service.is_draining = False
