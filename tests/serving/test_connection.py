"""Clients that stall, come in crowds, send garbage, or send several requests at once."""

import json

import httpx2
import pytest
from served import eventually, listening, open_tiny, post, raw, read_all, serving

from llmkit.serving.connection import Connection
from llmkit.serving.security import Limits

BODY = {"prompt": "The", "max_tokens": 50}


@pytest.fixture(scope="module")
def url(tiny_gpt2):
    with serving(open_tiny(tiny_gpt2)) as served, listening(served) as url:
        yield url


@pytest.fixture(scope="module")
def impatient(tiny_gpt2):
    """URL of a server that does not wait long for its clients."""
    limits = Limits(read_timeout=0.3)
    with serving(open_tiny(tiny_gpt2), limits) as served, listening(served) as url:
        yield url


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
def test_what_is_not_http_gets_one_json_error(url, content):
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


def test_a_client_that_does_not_finish_its_body_is_told(impatient):
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


def test_connections_beyond_the_limit_are_refused(tiny_gpt2):
    limits = Limits(max_connections=2)
    with serving(open_tiny(tiny_gpt2), limits) as served, listening(served) as url:
        connections = [raw(url) for _ in range(limits.max_connections)]
        refused = httpx2.get(f"{url}/health")
        assert refused.status_code == 503
        assert refused.json()["error"]["code"] == "too_many_connections"
        for connection in connections:
            connection.close()
        eventually(lambda: httpx2.get(f"{url}/health").status_code == 200)


def test_requests_that_come_at_once_are_answered_one_by_one(url):
    texts = [("The ferry", 3), ("A man", 5), ("Who opened", 2)]
    requests = [post({"prompt": t, "max_tokens": n, "min_tokens": n}) for t, n in texts]
    last = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    with raw(url) as connection:
        connection.sendall(b"".join([*requests, last]))
        received = read_all(connection)
    assert received.count(b"HTTP/1.1 200 OK") == 4
    order = [received.index(f'"completion_tokens":{number}'.encode()) for _, number in texts]
    assert order == sorted(order)
    assert received.endswith(b'{"status":"ok"}')


def test_a_client_that_does_not_read_its_answers_is_disconnected(impatient, monkeypatch):
    """Its answers are more than the operating system holds for a connection."""
    lost, connection_lost = [], Connection.connection_lost

    def note(connection, error):
        lost.append(connection.client)
        connection_lost(connection, error)

    monkeypatch.setattr(Connection, "connection_lost", note)
    with raw(impatient) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 2000)
        eventually(lambda: connection.getsockname() in lost)
        received = read_all(connection)
    assert received.startswith(b"HTTP/1.1 200 OK")
    assert received.count(b"HTTP/1.1 200 OK") < 2000
