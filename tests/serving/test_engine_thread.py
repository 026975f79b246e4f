"""The engine's thread: jobs that come, end and are cancelled at any moment."""

import asyncio
import random
import threading
from itertools import pairwise

import pytest
from jobs import (
    end_of,
    is_idle,
    long_requests,
    requests,
    run,
    running,
    start,
    state_of,
    submit,
    texts_alone,
    texts_of,
)
from rows import TEXT
from served import one_step, open_tiny

from llmkit.config.generation import Generation
from llmkit.data.encode import encode_text
from llmkit.generation import constraint
from llmkit.generation.label_likelihood import label_probabilities
from llmkit.generation.request import Request
from llmkit.serving import engine_thread
from llmkit.serving.engine_thread import Job
from llmkit.serving.errors import ApiError

LABELS = ("bad", "good, really", "Größe")
NUM_JOBS = 12


@pytest.fixture(scope="module")
def classifier(tiny_gpt2):
    session = open_tiny(tiny_gpt2, "classify", LABELS)
    with running(session) as engine:
        yield engine


@pytest.fixture(scope="module")
def asked(session):
    """The requests of several jobs."""
    return [requests(session, 1 + number % 3, number) for number in range(NUM_JOBS)]


@pytest.fixture(scope="module")
def expected(session, asked):
    return [texts_alone(session, each) for each in asked]


def test_jobs_get_the_texts_that_each_gets_alone(engine, asked, expected):
    async def submit_all():
        jobs = list(map(Job, asked))
        await submit(engine, *jobs)
        return jobs

    jobs = run(submit_all())
    assert list(map(texts_of, jobs)) == expected
    assert {c.finish_reason for job in jobs for c in job.completions} <= {"stop", "length"}
    assert not any(job.error for job in jobs)


def test_a_text_only_grows_and_is_complete_when_it_ends(engine, asked, expected):
    async def watch():
        job = Job(asked[2])
        engine.submit(job)
        seen = [[("", 0)] * len(job.completions)]
        while not job.is_finished:
            await job.wait_for_change()
            seen.append([(c.text, c.num_tokens) for c in job.completions])
        return list(zip(*seen, strict=True))

    for states, text in zip(run(watch()), expected[2], strict=True):
        for (earlier, num_earlier), (later, num_later) in pairwise(states):
            assert later.startswith(earlier)
            assert num_later >= num_earlier
        assert states[-1][0] == text


@pytest.mark.parametrize("seed", range(5))
def test_jobs_that_are_cancelled_at_any_moment_end_and_disturb_no_others(
    engine, asked, expected, seed
):
    rng = random.Random(seed)

    async def submit_and_cancel():
        jobs = []
        for each in asked:
            jobs.append(Job(each))
            engine.submit(jobs[-1])
            for _ in range(rng.randrange(3)):
                await rng.choice(jobs)._changed.wait()
            if rng.random() < 0.5:
                job = rng.choice(jobs)
                if rng.random() < 0.5:
                    job.expire()
                engine.cancel(job)
        jobs[-1].expire()
        engine.cancel(jobs[-1])
        await asyncio.gather(*map(end_of, jobs))
        assert await is_idle(engine)
        return jobs

    jobs = run(submit_and_cancel())
    num_cancelled = 0
    for job, texts in zip(jobs, expected, strict=True):
        for completion, text in zip(job.completions, texts, strict=True):
            if completion.finish_reason == "cancelled":
                num_cancelled += 1
                assert text.startswith(completion.text.rstrip("\N{REPLACEMENT CHARACTER}"))
            else:
                assert completion.text == text
    assert 0 < num_cancelled < sum(map(len, asked))


def test_a_cancelled_job_frees_its_rows_and_keeps_what_there_is(session, engine):
    async def cancel():
        job = Job(long_requests(session, 5))
        with one_step(engine):
            await start(engine, job)
            engine.cancel(job)
        await end_of(job)
        assert await is_idle(engine)
        return job

    job = run(cancel())
    assert {c.finish_reason for c in job.completions} == {"cancelled"}
    num_started = sum(c.num_tokens > 0 for c in job.completions)
    assert 0 < num_started <= 3, "more than there are rows"


