"""The routes of the server and their handlers."""

import asyncio
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST
from rich.console import Console
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llmkit.generation.constraint import ConstraintError
from llmkit.generation.request import Request as Completion
from llmkit.generation.session import GenerationSession
from llmkit.serving.answers import Answer, ChatAnswer, JobResponse, StreamResponse, to_api_error
from llmkit.serving.body import Body, ChatBody, CompletionBody, read_body
from llmkit.serving.engine_thread import EngineThread, Job
from llmkit.serving.errors import (
    PARAMETERS,
    ApiError,
    engine_failed,
    out_of_time,
    retryable_error,
    stopping,
)
from llmkit.serving.metrics import Metrics
from llmkit.serving.page import Page
from llmkit.serving.prepare import (
    PreparedRequest,
    decoding_of,
    prepare_chat,
    prepare_completion,
)
from llmkit.serving.security import Access, AccessMiddleware, Limits

PATHS = ("/", "/health", "/metrics", "/v1/models", "/v1/completions", "/v1/chat/completions")


class Service:
    """Serves one model: admits requests and answers them."""

    def __init__(
        self, session: GenerationSession, name: str, engine: EngineThread, limits: Limits
    ) -> None:
        """name: Name of the model in the API."""
        self.session, self.name, self.engine, self.limits = session, name, engine, limits
        self.metrics = Metrics(engine)
        self.jobs: set[Job] = set()
        self.is_draining = False
        """Whether the server is shutting down and accepts no new requests."""
        self._created = int(time.time())
        self._page = Page(name, session)
        # One worker, because the tokenizer is not thread-safe.
        self._encoder = ThreadPoolExecutor(1, "encoder")

    def fail_jobs(self, error: ApiError) -> None:
        """End all jobs with an error."""
        for job in self.jobs:
            job.fail(error)

    async def page(self, request: Request) -> Response:
        return self._page.response

    async def health(self, request: Request) -> Response:
        self._check_available()
        return JSONResponse({"status": "ok"})

    async def show_metrics(self, request: Request) -> Response:
        return Response(self.metrics.render(), media_type=CONTENT_TYPE_LATEST)

    async def list_models(self, request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [self._model]})

    async def show_model(self, request: Request) -> Response:
        self._check_model(request.path_params["name"])
        return JSONResponse(self._model)

    async def complete(self, request: Request) -> Response:
        """POST /v1/completions."""
        body = await self._read(request, CompletionBody)
        prepare = partial(prepare_completion, body)
        return await self._answer(body, prepare, Answer)

    async def chat(self, request: Request) -> Response:
        """POST /v1/chat/completions."""
        body = await self._read(request, ChatBody)
        return await self._answer(body, partial(prepare_chat, body), ChatAnswer)

    async def _read(self, request: Request, kind: type) -> Body:
        self._check_available()
        body = await read_body(request, kind, self.limits)
        if body.model is not None:
            self._check_model(body.model)
        return body

    async def _answer(self, body: Body, prepare: partial, kind: type[Answer]) -> Response:
        """Submit the completions of a request as a job, and return the response to it.

        prepare: Called with the decoding settings, the session and the limits; returns the prompts.
        """
        started, loop = time.perf_counter(), asyncio.get_running_loop()
        deadline = loop.time() + self.limits.timeout
        set_by_request = [*body.decoding, *(["n"] if body.n > 1 else [])]
        if self.session.labels and set_by_request:
            name = PARAMETERS.get(set_by_request[0], set_by_request[0])
            raise ApiError(
                400, f"{name}: this model predicts labels and generates no text; remove it",
                param=name, code="unsupported_parameter",
            )  # fmt: skip
        generation = decoding_of(body, self.session.generation, self.limits)

        def prepare_all() -> PreparedRequest:
            self.engine.compile(generation)
            return prepare(generation, self.session, self.limits)

        preparing = loop.run_in_executor(self._encoder, prepare_all)
        try:
            prepared = await asyncio.wait_for(preparing, self.limits.timeout)
        except ConstraintError as error:
            raise to_api_error(error) from None
        except asyncio.TimeoutError:
            raise out_of_time() from None
        job = self._submit(body, prepared)
        num_prompt_tokens = sum(map(len, prepared.prompts))
        self.metrics.prompt_tokens.inc(num_prompt_tokens)
        timer = loop.call_at(deadline, self._expire, job)

        def end() -> None:
            timer.cancel()
            self.jobs.discard(job)
            if not job.is_finished:
                self.engine.cancel(job)
            self.metrics.completion_tokens.inc(sum(c.num_tokens for c in job.completions))

        def observe_first_token() -> None:
            self.metrics.first_token_seconds.observe(time.perf_counter() - started)

        texts = [text for text in prepared.texts for _ in range(body.n)]
        arguments = (
            job,
            kind(self.name, texts, num_prompt_tokens),
            observe_first_token,
            end,
            self.limits.timeout + self.limits.read_timeout,
        )
        if body.stream:
            return StreamResponse(*arguments, includes_usage=body.includes_usage)
        return JobResponse(*arguments)

    def _submit(self, body: Body, prepared: PreparedRequest) -> Job:
        """Queue the completions of a request; raises ApiError if the queue is full."""
        seed = secrets.randbits(63) if body.seed is None else body.seed
        completions = [
            Completion(prompt, generation, (seed, number, copy))
            for number, (prompt, generation) in enumerate(
                zip(prepared.prompts, prepared.generations, strict=True)
            )
            for copy in range(body.n)
        ]
        most = self.engine.max_rows + self.limits.max_queue
        if len(completions) > most:
            raise ApiError(
                400, f"{len(completions):,} completions in one request; the maximum is {most:,}",
                code="too_many_completions",
            )  # fmt: skip
        self._check_available()
        if sum(len(job.completions) for job in self.jobs) + len(completions) > most:
            raise retryable_error(429, "the queue is full; try again later", "queue_full")
        job = Job(completions)
        self.jobs.add(job)
        self.engine.submit(job)
        return job

    def _expire(self, job: Job) -> None:
        job.expire()
        self.engine.cancel(job)

    def _check_available(self) -> None:
        if self.is_draining:
            raise stopping()
        if not self.engine.is_alive:
            raise engine_failed()

    def _check_model(self, name: str) -> None:
        if name != self.name:
            raise ApiError(
                404, f"model: no model {name!r}; this server serves {self.name!r}", param="model",
                code="model_not_found",
            )  # fmt: skip

    @property
    def _model(self) -> dict[str, str | int]:
        return {
            "id": self.name, "object": "model", "created": self._created, "owned_by": "llmkit",
        }  # fmt: skip


