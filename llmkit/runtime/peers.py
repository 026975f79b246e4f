"""Connections between the processes of a run, apart from those that exchange tensors.

A process that dies closes its connection, whatever killed it, so the others end within seconds
instead of waiting for it in an exchange: NCCL may notice nothing at all. A stop request of any
process reaches all of them, wherever they wait.
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
GRACE_SECONDS = 8.0  # for the main thread to end by the error of the exchange that broke
GOODBYE, LOST = 0, 255  # messages of one byte; all others are numbers of signals
# A machine that has lost its power or its network closes no connection: it is asked after 30 s of
# silence, and given up after another 30 s.
KEEP_ALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 6}


class Peers:
    """The connections of this process: of the first one to all others, of each other to the first.

    Every process of the run makes one at the same time.
    """

    def __init__(self, signals: Signals, advice: Callable[[], str]) -> None:
        """
        Args:
            signals: Where stop requests of other processes go, and from where they are sent.
            advice: The end of the message if another process has died.
        """
        self.signals, self.advice = signals, advice
        self.sockets = connect() if num_processes() > 1 else []
        self.departed: set[socket.socket] = set()
        if self.sockets:
            signals.forward = self.send
            self.thread = threading.Thread(target=self._listen, daemon=True)
            self.thread.start()

    def send(self, message: int, besides: socket.socket | None = None) -> None:
        """Send a message to all connected processes."""
        for peer in self.sockets:
            if peer is not besides:
                with suppress(OSError):  # it has ended
                    peer.sendall(bytes([message]))

    def say_goodbye(self) -> None:
        """Tell the others that this process may end now, and let them end, too."""
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
        """Obey the messages of another process; returns whether it is still connected."""
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
                    self.send(message, besides=peer)
        return bool(messages)

    def _end(self, is_told: bool) -> None:
        """End this process, since another one has died; the first to notice it says so."""
        self.send(LOST)
        time.sleep(GRACE_SECONDS)
        if not is_told:
            text = f"llmkit: another process of this run has ended{self.advice()}\n"
            os.write(2, text.encode())
        os._exit(1)


def connect() -> list[socket.socket]:
    """The connections of this process.

    Raises:
        UserError: If there is none, as a process has ended or a firewall is between them.
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
    """The connection to the first process, which expects the token."""
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
    """The connections of the other processes, which show the token and their rank."""
    deadline = time.monotonic() + CONNECT_SECONDS
    peers: dict[bytes, socket.socket] = {}
    while len(peers) < expected:
        server.settimeout(max(0.01, deadline - time.monotonic()))
        try:
            peer, _ = server.accept()
        except TimeoutError:
            raise UserError(
                f"{expected - len(peers)} of {expected + 1} processes have not connected to port "
                f"{server.getsockname()[1]} of the first one: they have ended, or a firewall is "
                "between them; look at their output, and open all ports between the machines"
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
    """Have the system notice a machine that has gone without closing the connection."""
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEP_ALIVE.items():
        if hasattr(socket, name):  # Linux
            peer.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
