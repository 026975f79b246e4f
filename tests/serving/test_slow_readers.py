"""Clients that stop reading their stream do not keep their place in the batch, nor memory."""

import gc
import re
import socket
import weakref
from dataclasses import replace

import httpx2
from served import eventually, listening, open_tiny, post, read_all, serving

from llmkit.serving.connection import Connection
from llmkit.serving.engine_thread import Job
from llmkit.serving.security import Limits

NUM_COMPLETIONS, NUM_TOKENS = 1000, 100
BODY = {
    "prompt": ["The ferry"] * NUM_COMPLETIONS, "stream": True,
    "max_tokens": NUM_TOKENS, "min_tokens": NUM_TOKENS,
}  # fmt: skip
BUFFER_BYTES = 4096  # of the operating system, on each side
MIN_STREAM_BYTES = 100 * NUM_COMPLETIONS * NUM_TOKENS
DONE = b"data: [DONE]"


def start_stream(url: str) -> socket.socket:
    """Request the stream, and read nothing of it."""
    host, port = url.removeprefix("http://").split(":")
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
    connection.settimeout(60)
    connection.connect((host, int(port)))
    connection.sendall(post(BODY))
    return connection


def submitted_jobs(served) -> list[Job]:
    """A list that gets every job that the engine gets."""
    jobs, submit = [], served.service.engine.submit

    def note(job):
        jobs.append(job)
        submit(job)

    served.service.engine.submit = note
    return jobs


def num_ended(url: str) -> float:
    """Number of requests for completions that have ended."""
    text = httpx2.get(f"{url}/metrics").text
    found = re.search(r'llmkit_request_seconds_count{path="/v1/completions"} (\S+)', text)
    return float(found[1]) if found else 0.0


def read_late(url: str) -> bytes:
    """What the server sends to a client that reads nothing until its request has ended."""
    num_before = num_ended(url)
    with start_stream(url) as connection:
        eventually(lambda: num_ended(url) > num_before)
        return read_all(connection)


def is_complete(job) -> bool:
    return all(c.finish_reason in ("stop", "length") for c in job.completions)


def is_forgotten(reference: weakref.ref) -> bool:
    gc.collect()
    return reference() is None


def test_a_client_that_stops_reading_its_stream_loses_its_place(tiny_gpt2, monkeypatch):
    unsent, close_if_stalled = [], Connection._close_if_stalled

    def note(connection):
        unsent.append(connection.transport.get_write_buffer_size())
        close_if_stalled(connection)

    monkeypatch.setattr(Connection, "_close_if_stalled", note)
    limits = Limits(read_timeout=0.2, max_queue=NUM_COMPLETIONS)
    with (
        serving(open_tiny(tiny_gpt2), limits) as served,
        listening(served, send_buffer=BUFFER_BYTES) as url,
    ):
        jobs = submitted_jobs(served)
        connection = start_stream(url)
        eventually(lambda: jobs)
        # Waits behind all completions of the stream.
        other = httpx2.post(
            f"{url}/v1/completions", json={"prompt": "Who", "max_tokens": 2}, timeout=None
        )
        assert other.status_code == 200
        assert not is_complete(jobs[0])
        eventually(lambda: not served.service.jobs)
        engine = served.service.engine
        eventually(lambda: not engine.num_running and not engine.num_waiting)
        reference = weakref.ref(jobs[0])
        jobs.clear()
        eventually(lambda: is_forgotten(reference))
        with connection:
            assert DONE not in read_all(connection)
    assert 0 < max(unsent) < MIN_STREAM_BYTES / 10


def test_a_client_that_reads_too_slowly_is_given_up(tiny_gpt2, monkeypatch):
    """The time for a whole response is limited as well, for clients that make some progress between
    two checks of the connection."""
    monkeypatch.setattr(Connection, "_close_if_stalled", lambda connection: None)
    limits = Limits(timeout=0.2, read_timeout=0.2, max_queue=NUM_COMPLETIONS)
    with (
        serving(open_tiny(tiny_gpt2), limits) as served,
        listening(served, send_buffer=BUFFER_BYTES) as url,
    ):
        jobs, received = submitted_jobs(served), b"HTTP/1.1 504 "
        while received.startswith(b"HTTP/1.1 504 "):  # its time was over before the first token
            served.service.limits = limits = replace(limits, timeout=2 * limits.timeout)
            received = read_late(url)
            assert not served.service.jobs
        assert received.startswith(b"HTTP/1.1 200 OK")
        assert DONE not in received
        assert not is_complete(jobs[-1])
        assert served.complete("Who", max_tokens=2).status_code == 200