def test_an_ended_job_is_not_changed_any_more(session, engine):
    async def end_twice():
        job = Job(requests(session, 2))
        await submit(engine, job)
        before = state_of(job)
        engine.cancel(job)
        job.fail(ApiError(503, "too late"))
        job.expire()
        assert await is_idle(engine)
        return job, before

    job, before = run(end_twice())
    assert state_of(job) == before
    assert job.error is None


def test_an_expired_job_is_over_at_once_and_news_come_too_late(session, engine):
    async def expire():
        job = Job(long_requests(session, 4))
        with one_step(engine):
            await start(engine, job)
            job.expire()
            assert job.is_finished
            before = state_of(job)
            await job.wait_for_change()
        await job.wait_for_change()  # the engine has done another step
        assert job.is_finished
        assert state_of(job) == before
        engine.cancel(job)
        assert await is_idle(engine)
        await asyncio.sleep(0)
        assert state_of(job) == before
        assert {reason for *_, reason in before} == {"cancelled"}

    run(expire())


def test_a_job_whose_event_loop_has_ended_is_no_trouble(session, engine, asked, expected):
    async def leave():
        job = Job(long_requests(session, 1))
        engine.submit(job)
        return job

    job = run(leave())
    test_jobs_get_the_texts_that_each_gets_alone(engine, asked, expected)
    assert not job.is_finished, "nobody was left to hear of it"


def test_prompts_of_a_classifier_are_computed_together(classifier):
    session = classifier._session
    prompts = encode_text([text[:30] for text in TEXT[:7]], session.tokenizer)
    expected = label_probabilities(session.model, prompts, session.labels, 3)

    async def submit_all():
        jobs = [Job([Request(prompt, Generation())]) for prompt in prompts]
        await submit(classifier, *jobs)
        return [job.completions[0] for job in jobs]

    for completion, probabilities in zip(run(submit_all()), expected, strict=True):
        assert completion.probabilities == pytest.approx(probabilities, rel=1e-4)
        assert completion.text == max(probabilities, key=probabilities.get)
        assert completion.finish_reason == "stop"
        assert completion.num_tokens == len(session.labels[completion.text])


def test_prompts_of_a_classifier_are_cancelled_and_fail(classifier, monkeypatch):
    session = classifier._session
    prompt = Request(encode_text(["The ferry"], session.tokenizer)[0], Generation())
    is_computing, may_fail = threading.Event(), threading.Event()

    def fail(*_):
        is_computing.set()
        may_fail.wait()
        raise RuntimeError("no memory")

    async def submit_all():
        failing, cancelled, waiting = (Job([prompt] * 3) for _ in range(3))
        for job in (failing, cancelled, waiting):
            classifier.submit(job)
            await asyncio.to_thread(is_computing.wait)
        classifier.cancel(cancelled)
        monkeypatch.undo()
        may_fail.set()
        await asyncio.gather(*map(end_of, (failing, cancelled, waiting)))
        assert await is_idle(classifier)
        return failing, cancelled, waiting

    monkeypatch.setattr(engine_thread, "label_probabilities", fail)
    failing, cancelled, waiting = run(submit_all())
    assert failing.error.code == "internal_error"
    assert [c.finish_reason for c in cancelled.completions] == ["cancelled"] * 3
    assert {c.finish_reason for c in waiting.completions} == {"stop"}


def test_a_constraint_is_compiled_outside_of_the_engine_thread(served, monkeypatch):
    threads = []
    new_matcher = constraint._new_matcher

    def record_thread(*arguments):
        threads.append(threading.current_thread().name)
        return new_matcher(*arguments)

    monkeypatch.setattr(constraint, "_new_matcher", record_thread)
    assert served.complete("The", regex="[7-9]{4}x").status_code == 200
    assert threads
    assert "engine" not in threads, "other requests would wait for it"
