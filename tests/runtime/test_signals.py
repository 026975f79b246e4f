"""Stop and save requests: when they take effect."""

import os
import queue
import signal

import pytest

from llmkit.runtime.signals import Interrupts, Signals, Stopped


def send(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize(
    ("number", "message", "exit_code"),
    [(signal.SIGINT, "stopped by Ctrl-C", 130), (signal.SIGTERM, "stopped by SIGTERM", 143)],
)
def test_a_stop_request_raises_with_its_exit_code(number, message, exit_code):
    with Signals(), pytest.raises(Stopped) as stopped:
        send(number)
    assert (str(stopped.value), stopped.value.exit_code) == (message, exit_code)
    assert not isinstance(stopped.value, Exception)


def test_a_deferred_stop_request_waits_to_be_polled():
    with Signals() as signals:
        with signals.deferred():
            send(signal.SIGTERM)
            assert signals.stop == signal.SIGTERM
        with pytest.raises(Stopped):
            signals.raise_if_stopped()


def test_a_part_of_a_deferred_context_can_be_interrupted():
    with Signals() as signals, signals.deferred():
        with pytest.raises(Stopped), signals.at_once():
            send(signal.SIGTERM)
        assert signals.stop == signal.SIGTERM


def test_sigusr1_requests_a_save_and_stops_nothing():
    with Signals() as signals:
        send(signal.SIGUSR1)
        assert signals.wants_save
        assert signals.stop is None


@pytest.fixture
def one_of_two(monkeypatch):
    """The requests of one of two processes, deferred, and those that it has passed on."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    with Signals() as signals, signals.deferred():
        passed_on = queue.SimpleQueue()
        signals.forward = passed_on.put
        yield signals, passed_on


def test_a_stop_request_is_passed_on_to_the_other_processes(one_of_two):
    signals, passed_on = one_of_two
    send(signal.SIGTERM)
    assert passed_on.get(timeout=60) == signal.SIGTERM
    assert signals.stop == signal.SIGTERM


def test_a_signal_that_launcher_and_terminal_both_send_is_one_request(one_of_two):
    signals, passed_on = one_of_two
    send(signal.SIGINT)
    send(signal.SIGTERM)
    assert passed_on.get(timeout=60) == signal.SIGINT
    assert signals.stop == signal.SIGINT


def test_a_request_of_another_process_is_not_passed_back(one_of_two):
    signals, passed_on = one_of_two
    signals.request(signal.SIGTERM)
    signals.request(signal.SIGTERM)
    assert signals.stop == signal.SIGTERM
    send(signal.SIGTERM)  # from outside, for the first time
    assert passed_on.get(timeout=60) == signal.SIGTERM
    assert passed_on.empty()


def test_the_previous_handlers_are_restored():
    before = signal.getsignal(signal.SIGTERM)
    with Signals():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before


def test_ctrl_c_raises_while_an_interactive_program_reads():
    interrupts, before = Interrupts(), signal.getsignal(signal.SIGINT)
    with interrupts.handled():
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt), interrupts.reading():
                send(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):  # the second one at a prompt
            send(signal.SIGINT)
        assert not interrupts.was_pressed
    assert signal.getsignal(signal.SIGINT) is before


def test_the_first_ctrl_c_is_noted_and_the_second_raises_while_an_interactive_program_works():
    interrupts = Interrupts()
    with interrupts.handled():
        for _ in range(2):
            with interrupts.reading():
                pass
            assert not interrupts.was_pressed
            send(signal.SIGINT)
            assert interrupts.was_pressed
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)
