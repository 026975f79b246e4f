"""Connections between processes: they end together, and stop together."""

import signal
import socket
import threading

import pytest
from runs import HELPERS

from llmkit.errors import UserError
from llmkit.runtime import peers
from llmkit.runtime.peers import Peers, accept
from llmkit.runtime.signals import Signals

LOST = "llmkit: another process of this run has ended; run it again\n"


@pytest.fixture
def waiting(fork_server, tmp_path):
    """Three processes that wait for each other."""
    ranks = fork_server.start_ranks(
        3, (0.1,), 0, cwd=tmp_path, program=str(HELPERS / "waiting_process.py")
    )
    for rank in ranks:
        assert rank.stdout.readline() == "waiting\n", rank.stderr
    return ranks


@pytest.mark.parametrize("victim", [0, 2])
def test_a_process_that_dies_takes_those_that_wait_for_it_with_it(waiting, victim):
    waiting[victim].kill()
    errors = [rank.communicate()[1] for rank in waiting]
    assert waiting[victim].returncode == -signal.SIGKILL
    assert {rank.returncode for rank in waiting} == {1, -signal.SIGKILL}
    told = [error for error in errors if error]
    assert set(told) == {LOST}
    if victim:
        assert errors == [LOST, "", ""]


@pytest.mark.parametrize("asked", [0, 1])
def test_a_stop_request_reaches_processes_that_wait_for_each_other(waiting, asked):
    waiting[asked].terminate()
    errors = [rank.communicate()[1] for rank in waiting]
    assert [rank.returncode for rank in waiting] == [143] * 3, errors
    assert errors == ["llmkit: stopped by SIGTERM\n", "", ""]


def test_a_single_process_has_no_connections():
    alone = Peers(Signals(), lambda: "")
    assert alone.sockets == []
    alone.say_goodbye()


def test_strangers_are_sent_away_and_missing_processes_are_named(monkeypatch):
    token = bytes(range(16))
    with socket.create_server(("127.0.0.1", 0)) as server:
        callers = [socket.create_connection(server.getsockname()) for _ in range(2)]
        callers[0].sendall(bytes(20))
        callers[1].sendall(token + bytes(4))
        (peer,) = accept(server, token, 1)
        peer.sendall(b"x")
        assert (callers[0].recv(1), callers[1].recv(1)) == (b"", b"x")
        monkeypatch.setattr(peers, "CONNECT_SECONDS", 0.0)
        with pytest.raises(UserError, match="2 of 3 processes have not connected to port"):
            accept(server, token, 2)
        for each in (*callers, peer):
            each.close()


def test_processes_that_say_goodbye_end_one_after_the_other(monkeypatch):
    ours, theirs = socket.socketpair()
    monkeypatch.setattr(peers, "num_processes", lambda: 2)
    monkeypatch.setattr(peers, "connect", lambda: [ours])
    ended = threading.Event()
    monkeypatch.setattr(Peers, "_end", lambda *_, **__: ended.set())
    signals = Signals()
    ours_is = Peers(signals, lambda: "")
    assert signals.forward == ours_is.send
    theirs.sendall(bytes([peers.GOODBYE]))
    theirs.close()
    ours_is.thread.join()
    assert not ended.is_set()
