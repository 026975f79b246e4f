"""Answers of the API in OpenAI's form, sent whole or as a stream of server-sent events."""

import asyncio
import json
import secrets
import time
from collections.abc import Callable, Coroutine
from typing import Any

from starlette.responses import JSONResponse, Response
from starlette.types import Message, Receive, Scope, Send

from llmkit.errors import UserError
from llmkit.generation.constraint import ConstraintError
from llmkit.serving.engine_thread import Completion, Job
from llmkit.serving.errors import ApiError, wrong_decoding

STREAM_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # nginx passes events on at once
]
DONE = b"data: [DONE]\n\n"


class Answer:
    """The answer to one request of /v1/completions."""

    id_prefix = "cmpl"
    kind = chunk_kind = "text_completion"
    shown: Callable[[str], str] = staticmethod(str)
    """What is shown of a completion's text; a longer text never shows less."""

    def __init__(self, model: str, texts: list[str], num_prompt_tokens: int) -> None:
        """
        Args:
            model: Name of the model.
            texts: What each completion begins with.
            num_prompt_tokens: Tokens of all prompts.
        """
        self._texts, self._num_prompt_tokens = texts, num_prompt_tokens
        self._head = {
            "id": f"{self.id_prefix}-{secrets.token_hex(12)}",
            "object": self.kind,
            "created": int(time.time()),
            "model": model,
        }

    def whole(self, job: Job) -> dict[str, Any]:
        """The answer in one piece."""
        choices = [
            self._with_probabilities(self._choice(index, self.text_of(index, c)), index, c, job)
            for index, c in enumerate(job.completions)
        ]
        return {**self._head, "choices": choices, "usage": self.usage(job)}

    def text_of(self, index: int, completion: Completion) -> str:
        """The text to show so far."""
        return self._texts[index] + self.shown(completion.text)

    def part(self, delta: str, index: int) -> dict[str, Any]:
        """A part of the stream: text that was added to a completion."""
        return self._chunk({"index": index, **self._delta(delta), "finish_reason": None})

    def last_part(self, index: int, completion: Completion, job: Job) -> dict[str, Any]:
        """The last part of a completion."""
        choice = {"index": index, **self._delta("")}
        return self._chunk(self._with_probabilities(choice, index, completion, job))

    def first_part(self, index: int) -> dict[str, Any] | None:
        """What opens a completion of the stream, if anything does."""
        return None

    def usage_part(self, job: Job) -> dict[str, Any]:
        """The part that ends a stream with `include_usage`."""
        return {**self._head, "object": self.chunk_kind, "choices": [], "usage": self.usage(job)}

    def usage(self, job: Job) -> dict[str, int]:
        num_new = sum(completion.num_tokens for completion in job.completions)
        return {
            "prompt_tokens": self._num_prompt_tokens,
            "completion_tokens": num_new,
            "total_tokens": self._num_prompt_tokens + num_new,
        }

    def _chunk(self, choice: dict[str, Any]) -> dict[str, Any]:
        return {**self._head, "object": self.chunk_kind, "choices": [choice]}

    def _choice(self, index: int, text: str) -> dict[str, Any]:
        return {"index": index, "text": text, "logprobs": None}

    def _delta(self, delta: str) -> dict[str, Any]:
        return {"text": delta, "logprobs": None}

    def _with_probabilities(
        self, choice: dict[str, Any], index: int, completion: Completion, job: Job
    ) -> dict[str, Any]:
        """The choice with its finish reason and, for a classifier, the labels' probabilities."""
        choice = {**choice, "finish_reason": finish_reason(completion, job)}
        if completion.probabilities is not None:
            choice["probabilities"] = completion.probabilities
        return choice


class ChatAnswer(Answer):
    """The answer to one request of /v1/chat/completions."""

    id_prefix = "chatcmpl"
    kind, chunk_kind = "chat.completion", "chat.completion.chunk"
    shown = staticmethod(str.strip)  # prompts end with a cue, so a completion begins with a space

    def first_part(self, index: int) -> dict[str, Any]:
        delta = {"role": "assistant", "content": ""}
        return self._chunk(
            {"index": index, "delta": delta, "logprobs": None, "finish_reason": None}
        )

    def _choice(self, index: int, text: str) -> dict[str, Any]:
        message = {"role": "assistant", "content": text, "refusal": None}
        return {"index": index, "message": message, "logprobs": None}

    def _delta(self, delta: str) -> dict[str, Any]:
        return {"delta": {"content": delta} if delta else {}, "logprobs": None}


