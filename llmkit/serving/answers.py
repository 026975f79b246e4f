"""Responses in OpenAI's format, sent as one JSON object or as a stream of server-sent events."""

import asyncio
import secrets
import time
from collections.abc import Callable, Coroutine
from typing import Any

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from llmkit.errors import UserError
from llmkit.generation.constraint import ConstraintError
from llmkit.io.safe_json import to_json
from llmkit.serving.engine_thread import Completion, Job
from llmkit.serving.errors import ApiError, decoding_error, out_of_time

STREAM_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # nginx forwards events immediately
]
DONE = b"data: [DONE]\n\n"


class Answer:
    """Builds the response objects for a request to /v1/completions."""

    id_prefix = "cmpl"
    kind = chunk_kind = "text_completion"
    format_text: Callable[[str], str] = staticmethod(str)
    """Applied to the text of a completion before it is sent. A prefix of a text must give a prefix
    of the result, so that the text can be streamed."""

    def __init__(self, model: str, texts: list[str], num_prompt_tokens: int) -> None:
        """
        Args:
            model: Name of the model.
            texts: Text to prepend to each completion: the prompt if `echo` is set, otherwise empty.
            num_prompt_tokens: Number of tokens in all prompts.
        """
        self._texts, self._num_prompt_tokens = texts, num_prompt_tokens
        self._head = {
            "id": f"{self.id_prefix}-{secrets.token_hex(12)}",
            "object": self.kind,
            "created": int(time.time()),
            "model": model,
        }

    def full_response(self, job: Job) -> dict[str, Any]:
        """The response object of a finished job."""
        choices = [
            self._with_probabilities(
                self._choice(index, self.current_text(index, c)), index, c, job
            )
            for index, c in enumerate(job.completions)
        ]
        return {**self._head, "choices": choices, "usage": self.usage(job)}

    def current_text(self, index: int, completion: Completion) -> str:
        """The text of a completion so far, as sent to the client."""
        return self._texts[index] + self.format_text(completion.text)

    def text_chunk(self, delta: str, index: int) -> dict[str, Any]:
        """A stream chunk with new text of a completion."""
        return self._chunk({"index": index, **self._delta(delta), "finish_reason": None})

    def final_chunk(self, index: int, completion: Completion, job: Job) -> dict[str, Any]:
        """The last stream chunk of a completion, with its finish reason."""
        choice = {"index": index, **self._delta("")}
        return self._chunk(self._with_probabilities(choice, index, completion, job))

    def first_chunk(self, index: int) -> dict[str, Any] | None:
        """The first stream chunk of a completion; None if the format has none."""
        return None

    def usage_chunk(self, job: Job) -> dict[str, Any]:
        """The last chunk of a stream with `include_usage`."""
        return {**self._head, "object": self.chunk_kind, "choices": [], "usage": self.usage(job)}

    def usage(self, job: Job) -> dict[str, int]:
        """Token counts of prompts and completions."""
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
        """Add the finish reason and, for a classifier, the probability of every label."""
        choice = {**choice, "finish_reason": finish_reason(completion, job)}
        if completion.probabilities is not None:
            choice["probabilities"] = completion.probabilities
        return choice


class ChatAnswer(Answer):
    """Builds the response objects for a request to /v1/chat/completions."""

    id_prefix = "chatcmpl"
    kind, chunk_kind = "chat.completion", "chat.completion.chunk"
    format_text = staticmethod(str.strip)  # completions usually begin with a space

    def first_chunk(self, index: int) -> dict[str, Any]:
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
    """The finish reason in OpenAI's terms: `stop` or `length`, also after a timeout; None while the
    completion runs."""
    if completion.finish_reason == "cancelled" and job.is_timed_out:
        return "length"
    return completion.finish_reason


