"""Failures in the engine's thread: what ends with an error, and what goes on."""

import threading
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest
from jobs import end_of, long_requests, requests, run, start, submit, texts_alone, texts_of
from served import error_of, eventually, listening, one_step, open_tiny, serving

from llmkit.config.generation import Generation
from llmkit.errors import UserError
from llmkit.generation.request import Request
from llmkit.serving import engine_thread
from llmkit.serving.engine_thread import EngineThread, Job

BODY = {"prompt": "The", "max_tokens": 50}


@pytest.mark.parametrize("position", range(3))
def test_a_request_that_the_engine_refuses_ends_its_job_alone(session, engine, position):
    good_requests, with_mistake = requests(session, 2, 1), requests(session, 3)
    with_mistake[position] = Request([5] * 125, Generation(max_new_tokens=10))

    async def submit_both():
        good, refused = Job(good_requests), Job(with_mistake)
        await submit(engine, good, refused)
        return good, refused

    good, refused = run(submit_both())
    assert isinstance(refused.error, UserError)
    assert "exceed" in str(refused.error)
    assert not refused.is_started
    assert texts_of(good) == texts_alone(session, good_requests)


def test_a_request_that_fails_in_the_engine_ends_its_job_alone(
    session, engine, monkeypatch, caplog
):
    good_requests, bad_requests = requests(session, 2, 1), requests(session, 2)
    add = engine._engine.add

    def fail_for_one(request):
        if request is bad_requests[1]:
            raise RuntimeError("out of memory for /secret/path")
        return add(request)

    monkeypatch.setattr(engine._engine, "add", fail_for_one)

    async def submit_both():
        good, failed = Job(good_requests), Job(bad_requests)
        await submit(engine, good, failed)
        return good, failed

    good, failed = run(submit_both())
    assert (failed.error.status, failed.error.code) == (500, "internal_error")
    assert "secret" not in str(failed.error)
    assert "could not be added" in caplog.text
    assert texts_of(good) == texts_alone(session, good_requests)


def test_a_failure_of_the_engine_ends_requests_but_not_the_server(tiny_gpt2, caplog):
    def fail():
        raise RuntimeError("no memory for /secret/path")

    with serving(open_tiny(tiny_gpt2)) as served:
        served.service.engine._engine.step = fail
        failed = served.complete(**BODY)
        assert failed.status_code == 500
        assert error_of(failed)["type"] == "server_error"
        assert "secret" not in failed.text
        assert "the engine failed" in caplog.text
        assert served.complete(**BODY).status_code == 200


def test_a_message_that_fails_ends_requests_but_not_the_thread(session, engine):
    def fail(_):
        raise RuntimeError("the device is gone")

    good_requests = requests(session, 2, 1)

    async def cancel():
        job = Job(long_requests(session, 2))
        with one_step(engine):
            await start(engine, job)
            engine._engine.cancel = fail
            engine.cancel(job)
        await end_of(job)
        good = Job(good_requests)
        await submit(engine, good)
        return job, good

    failed, good = run(cancel())
    assert failed.error.code == "internal_error"
    assert texts_of(good) == texts_alone(session, good_requests)


@pytest.mark.parametrize("part", ["packed_linear_layers", "Engine"])
def test_a_thread_that_cannot_start_raises_what_it_met(tiny_gpt2, monkeypatch, part):
    def fail(*_):
        raise MemoryError("no room")

    monkeypatch.setattr(engine_thread, part, fail)
    engine = EngineThread(open_tiny(tiny_gpt2), 2)
    with ThreadPoolExecutor(1) as pool, pytest.raises(MemoryError, match="no room"):
        pool.submit(engine.start).result(timeout=300)
    engine._thread.join()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_requests_of_an_engine_that_cannot_go_on_are_told(tiny_gpt2, monkeypatch):
    """Also those that it had not taken yet, and those that come after its end."""
    is_reopening, may_fail = threading.Event(), threading.Event()

    def reopen(_):
        is_reopening.set()
        may_fail.wait()
        raise MemoryError("no room")

    with (
        serving(open_tiny(tiny_gpt2)) as served,
        listening(served) as url,
        ThreadPoolExecutor(2) as pool,
    ):
        with one_step(served.service.engine):
            first = pool.submit(httpx2.post, f"{url}/v1/completions", json=BODY, timeout=60)
            eventually(lambda: served.service.jobs)
            monkeypatch.setattr(EngineThread, "_open_engine", reopen)
            monkeypatch.setattr(served.service.engine, "_report", None)  # the next step fails
        is_reopening.wait()
        second = pool.submit(httpx2.post, f"{url}/v1/completions", json=BODY, timeout=60)
        eventually(lambda: len(served.service.jobs) == 1 and first.done())
        may_fail.set()
        assert first.result().status_code == 500
        assert second.result().status_code == 503
        assert error_of(second.result())["code"] == "engine_failed"
        third = served.complete("The")
        assert third.status_code == 503
        assert error_of(third)["code"] == "engine_failed"
