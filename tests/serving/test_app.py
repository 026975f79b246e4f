"""The service: paths, models, the queue, the time of a request, and clients that leave."""

import errno
import io
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

import httpx2
import pytest
from rich.console import Console
from served import (
    LOCAL,
    error_of,
    eventually,
    listening,
    one_step,
    open_tiny,
    post,
    raw,
    serving,
)
from starlette.testclient import TestClient

from llmkit.serving.app import make_app
from llmkit.serving.security import Access, Limits

BODY = {"prompt": "The", "max_tokens": 50}


@pytest.fixture(scope="module")
def served(tiny_gpt2):
    with serving(open_tiny(tiny_gpt2, "chat"), Limits(max_queue=3), max_rows=1) as served:
        yield served


@pytest.fixture(scope="module")
def url(served):
    with listening(served) as url:
        yield url


@contextmanager
def no_preparation(served):
    """The requests that arrive inside the block are prepared at its end."""
    is_held, gate = threading.Event(), threading.Event()

    def hold():
        is_held.set()
        gate.wait()

    served.service._encoder.submit(hold)
    is_held.wait()
    try:
        yield
    finally:
        gate.set()


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
def test_unknown_paths_and_methods_are_refused(served, method, path, status):
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


def test_a_server_that_stops_refuses_new_requests(served):
    served.service.is_draining = True
    try:
        for response in (served.complete("a"), served.chat("a"), served.client.get("/health")):
            assert response.status_code == 503
            assert error_of(response)["type"] == "server_error"
            assert int(response.headers["retry-after"]) > 0
    finally:
        served.service.is_draining = False


# ---------------------------------------------------------------- clients that leave, and time


def num_answered(served, status: int) -> float:
    return served.service.metrics.requests.labels("/v1/completions", status)._value.get()


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_frees_its_row(served, url, stream):
    num_left = num_answered(served, 499)
    with one_step(served.service.engine):
        with raw(url) as connection:
            connection.sendall(post({**BODY, "stream": stream}))
            eventually(lambda: any(job.is_started for job in list(served.service.jobs)))
            if stream:
                assert connection.recv(100).startswith(b"HTTP/1.1 200 ")
        eventually(lambda: not served.service.jobs)
    eventually(lambda: served.service.engine.num_running == 0)
    eventually(lambda: num_answered(served, 499) == num_left + (not stream))


def test_a_full_queue_is_refused_and_recovers(served, url):
    with one_step(served.service.engine), raw(url) as connection:
        connection.sendall(post({**BODY, "prompt": ["The"] * 4}))
        eventually(lambda: served.service.jobs)
        refused = httpx2.post(f"{url}/v1/completions", json=BODY)
        assert refused.status_code == 429
        assert refused.json()["error"]["code"] == "queue_full"
        assert refused.headers["retry-after"] == "1"
    eventually(lambda: not served.service.jobs)
    assert httpx2.post(f"{url}/v1/completions", json=BODY, timeout=60).status_code == 200


@pytest.mark.parametrize("stream", [True, False])
def test_a_request_without_time_left_ends_with_what_there_is(served, url, stream):
    """It does not wait for the engine, whose step may be long."""
    body = {**BODY, "stream": stream}
    with ThreadPoolExecutor(2) as pool, one_step(served.service.engine):
        running = pool.submit(httpx2.post, f"{url}/v1/completions", json=body, timeout=60)
        eventually(lambda: any(job.is_started for job in list(served.service.jobs)))
        waiting = pool.submit(httpx2.post, f"{url}/v1/completions", json=body, timeout=60)
        eventually(lambda: len(served.service.jobs) == 2)
        for job in list(served.service.jobs):
            job.update_threadsafe(partial(served.service._expire, job))
        assert running.result().status_code == 200
        assert '"finish_reason":"length"' in running.result().text
        assert stream == running.result().text.endswith("data: [DONE]\n\n")
        assert waiting.result().status_code == 504
        assert waiting.result().json()["error"]["code"] == "timeout"
    eventually(lambda: served.service.engine.num_running == 0)


