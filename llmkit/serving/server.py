"""Starting the server, and shutting it down gracefully."""

import errno
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import uvicorn
from rich.console import Console

from llmkit.errors import UserError, count_of
from llmkit.generation.session import default_model, open_session
from llmkit.runs.find import resolve_model
from llmkit.runtime.signals import Signals, Stopped
from llmkit.serving.app import Service, log, make_app
from llmkit.serving.connection import Connection
from llmkit.serving.engine_thread import EngineThread
from llmkit.serving.errors import engine_failed, stopping
from llmkit.serving.prepare import check_servable
from llmkit.serving.security import Access, Limits

REASONS = {
    errno.EADDRINUSE: "this port is in use; choose another --port",
    errno.EADDRNOTAVAIL: "this machine has no such address; choose another --host",
    errno.EACCES: "this port is reserved; choose a --port from 1024 on",
}


class Server(uvicorn.Server):
    """uvicorn's server, except that a signal lets running requests finish first.

    Meanwhile it still listens, and rejects new requests with an error.
    """

    def __init__(self, config: uvicorn.Config, service: Service, signals: Signals) -> None:
        super().__init__(config)
        self._service, self._signals = service, signals
        self._console = service.session.console
        self._stop_at: float | None = None

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # handled by `Signals`

    async def on_tick(self, counter: int) -> bool:
        """Returns whether to stop; called ten times per second."""
        service = self._service
        if not service.engine.is_alive:
            service.fail_jobs(engine_failed())
            return True
        if self._signals.stop is not None and self._stop_at is None:
            service.is_draining = True
            self._stop_at = time.monotonic() + service.limits.grace
            count = count_of(len(service.jobs), "request")
            log(self._console, f"finishing {count}; a second signal exits immediately")
        if self._stop_at is not None:
            if time.monotonic() > self._stop_at:
                service.fail_jobs(stopping())
                return True
            if not service.jobs:
                return True
        return await super().on_tick(counter)


def serve(
    model: str | None,
    overrides: tuple[str, ...],
    access: Access,
    port: int,
    limits: Limits,
    max_rows: int | None,
    console: Console,
) -> None:
    """Serve a model or run until SIGTERM or Ctrl-C.

    Args:
        model: As in `open_session`.
        overrides: KEY=VALUE for keys of the run's recipe.
        port: Port to listen on; 0: any free port.
        max_rows: Maximum number of concurrent completions; None: evaluation.batch_size of the
            recipe.
        console: Console for the request log.

    Raises:
        UserError: If the address is not available, or the model or its decoding settings cannot be
            served.
        Stopped: After Ctrl-C.
        RuntimeError: If the engine failed and could not be restarted.
    """
    listener = listen(access.host, port)
    with listener, Signals() as signals:
        model = default_model() if model is None else model
        session = open_session(model, overrides, {}, 0, console)
        if not session.labels:
            check_servable(session.generation)
        engine = EngineThread(session, max_rows or session.batch_size)
        engine.start()
        service = Service(session, served_name(model), engine, limits)
        app = make_app(service, access, console)
        with signals.deferred():
            log(console, f"serving {service.name} at {url_of(listener)}; press Ctrl-C to stop")
            run(app, service, listener, signals)
            if not engine.is_alive:
                raise RuntimeError("the engine has failed")
            engine.stop()
    if signals.stop is not None and Stopped(signals.stop).name == "Ctrl-C":
        raise Stopped(signals.stop)


def run(app, service: Service, listener: socket.socket, signals: Signals) -> None:
    """Run an ASGI application on a listening socket until a signal stops it."""
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # only failures of the server
    config = uvicorn.Config(
        app,
        http=partial(Connection, limits=service.limits),
        loop="asyncio",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=5,
    )
    Server(config, service, signals).run(sockets=[listener])


def listen(host: str, port: int) -> socket.socket:
    """Open a listening socket; raises UserError if the address is invalid or in use.

    Call it before loading the model, so that a port in use is reported immediately.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (socket.gaierror, UnicodeError):
        raise UserError(f"--host: {host!r} is not an address of this machine") from None
    listener = socket.socket(family, kind, protocol)
    if os.name == "posix":
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen()
    except OSError as error:
        listener.close()
        reason = REASONS.get(error.errno, error.strerror)
        raise UserError(f"{host}:{port}: {reason}") from None
    return listener


def url_of(listener: socket.socket) -> str:
    host, port, *_ = listener.getsockname()
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def served_name(model: str) -> str:
    """Name of a model in the API: that of its run or folder, or its hub id."""
    _, run = resolve_model(model)
    path = run or Path(model)
    return path.resolve().name if path.is_dir() else model