def make_app(service: Service, access: Access, console: Console) -> ASGIApp:
    """The ASGI application of the server.

    console: Console for the request log.
    """
    routes = [
        Route("/", service.page),
        Route("/health", service.health),
        Route("/metrics", service.show_metrics),
        Route("/v1/models", service.list_models),
        Route("/v1/models/{name:path}", service.show_model),
        Route("/v1/completions", service.complete, methods=["POST"]),
        Route("/v1/chat/completions", service.chat, methods=["POST"]),
    ]
    cors = Middleware(
        CORSMiddleware, allow_origins=access.origins, allow_methods=["*"], allow_headers=["*"]
    )
    app = Starlette(
        routes=routes,
        middleware=[
            Middleware(RequestLog, metrics=service.metrics, console=console),
            Middleware(AccessMiddleware, access=access),
            *([cors] if access.origins else []),
        ],
        exception_handlers={
            ApiError: _handle_api_error,
            HTTPException: _handle_http_exception,
            ClientDisconnect: _handle_disconnect,
            Exception: _handle_failure,
        },
    )
    app.router.redirect_slashes = False  # a redirect would echo the Host header
    return app


class RequestLog:
    """Counts and times requests, and logs one line for each, without prompts or completions."""

    def __init__(self, app: ASGIApp, metrics: Metrics, console: Console) -> None:
        self.app, self.metrics, self.console = app, metrics, console

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started, status = time.perf_counter(), 499  # nginx's code for a client that disconnected

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-content-type-options", b"nosniff")]
            await send(message)

        path = scope["path"] if scope["path"] in PATHS else "other"
        try:
            await self.app(scope, receive, watch)
        except Exception:
            status = 500
            raise
        finally:
            seconds = time.perf_counter() - started
            self.metrics.requests.labels(path, status).inc()
            self.metrics.request_seconds.labels(path).observe(seconds)
            log(self.console, f"{scope['method']} {path} {status} {seconds:.2f} s", style="dim")


def log(console: Console, line: str, **options: Any) -> None:
    """Print a line to the log of the server, which outlives a full disk and a closed pipe.

    options: Arguments of `Console.print`.
    """
    with suppress(OSError, SystemExit):  # rich exits when a pipe is closed
        console.print(line, **options)


async def _handle_api_error(request: Request, error: ApiError) -> Response:
    return error.response


async def _handle_http_exception(request: Request, error: HTTPException) -> Response:
    """Answer the errors 404 and 405 of the router in OpenAI's format."""
    message = {
        404: f"no such path: {request.url.path}",
        405: f"method {request.method} is not allowed for this path",
    }.get(error.status_code, error.detail)
    headers = dict(error.headers or {})
    return ApiError(error.status_code, message, headers=headers).response


async def _handle_disconnect(request: Request, error: ClientDisconnect) -> Response:
    return Response(status_code=499)


async def _handle_failure(request: Request, error: Exception) -> Response:
    return ApiError(500, "the server failed to answer", code="internal_error").response