def finish_reason(completion: Completion, job: Job) -> str | None:
    """As OpenAI calls it: `stop` or `length`. A completion that ran out of time is cut like one
    that ran out of tokens."""
    if completion.finish_reason == "cancelled" and job.is_timed_out:
        return "length"
    return completion.finish_reason


class JobResponse(Response):
    """The answer to a job, sent when it is complete."""

    def __init__(
        self,
        job: Job,
        answer: Answer,
        on_first_token: Callable[[], None],
        on_end: Callable[[], None],
        patience: float,
    ) -> None:
        """
        Args:
            on_first_token: Called when there is something to show.
            on_end: Called when the response has ended, however it did.
            patience: Seconds after which a client that does not read its answer is given up.
        """
        self.job, self.answer = job, answer
        self._on_first_token, self._on_end = on_first_token, on_end
        self._patience = patience

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await until_disconnect(receive, self._respond(scope, receive, send), self._patience)
        finally:
            self._on_end()

    async def _respond(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._wait_for_start()
        while not self.job.is_over:
            await self.job.changed()
        self._raise_error()
        await JSONResponse(self.answer.whole(self.job))(scope, receive, send)

    async def _wait_for_start(self) -> None:
        """Wait for the first token; raises ApiError if there will be none."""
        while not self.job.is_started and not self.job.is_over:
            await self.job.changed()
        self._raise_error()
        if not self.job.is_started:
            raise ApiError(504, "the request waited too long for its turn", code="timeout")
        self._on_first_token()

    def _raise_error(self) -> None:
        if self.job.error is not None:
            raise as_api_error(self.job.error)


class StreamResponse(JobResponse):
    """The answer to a job as server-sent events."""

    def __init__(self, *arguments: Any, includes_usage: bool, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._includes_usage = includes_usage
        self._num_sent = [0] * len(self.job.completions)
        self._ended: set[int] = set()

    async def _respond(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._wait_for_start()
        await send({"type": "http.response.start", "status": 200, "headers": STREAM_HEADERS})
        opening = map(self.answer.first_part, range(len(self.job.completions)))
        await send(_body(b"".join(self._event(part) for part in opening if part is not None)))
        while True:
            is_over = self.job.is_over  # before the news, since the job goes on during `send`
            await send(_body(b"".join(map(self._event, self._news()))))
            if is_over:
                break
            await self.job.changed()
        if self.job.error is not None:
            await send(_body(event(as_api_error(self.job.error).content), is_last=True))
            return
        usage = event(self.answer.usage_part(self.job)) if self._includes_usage else b""
        await send(_body(usage + DONE, is_last=True))

    def _news(self) -> list[dict[str, Any]]:
        """Parts with what was added to each completion."""
        parts = []
        for index, completion in enumerate(self.job.completions):
            text = self.answer.text_of(index, completion)
            if len(text) > self._num_sent[index]:
                parts.append(self.answer.part(text[self._num_sent[index] :], index))
                self._num_sent[index] = len(text)
            if completion.finish_reason is not None and index not in self._ended:
                parts.append(self.answer.last_part(index, completion, self.job))
                self._ended.add(index)
        return parts

    def _event(self, part: dict[str, Any]) -> bytes:
        return event({**part, "usage": None} if self._includes_usage else part)


def event(content: dict[str, Any]) -> bytes:
    """A server-sent event."""
    return f"data: {json.dumps(content, ensure_ascii=False, separators=(',', ':'))}\n\n".encode()


def as_api_error(error: ApiError | UserError) -> ApiError:
    """The error of a job as the client gets it."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, ConstraintError):
        return wrong_decoding(error.key, error.reason)
    return ApiError(400, str(error))


def _body(content: bytes, *, is_last: bool = False) -> Message:
    return {"type": "http.response.body", "body": content, "more_body": not is_last}


async def until_disconnect(
    receive: Receive, work: Coroutine[Any, Any, None], patience: float
) -> None:
    """Run `work` until it ends, the client disconnects, or `patience` seconds have passed."""

    async def disconnect() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    working, watching = asyncio.ensure_future(work), asyncio.ensure_future(disconnect())
    try:
        await asyncio.wait(
            {working, watching}, timeout=patience, return_when=asyncio.FIRST_COMPLETED
        )
    finally:
        if not working.done():
            working.cancel()
        watching.cancel()
        await asyncio.gather(working, watching, return_exceptions=True)
    if not working.cancelled():
        working.result()
