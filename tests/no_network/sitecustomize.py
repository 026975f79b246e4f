"""Put on PYTHONPATH of the processes that tests start: connections leave this machine never."""

import socket

_connect = socket.socket.connect


def _connect_here(self: socket.socket, address: object) -> None:
    if isinstance(address, tuple) and address[0] not in ("127.0.0.1", "::1", "localhost"):
        raise OSError(f"the network is blocked in tests: {address}")
    return _connect(self, address)


socket.socket.connect = _connect_here
