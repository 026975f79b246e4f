"""In processes of the tests, and, on their PYTHONPATH, in those they start: no connection leaves
this machine, and one that would is written down in $LLMKIT_TEST_OUTWARD."""

import os
import socket
import sys

HERE = ("", "127.0.0.1", "::1", "0.0.0.0", "localhost", socket.gethostname())


def _watch(event: str, arguments: tuple) -> None:
    if event in ("socket.connect", "socket.sendto"):
        address = arguments[1]
    elif event == "socket.getaddrinfo":
        address = arguments[:2]
    else:
        return
    if isinstance(address, tuple) and address[0] not in (None, *HERE):
        with open(os.environ["LLMKIT_TEST_OUTWARD"], "a", encoding="utf-8") as file:
            file.write(f"{address}\n")
        raise OSError(f"the network is blocked in tests: {address}")


sys.addaudithook(_watch)