class JobResponse(Response):
    """The response to a job, sent when it is finished."""

    def __init__(
        self,
        job: Job,
        answer: Answer,
        on_first_token: Callable[[], None],
        on_end: Callable[[], None],
        max_seconds: float,
    ) -> None:
        """
        Args:
            on_first_token: Called when the first token is available.
            on_end: Called when the response has ended, successfully or not.
            max_seconds: Maximum duration, after which a client that does not read is given up.
        """
        self.job, self.answer = job, answer
        self._on_first_token, self._on_end = on_first_token, on_end
        self._max_seconds = max_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await until_disconnect(receive, self._respond(scope, receive, send), self._max_seconds)
        finally:
            self._on_end()

    async def _respond(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._wait_for_start()
        while not self.job.is_finished:
            await self.job.wait_for_change()
        self._raise_error()
        content = compact_json(self.answer.full_response(self.job))
        await Response(content, media_type="application/json")(scope, receive, send)

    async def _wait_for_start(self) -> None:
        """Wait for the first token; raises ApiError if the job ends without one."""
        while not self.job.is_started and not self.job.is_finished:
            await self.job.wait_for_change()
        self._raise_error()
        if not self.job.is_started:
            raise out_of_time()
        self._on_first_token()

    def _raise_error(self) -> None:
        if self.job.error is not None:
            raise to_api_error(self.job.error)


class StreamResponse(JobResponse):
    """The response to a job as server-sent events."""

    def __init__(self, *arguments: Any, includes_usage: bool, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._includes_usage = includes_usage
        self._num_sent = [0] * len(self.job.completions)
        self._ended: set[int] = set()

    async def _respond(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._wait_for_start()
        await send({"type": "http.response.start", "status": 200, "headers": STREAM_HEADERS})
        opening = map(self.answer.first_chunk, range(len(self.job.completions)))
        await send(
            _body(b"".join(self._encode_event(chunk) for chunk in opening if chunk is not None))
        )
        while True:
            # Read before the chunks are collected: the job may finish during `send`.
            is_finished = self.job.is_finished
            await send(_body(b"".join(map(self._encode_event, self._new_chunks()))))
            if is_finished:
                break
            await self.job.wait_for_change()
        if self.job.error is not None:
            await send(_body(event(to_api_error(self.job.error).content), is_last=True))
            return
        usage = event(self.answer.usage_chunk(self.job)) if self._includes_usage else b""
        await send(_body(usage + DONE, is_last=True))

    def _new_chunks(self) -> list[dict[str, Any]]:
        """Chunks with the text added to each completion since the last call."""
        chunks = []
        for index, completion in enumerate(self.job.completions):
            text = self.answer.current_text(index, completion)
            if len(text) > self._num_sent[index]:
                chunks.append(self.answer.text_chunk(text[self._num_sent[index] :], index))
                self._num_sent[index] = len(text)
            if completion.finish_reason is not None and index not in self._ended:
                chunks.append(self.answer.final_chunk(index, completion, self.job))
                self._ended.add(index)
        return chunks

    def _encode_event(self, chunk: dict[str, Any]) -> bytes:
        return event({**chunk, "usage": None} if self._includes_usage else chunk)


def compact_json(content: dict[str, Any]) -> str:
    """Encode as JSON without control characters, which `curl` would send to a terminal."""
    return to_json(content, ensure_ascii=False, separators=(",", ":"))


def event(content: dict[str, Any]) -> bytes:
    """Encode a JSON object as a server-sent event."""
    return f"data: {compact_json(content)}\n\n".encode()


def to_api_error(error: ApiError | UserError) -> ApiError:
    """The error of a job as sent to the client."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, ConstraintError):
        return decoding_error(error.key, error.reason)
    return ApiError(400, str(error))


def _body(content: bytes, *, is_last: bool = False) -> Message:
    return {"type": "http.response.body", "body": content, "more_body": not is_last}


async def until_disconnect(
    receive: Receive, work: Coroutine[Any, Any, None], max_seconds: float
) -> None:
    """Run `work` until it ends, the client disconnects, or `max_seconds` have passed."""

    async def disconnect() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    working, watching = asyncio.ensure_future(work), asyncio.ensure_future(disconnect())
    try:
        await asyncio.wait(
            {working, watching}, timeout=max_seconds, return_when=asyncio.FIRST_COMPLETED
        )
    finally:
        if not working.done():
            working.cancel()
        watching.cancel()
        await asyncio.gather(working, watching, return_exceptions=True)
    if not working.cancelled():
        working.result()
