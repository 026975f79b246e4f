"""Clients that disconnect, stall, exceed the limits or send garbage, and requests that time out."""

import json
import socket
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest
from served import eventually, listening, one_step, open_tiny, serving

from llmkit.serving.security import Limits

BODY = {"prompt": "The", "max_tokens": 50}


@pytest.fixture(scope="module")
def served(tiny_gpt2):
    with serving(open_tiny(tiny_gpt2), Limits(max_queue=3), max_rows=1) as served:
        yield served


@pytest.fixture(scope="module")
def url(served):
    with listening(served) as url:
        yield url


@pytest.fixture(scope="module")
def impatient(tiny_gpt2):
    """URL of a server with a short read timeout."""
    limits = Limits(read_timeout=0.3)
    with serving(open_tiny(tiny_gpt2), limits) as served, listening(served) as url:
        yield url


def raw(url: str) -> socket.socket:
    """Open a TCP connection to the server."""
    host, port = url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=60)


def read_all(connection: socket.socket) -> bytes:
    """Read until the server closes the connection."""
    received = b""
    try:
        while chunk := connection.recv(4096):
            received += chunk
    except ConnectionResetError:
        pass
    return received


def post(body: dict) -> bytes:
    """The bytes of a request."""
    content = json.dumps(body).encode()
    head = (
        "POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


def num_answered(served, status: int) -> float:
    return served.service.metrics.requests.labels("/v1/completions", status)._value.get()


@pytest.mark.parametrize("stream", [True, False])
def test_a_disconnected_client_frees_its_row(served, url, stream):
    num_left = num_answered(served, 499)
    with one_step(served):
        with raw(url) as connection:
            connection.sendall(post({**BODY, "stream": stream}))
            eventually(lambda: any(job.is_started for job in served.service.jobs))
            if stream:
                assert connection.recv(100).startswith(b"HTTP/1.1 200 ")
        eventually(lambda: not served.service.jobs)
    eventually(lambda: served.service.engine.num_running == 0)
    assert num_answered(served, 499) == num_left + (not stream)


def test_a_full_queue_rejects_requests_and_recovers(served, url):
    with one_step(served), raw(url) as connection:
        connection.sendall(post({**BODY, "prompt": ["The"] * 4}))
        eventually(lambda: served.service.jobs)
        refused = httpx2.post(f"{url}/v1/completions", json=BODY)
        assert refused.status_code == 429
        assert refused.json()["error"]["code"] == "queue_full"
        assert refused.headers["retry-after"] == "1"
    eventually(lambda: not served.service.jobs)
    assert httpx2.post(f"{url}/v1/completions", json=BODY, timeout=60).status_code == 200


@pytest.mark.parametrize("stream", [True, False])
def test_a_request_that_times_out_returns_its_partial_text(served, url, stream):
    body = {**BODY, "stream": stream}
    with ThreadPoolExecutor(2) as pool:
        with one_step(served):
            running = pool.submit(httpx2.post, f"{url}/v1/completions", json=body, timeout=60)
            eventually(lambda: any(job.is_started for job in served.service.jobs))
            waiting = pool.submit(httpx2.post, f"{url}/v1/completions", json=body, timeout=60)
            eventually(lambda: len(served.service.jobs) == 2)
            for job in served.service.jobs:
                served.service._expire(job)
        assert running.result().status_code == 200
        assert '"finish_reason":"length"' in running.result().text
        assert waiting.result().status_code == 504
        assert waiting.result().json()["error"]["code"] == "timeout"


def test_every_request_has_a_timeout(tiny_gpt2):
    with serving(open_tiny(tiny_gpt2), Limits(timeout=0.001)) as served:
        response = served.complete("The", max_tokens=120)
        assert response.status_code in (200, 504)
        assert not served.service.jobs


def test_an_engine_failure_ends_requests_but_not_the_server(served, url, caplog):
    engine = served.service.engine._engine

    def fail():
        raise RuntimeError("no memory for /secret/path")

    engine.step = fail
    failed = httpx2.post(f"{url}/v1/completions", json=BODY)
    assert failed.status_code == 500
    assert failed.json()["error"]["type"] == "server_error"
    assert "secret" not in failed.text
    assert "the engine failed" in caplog.text
    assert httpx2.post(f"{url}/v1/completions", json=BODY, timeout=60).status_code == 200


@pytest.mark.parametrize(
    "content",
    [
        b"GARBAGE\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",  # no Host
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # a TLS client
        b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 20_000,
        b"\x00" * 50 + b"\r\n\r\n",
    ],
)
def test_invalid_http_is_answered_with_a_json_error(url, content):
    with raw(url) as connection:
        connection.sendall(content)
        received = read_all(connection)
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert list(json.loads(body)["error"]) == ["message", "type", "param", "code"]


@pytest.mark.parametrize("content", [b"", b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX: "])
def test_a_client_that_does_not_finish_its_header_is_disconnected(impatient, content):
    with raw(impatient) as connection:
        connection.sendall(content)
        assert read_all(connection) == b""


def test_a_client_that_does_not_finish_its_body_gets_408(impatient):
    with raw(impatient) as connection:
        connection.sendall(post(BODY)[:-5])
        received = read_all(connection)
    assert received.startswith(b"HTTP/1.1 408 ")
    assert b'"the body did not arrive within 0.3 seconds"' in received


def test_a_malformed_chunk_ends_the_connection(url):
    head = (
        b"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n"
    )
    with raw(url) as connection:
        connection.sendall(head + b"zz\r\n{}\r\n0\r\n\r\n")
        assert read_all(connection).startswith(b"HTTP/1.1 400 ")
    with raw(url) as connection:  # a body in pieces
        connection.sendall(head + b'9\r\n{"prompt"\r\n' + b'5\r\n:"a"}\r\n0\r\n\r\n')
        assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")


def test_connections_beyond_the_limit_are_rejected(tiny_gpt2):
    limits = Limits(max_connections=2)
    with serving(open_tiny(tiny_gpt2), limits) as served, listening(served) as url:
        connections = [raw(url) for _ in range(limits.max_connections)]
        refused = httpx2.get(f"{url}/health")
        assert refused.status_code == 503
        assert refused.json()["error"]["code"] == "too_many_connections"
        for connection in connections:
            connection.close()
        eventually(lambda: httpx2.get(f"{url}/health").status_code == 200)
