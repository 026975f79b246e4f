"""Answers in OpenAI's form: finish reasons, and streams that give every part of a job."""

import asyncio
import json

import pytest

from llmkit.config.generation import Generation
from llmkit.generation.constraint import ConstraintError
from llmkit.generation.request import Request
from llmkit.serving.answers import (
    Answer,
    ChatAnswer,
    StreamResponse,
    as_api_error,
    event,
    finish_reason,
    until_disconnect,
)
from llmkit.serving.engine_thread import Job
from llmkit.serving.errors import ApiError


def start_job(*texts):
    """A job whose completions have these texts so far."""
    job = Job([Request([1], Generation())] * len(texts))
    for completion, text in zip(job.completions, texts, strict=True):
        completion.text, completion.num_tokens = text, len(text)
    return job


def finish(completion, text, reason="stop"):
    completion.text, completion.num_tokens, completion.finish_reason = text, len(text), reason


async def never():
    await asyncio.Event().wait()


async def stream(job, change_during_send, answer_type=Answer):
    """The parts that a stream sends; the n-th `send` makes the n-th change to the job."""
    changes = iter(change_during_send)
    sent = b""

    async def send(message):
        nonlocal sent
        sent += message.get("body", b"")
        job.report(next(changes, lambda: None))
        await asyncio.sleep(0)

    answer = answer_type("tiny", [""] * len(job.completions), num_prompt_tokens=1)
    response = StreamResponse(
        job, answer, lambda: None, lambda: None, patience=60, includes_usage=False
    )
    await response({"type": "http"}, never, send)
    *lines, done, end = sent.decode().split("\n\n")
    assert (done, end) == ("data: [DONE]", "")
    return [json.loads(line.removeprefix("data: "))["choices"][0] for line in lines]


@pytest.mark.parametrize("num_sends_before", range(4))
def test_a_stream_gives_the_parts_that_come_while_it_sends(num_sends_before):
    async def parts():
        job = start_job("one", "two")
        first, second = job.completions

        def end():
            finish(first, "one and more")
            finish(second, "two", "length")

        return await stream(job, [*[lambda: None] * num_sends_before, end])

    choices = asyncio.run(asyncio.wait_for(parts(), timeout=60))
    for index, (text, reason) in enumerate([("one and more", "stop"), ("two", "length")]):
        of_one = [choice for choice in choices if choice["index"] == index]
        assert "".join(choice["text"] for choice in of_one) == text
        assert [choice["finish_reason"] for choice in of_one if choice["finish_reason"]] == [reason]
        assert of_one[-1]["finish_reason"] == reason


def test_a_chat_stream_opens_with_the_role_and_strips_white_space():
    async def parts():
        job = start_job(" Hel")
        return await stream(job, [lambda: finish(job.completions[0], " Hello \n")], ChatAnswer)

    deltas = [choice["delta"] for choice in asyncio.run(parts())]
    assert deltas[0] == {"role": "assistant", "content": ""}
    assert "".join(delta.get("content", "") for delta in deltas) == "Hello"


@pytest.mark.parametrize(
    ("reason", "is_timed_out", "expected"),
    [
        ("stop", False, "stop"),
        ("length", True, "length"),
        ("cancelled", True, "length"),
        ("cancelled", False, "cancelled"),
        (None, False, None),
    ],
)
def test_a_completion_that_ran_out_of_time_ends_like_a_long_one(reason, is_timed_out, expected):
    async def reported():
        job = start_job("text")
        job.is_timed_out, job.completions[0].finish_reason = is_timed_out, reason
        return finish_reason(job.completions[0], job)

    assert asyncio.run(reported()) == expected


def test_an_answer_counts_the_tokens_of_all_completions_and_shows_probabilities():
    async def whole():
        job = start_job("abc", "de")
        job.completions[0].probabilities = {"abc": 0.75, "x": 0.25}
        return Answer("tiny", ["1:", "2:"], num_prompt_tokens=5).whole(job)

    answer = asyncio.run(whole())
    assert [choice["text"] for choice in answer["choices"]] == ["1:abc", "2:de"]
    assert answer["choices"][0]["probabilities"] == {"abc": 0.75, "x": 0.25}
    assert "probabilities" not in answer["choices"][1]
    assert answer["usage"] == {"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 10}


def test_an_event_is_one_line_whatever_the_text():
    encoded = event({"text": "a\nb\r\u2028Größe"})
    assert encoded.endswith(b"\n\n")
    assert encoded.count(b"\n") == 2
    assert b"\r" not in encoded
    assert json.loads(encoded.removeprefix(b"data: ")) == {"text": "a\nb\r\u2028Größe"}


def test_errors_of_the_engine_become_errors_of_the_client():
    timeout = ApiError(504, "too long", code="timeout")
    assert as_api_error(timeout) is timeout
    refused = as_api_error(ConstraintError("regex", "it matches nothing"))
    assert (refused.status, refused.content["error"]["param"]) == (400, "regex")


@pytest.mark.parametrize("ends_by", ["disconnect", "patience"])
def test_work_is_cancelled_when_nobody_waits_for_it(ends_by):
    async def was_cancelled():
        events = []

        async def work():
            try:
                await never()
            except asyncio.CancelledError:
                events.append("cancelled")
                raise

        async def receive():
            await (asyncio.sleep(0) if ends_by == "disconnect" else never())
            return {"type": "http.disconnect"}

        await until_disconnect(receive, work(), patience=60 if ends_by == "disconnect" else 0.01)
        return events

    assert asyncio.run(was_cancelled()) == ["cancelled"]
