"""Responses in OpenAI's format: finish reasons, and streams without missing chunks."""

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
    event,
    finish_reason,
    to_api_error,
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
    """The chunks of a stream; the n-th `send` applies the n-th change to the job."""
    changes = iter(change_during_send)
    sent = b""

    async def send(message):
        nonlocal sent
        sent += message.get("body", b"")
        job.update_threadsafe(next(changes, lambda: None))
        await asyncio.sleep(0)

    answer = answer_type("tiny", [""] * len(job.completions), num_prompt_tokens=1)
    response = StreamResponse(
        job, answer, lambda: None, lambda: None, max_seconds=60, includes_usage=False
    )
    await response({"type": "http"}, never, send)
    *lines, done, end = sent.decode().split("\n\n")
    assert (done, end) == ("data: [DONE]", "")
    return [json.loads(line.removeprefix("data: "))["choices"][0] for line in lines]


@pytest.mark.parametrize("num_sends_before", range(4))
def test_a_stream_includes_progress_made_during_a_send(num_sends_before):
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
def test_the_finish_reason_after_a_timeout_is_length(reason, is_timed_out, expected):
    async def reported():
        job = start_job("text")
        job.is_timed_out, job.completions[0].finish_reason = is_timed_out, reason
        return finish_reason(job.completions[0], job)

    assert asyncio.run(reported()) == expected


def test_a_response_counts_all_tokens_and_includes_probabilities():
    async def whole():
        job = start_job("abc", "de")
        job.completions[0].probabilities = {"abc": 0.75, "x": 0.25}
        return Answer("tiny", ["1:", "2:"], num_prompt_tokens=5).full_response(job)

    answer = asyncio.run(whole())
    assert [choice["text"] for choice in answer["choices"]] == ["1:abc", "2:de"]
    assert answer["choices"][0]["probabilities"] == {"abc": 0.75, "x": 0.25}
    assert "probabilities" not in answer["choices"][1]
    assert answer["usage"] == {"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 10}


def test_an_event_is_one_line_for_any_text():
    content = {"text": "a\nb\r\u2028\x85\x9b1mGröße"}
    encoded = event(content)
    assert encoded.endswith(b"\n\n")
    assert encoded.count(b"\n") == 2
    line, rest = encoded.decode().splitlines()
    assert line.isprintable(), "curl shows it in a terminal"
    assert rest == ""
    assert json.loads(line.removeprefix("data: ")) == content


def test_engine_errors_become_api_errors():
    timeout = ApiError(504, "too long", code="timeout")
    assert to_api_error(timeout) is timeout
    refused = to_api_error(ConstraintError("regex", "it matches nothing"))
    assert (refused.status, refused.content["error"]["param"]) == (400, "regex")


@pytest.mark.parametrize("ends_by", ["disconnect", "max_seconds"])
def test_work_is_cancelled_after_a_disconnect_or_timeout(ends_by):
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

        await until_disconnect(receive, work(), max_seconds=60 if ends_by == "disconnect" else 0.01)
        return events

    assert asyncio.run(was_cancelled()) == ["cancelled"]
