"""HTTP connections with read timeouts, a connection limit, and errors in OpenAI's format."""

import asyncio
import json
from typing import Any

import h11
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from llmkit.serving.errors import ApiError, retryable_error
from llmkit.serving.security import Limits


class Connection(H11Protocol):
    """uvicorn's connection with limits that uvicorn lacks: timeouts for sending the request header
    and for reading the response, and a maximum number of connections."""

    def __init__(self, *arguments: Any, limits: Limits, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._limits = limits
        self._check: asyncio.TimerHandle | None = None
        self._seen: tuple[Any, ...] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        most = self._limits.max_connections
        if len(self.connections) > 2 * most:
            transport.abort()
            return
        if len(self.connections) > most:
            self.app = refuse_connection
        self._close_if_stalled()

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        if self._check is not None:
            self._check.cancel()

    def data_received(self, data: bytes) -> None:
        try:
            super().data_received(data)
        except h11.ProtocolError:  # invalid HTTP after the response has begun
            self.transport.abort()

    def send_400_response(self, message: str) -> None:
        content = json.dumps(ApiError(400, message.lower().rstrip(".")).content).encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(content)).encode()),
            (b"connection", b"close"),
        ]
        for event in (
            h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
            h11.Data(data=content),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event))
        self.transport.close()

    def _close_if_stalled(self) -> None:
        """Close the connection if the client made no progress since the last check, in sending a
        request or in reading the response; otherwise schedule the next check."""
        num_unsent = self.transport.get_write_buffer_size()
        is_clients_turn = self.cycle is None or self.cycle.response_complete
        state = (self.cycle, is_clients_turn, num_unsent)
        if state == self._seen and (is_clients_turn or num_unsent):
            self.transport.abort()
            return
        self._seen = state
        self._check = self.loop.call_later(self._limits.read_timeout, self._close_if_stalled)


async def refuse_connection(scope: Scope, receive: Receive, send: Send) -> None:
    """ASGI application that answers requests beyond the connection limit with 503."""
    response = retryable_error(503, "too many connections", "too_many_connections").response
    response.headers["connection"] = "close"
    await response(scope, receive, send)
