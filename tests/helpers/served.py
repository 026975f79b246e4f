"""Models that are served: in the test's process, and by a real server in a thread."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from starlette.testclient import TestClient

from llmkit.config.generation import Generation
from llmkit.data.answers import encode_labels
from llmkit.generation.session import GenerationSession, open_session
from llmkit.runtime.console import make_console
from llmkit.runtime.signals import Signals
from llmkit.serving.app import Service, make_app
from llmkit.serving.engine_thread import EngineThread
from llmkit.serving.security import Access, Limits
from llmkit.serving.server import listen, run, url_of
from llmkit.tasks import TASKS

LOCAL, DEFAULTS = Access("127.0.0.1", None), Limits()


def open_tiny(model: Path, task: str = "pretrain", labels: tuple[str, ...] = (), **keys):
    """A session with a tiny model, as if a run of the task had trained it.

    keys: Of the section `generation`.
    """
    session = open_session(str(model), (), {}, 0, make_console(stderr=True, quiet=True))
    return as_run_of(session, task, labels, **keys)


def as_run_of(session: GenerationSession, task: str, labels: tuple[str, ...] = (), **keys):
    """The session as if a run of the task had trained its model."""
    generation = Generation(**{"max_new_tokens": 8, **keys})
    return replace(
        session,
        task=TASKS[task],
        generation=generation,
        labels=encode_labels(list(labels), session.tokenizer) if labels else {},
    )


@dataclass
class Served:
    """A service and a client of it."""

    service: Service
    client: TestClient

    @property
    def session(self) -> GenerationSession:
        return self.service.session

    def complete(self, prompt, **body):
        return self.client.post("/v1/completions", json={"prompt": prompt, **body})

    def chat(self, *messages, **body):
        """messages: Pairs of role and content, or the content of one user message."""
        pairs = [("user", m) if isinstance(m, str) else m for m in messages]
        fields = {"messages": [{"role": role, "content": content} for role, content in pairs]}
        return self.client.post("/v1/chat/completions", json={**fields, **body})


@contextmanager
def serving(
    session: GenerationSession, limits: Limits = DEFAULTS, access: Access = LOCAL, max_rows: int = 4
) -> Iterator[Served]:
    """Serve a session in this process, without a socket."""
    engine = EngineThread(session, max_rows)
    engine.start()
    service = Service(session, "tiny", engine, limits)
    app = make_app(service, access, session.console)
    try:
        yield Served(service, TestClient(app, base_url="http://127.0.0.1:8000"))
    finally:
        engine.stop()


@contextmanager
def listening(
    served: Served, access: Access = LOCAL, send_buffer: int | None = None
) -> Iterator[str]:
    """Run a real server for a service in a thread; yields its URL.

    send_buffer: Bytes per connection that the operating system holds; None: as many as it chooses.
    """
    listener, signals = listen("127.0.0.1", 0), Signals()
    if send_buffer is not None:  # connections inherit it
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
    app = make_app(served.service, access, served.session.console)
    thread = threading.Thread(target=run, args=(app, served.service, listener, signals))
    thread.start()
    try:
        yield url_of(listener)
    finally:
        signals.stop = 15
        thread.join()
        served.service.is_draining = False


def raw(url: str) -> socket.socket:
    """A connection of its own to a server."""
    host, port = url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=60)


def read_all(connection: socket.socket) -> bytes:
    """Read everything that the server sends until it closes the connection."""
    received = b""
    try:
        while chunk := connection.recv(4096):
            received += chunk
    except ConnectionResetError:
        pass
    return received


def post(body: dict) -> bytes:
    """The bytes of a request for a completion."""
    content = json.dumps(body).encode()
    head = (
        "POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


def error_of(response) -> dict:
    """The error object of an answer, after a check of its form."""
    assert response.headers["content-type"] == "application/json"
    (error,) = response.json().values()
    assert list(error) == ["message", "type", "param", "code"]
    assert error["message"].isprintable()
    assert len(error["message"]) < 500
    return error


def eventually(condition) -> None:
    """Wait until the server's threads have come that far."""
    while not condition():
        time.sleep(0.005)


@contextmanager
def one_step(engine_thread: EngineThread) -> Iterator[None]:
    """The engine does one step and then waits until the block ends."""
    engine, gate = engine_thread._engine, threading.Event()
    step, steps = engine.step, []

    def step_once():
        if steps:
            gate.wait()
        steps.append(1)
        return step()

    engine.step = step_once
    try:
        yield
    finally:
        del engine.step
        gate.set()
