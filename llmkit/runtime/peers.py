"""Control connections between the processes of a run, separate from those that exchange tensors.

The connection of a process closes when the process dies, whatever the cause, so the others exit
within seconds instead of waiting in a collective; NCCL may not detect the loss at all. A stop
request to any process reaches all of them, even while they wait in a collective.
"""

import os
import secrets
import selectors
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from llmkit.errors import UserError
from llmkit.runtime.ranks import is_rank_zero, num_processes, whole_number
from llmkit.runtime.rendezvous import from_first_process
from llmkit.runtime.signals import Signals

CONNECT_SECONDS = 300.0  # libraries may load slowly
GRACE_SECONDS = 8.0  # in which the main thread may exit with the error of the broken collective
GOODBYE, LOST = 0, 255  # one-byte messages; all others are signal numbers
# A machine that loses power or network closes no connection: the system probes it after 30 s
# without traffic, and considers it lost after another 30 s.
KEEP_ALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 6}


class Peers:
    """The connections of this process: from the first process to all others, from each other
    process to the first.

    All processes of the run have to create one at the same time.
    """

    def __init__(self, signals: Signals, advice: Callable[[], str]) -> None:
        """
        Args:
            signals: Receives the stop requests of other processes, and sends those of this one.
            advice: Returns the end of the message that reports the death of another process.
        """
        self.signals, self.advice = signals, advice
        self.sockets = connect() if num_processes() > 1 else []
        self.departed: set[socket.socket] = set()
        if self.sockets:
            signals.forward = self.send
            self.thread = threading.Thread(target=self._listen, daemon=True)
            self.thread.start()

    def send(self, message: int, except_for: socket.socket | None = None) -> None:
        """Send a message to all connected processes."""
        for peer in self.sockets:
            if peer is not except_for:
                with suppress(OSError):  # it has ended
                    peer.sendall(bytes([message]))

    def say_goodbye(self) -> None:
        """Tell the others that this process is about to exit, which is no failure."""
        self.signals.forward = None
        self.departed.update(self.sockets)
        self.send(GOODBYE)
        for peer in self.sockets:
            with suppress(OSError):
                peer.shutdown(socket.SHUT_WR)

    def _listen(self) -> None:
        with selectors.DefaultSelector() as selector:
            for peer in self.sockets:
                selector.register(peer, selectors.EVENT_READ)
            while selector.get_map():
                for key, _ in selector.select():
                    if not self._receive(key.fileobj):
                        selector.unregister(key.fileobj)
                        key.fileobj.close()

    def _receive(self, peer: socket.socket) -> bool:
        """Handle the messages of another process; returns whether it is still connected."""
        try:
            messages = peer.recv(64)
        except OSError:
            messages = b""
        if not messages and peer not in self.departed:
            self._end(is_told=False)
        for message in messages:
            if message == GOODBYE:
                self.departed.add(peer)
            elif message == LOST:
                self._end(is_told=True)
            else:
                self.signals.request(message)
                if is_rank_zero():
                    self.send(message, except_for=peer)
        return bool(messages)

    def _end(self, is_told: bool) -> None:
        """Exit because another process has died; the process that noticed it first prints a
        message."""
        self.send(LOST)
        time.sleep(GRACE_SECONDS)
        if not is_told:
            text = f"llmkit: another process of this run has ended{self.advice()}\n"
            os.write(2, text.encode())
        os._exit(1)


def connect() -> list[socket.socket]:
    """Connect this process to the others; returns the sockets.

    Raises:
        UserError: If a connection fails, because a process has exited or a firewall blocks it.
    """
    server = socket.create_server(("", 0)) if is_rank_zero() else None
    port, token = from_first_process(
        lambda: (server.getsockname()[1], secrets.token_hex(16)), tuple[int, str]
    )
    token = bytes.fromhex(token)
    if server is not None:
        with server:
            peers = accept(server, token, num_processes() - 1)
    else:
        peers = [call_first_process(port, token)]
    for peer in peers:
        peer.settimeout(None)
        keep_alive(peer)
    return peers


def call_first_process(port: int, token: bytes) -> socket.socket:
    """Connect to the first process, and identify this one by the token and its rank."""
    address = os.environ["MASTER_ADDR"]
    try:
        peer = socket.create_connection((address, port), timeout=CONNECT_SECONDS)
        peer.sendall(token + whole_number("RANK").to_bytes(4, "big"))
    except OSError as error:
        raise UserError(
            f"MASTER_ADDR: cannot connect to port {port} of {address} ({error.strerror}); open "
            "all ports between the machines of a run"
        ) from None
    return peer


def accept(server: socket.socket, token: bytes, expected: int) -> list[socket.socket]:
    """Accept the connections of the other processes, which send the token and their rank."""
    deadline = time.monotonic() + CONNECT_SECONDS
    peers: dict[bytes, socket.socket] = {}
    while len(peers) < expected:
        server.settimeout(max(0.01, deadline - time.monotonic()))
        try:
            peer, _ = server.accept()
        except TimeoutError:
            raise UserError(
                f"{expected - len(peers)} of {expected + 1} processes have not connected to port "
                f"{server.getsockname()[1]} of the first one: they have exited, or a firewall "
                "blocks them; check their output, and open all ports between the machines"
            ) from None
        peer.settimeout(CONNECT_SECONDS)
        greeting = b""
        with suppress(OSError):
            greeting = peer.recv(len(token) + 4, socket.MSG_WAITALL)
        if secrets.compare_digest(greeting[: len(token)], token):
            peers[greeting] = peer
        else:
            peer.close()
    return list(peers.values())


def keep_alive(peer: socket.socket) -> None:
    """Have the system detect a machine that disappears without closing the connection."""
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEP_ALIVE.items():
        if hasattr(socket, name):  # Linux
            peer.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