def test_every_request_has_a_time(tiny_gpt2):
    with serving(open_tiny(tiny_gpt2), Limits(timeout=0.001)) as served:
        response = served.complete("The", max_tokens=120)
        assert response.status_code in (200, 504)
        assert not served.service.jobs


def test_a_client_that_leaves_during_the_preparation_leaves_nothing_behind(served, url):
    num_left = num_answered(served, 499)
    with no_preparation(served), raw(url) as connection:
        connection.sendall(post(BODY))
        eventually(lambda: served.service._encoder._work_queue.qsize() == 1)
    eventually(lambda: num_answered(served, 499) == num_left + 1)
    assert not served.service.jobs
    eventually(lambda: served.service.engine.num_running == 0)


def test_the_time_of_a_request_includes_its_preparation(tiny_gpt2):
    with (
        serving(open_tiny(tiny_gpt2), Limits(timeout=0.05)) as served,
        ThreadPoolExecutor(1) as pool,
        no_preparation(served),
    ):
        response = pool.submit(served.complete, "The").result(timeout=120)
        assert response.status_code == 504
        assert error_of(response)["code"] == "timeout"
        assert not served.service.jobs


# ------------------------------------------------------------------------------ the log


def test_the_log_has_a_line_for_each_request_without_any_text_of_it(served):
    log = io.StringIO()
    app = make_app(served.service, Access("127.0.0.1", None), Console(file=log, width=200))
    client = TestClient(app, base_url="http://127.0.0.1:8000")
    client.get("/health?secret")
    client.get("/secret")
    client.post("/v1/completions", json={"prompt": "secret", "max_tokens": 1})
    client.post("/v1/completions", json={"secret": "secret"})
    client.get("/v1/models", headers={"host": "secret"})
    client.request("BREW", "/")
    lines = [line.split() for line in log.getvalue().splitlines()]
    assert [line[:3] for line in lines] == [
        ["GET", "/health", "200"],
        ["GET", "other", "404"],
        ["POST", "/v1/completions", "200"],
        ["POST", "/v1/completions", "400"],
        ["GET", "/v1/models", "403"],
        ["BREW", "/", "405"],
    ]
    assert all(unit == "s" and float(seconds) >= 0 for *_, seconds, unit in lines)
    assert "secret" not in log.getvalue()


def test_a_failure_of_the_server_tells_nothing_of_its_inside(served, monkeypatch):
    def fail(*_):
        raise RuntimeError("/secret/path")

    monkeypatch.setattr(served.service, "_submit", fail)
    num_failed = num_answered(served, 500)
    client = TestClient(
        served.client.app, base_url="http://127.0.0.1:8000", raise_server_exceptions=False
    )
    response = client.post("/v1/completions", json=BODY)
    assert response.status_code == 500
    assert error_of(response)["code"] == "internal_error"
    assert "secret" not in response.text
    assert num_answered(served, 500) == num_failed + 1


@pytest.mark.parametrize("path", ["/", "/health", "/metrics", "/v1/models", "/none"])
def test_no_answer_is_taken_for_another_type_of_content(served, path):
    response = served.client.get(path)
    assert response.headers.get_list("x-content-type-options") == ["nosniff"]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left"), BrokenPipeError()])
def test_a_log_that_cannot_be_written_fails_no_request(served, capsys, monkeypatch, error):
    """As of `llmkit serve 2>&1 | head -1`."""
    log = io.StringIO()

    def fail(text):
        raise error

    monkeypatch.setattr(log, "write", fail)
    app = make_app(served.service, LOCAL, Console(file=log))
    client = TestClient(app, base_url="http://127.0.0.1:8000")
    for _ in range(2):
        assert client.get("/health").status_code == 200
