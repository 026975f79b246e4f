"""The thread that runs the model: it takes jobs from the event loop and reports their progress."""

import asyncio
import copy
import logging
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue

from llmkit.config.generation import Generation
from llmkit.errors import UserError
from llmkit.generation.constraint import check_constraint
from llmkit.generation.engine import Engine
from llmkit.generation.label_likelihood import label_probabilities
from llmkit.generation.request import FinishReason, Request, Sequence
from llmkit.generation.session import GenerationSession
from llmkit.model.load import evaluating
from llmkit.model.packed import generation_dtype, packed_linear_layers
from llmkit.serving.errors import ApiError

logger = logging.getLogger(__name__)


@dataclass
class Completion:
    """A completion with the progress that the engine thread has reported to the event loop."""

    request: Request
    text: str = ""
    num_tokens: int = 0
    finish_reason: FinishReason | None = None
    probabilities: dict[str, float] | None = None
    """Probability of each label, for a classifier."""

    def update(
        self,
        text: str,
        num_tokens: int,
        finish_reason: FinishReason | None,
        probabilities: dict[str, float] | None = None,
    ) -> None:
        """Set the progress that the engine reports, unless the completion has already ended."""
        if self.finish_reason is None:
            self.text, self.num_tokens, self.finish_reason = text, num_tokens, finish_reason
            self.probabilities = probabilities


class Job:
    """The completions of one HTTP request. Only the event loop may read or change it."""

    def __init__(self, requests: list[Request]) -> None:
        self.completions = [Completion(request) for request in requests]
        self.error: ApiError | UserError | None = None
        """Why the job failed: a UserError if the engine rejected a request."""
        self.is_timed_out = False
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()

    @property
    def is_started(self) -> bool:
        """Whether any completion has a token or has finished without being cancelled."""
        return any(c.num_tokens or c.finish_reason in ("stop", "length") for c in self.completions)

    @property
    def is_finished(self) -> bool:
        return self.error is not None or all(c.finish_reason for c in self.completions)

    async def wait_for_change(self) -> None:
        """Wait until the job has changed since the last call."""
        await self._changed.wait()
        self._changed.clear()

    def update_threadsafe(self, change: Callable[[], None]) -> None:
        """Apply a change in the event loop; called by the engine thread."""
        with suppress(RuntimeError):  # the event loop has ended, so nobody waits for the job
            self._loop.call_soon_threadsafe(self._apply, change)

    def fail(self, error: ApiError | UserError) -> None:
        """End the job with an error, unless it is finished."""
        if not self.is_finished:
            self._apply(partial(setattr, self, "error", error))

    def expire(self) -> None:
        """End the job with its partial answer because its time is over. It does not wait for the
        engine, which may be in the middle of a long step."""
        self.is_timed_out = True
        for completion in self.completions:
            completion.update(completion.text, completion.num_tokens, "cancelled")
        self._changed.set()

    def _apply(self, change: Callable[[], None]) -> None:
        change()
        self._changed.set()


class EngineThread:
    """Runs the engine, or the label likelihoods of a classifier, in its own thread.

    Call the public methods from the event loop; except for `start` and `stop`, they do not block.
    """

    def __init__(self, session: GenerationSession, max_rows: int) -> None:
        """max_rows: Maximum number of concurrent completions."""
        self.max_rows = max_rows
        self._session = session
        # A copy, because tokenizers are not thread-safe and the session's encodes prompts.
        self._tokenizer = copy.deepcopy(session.tokenizer)
        self._inbox: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._is_ready: Future[None] = Future()
        self._is_stopping = False
        self._engine: Engine | None = None
        self._sequences: dict[Sequence, tuple[Job, Completion]] = {}
        self._to_classify: deque[tuple[Job, Completion]] = deque()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def start(self) -> None:
        """Start the thread and wait until the engine is ready. Re-raises its errors."""
        self._thread.start()
        self._is_ready.result()

    def stop(self) -> None:
        """Stop the thread after its current step, and wait for it."""
        self._inbox.put(partial(setattr, self, "_is_stopping", True))
        self._thread.join()

    def compile(self, generation: Generation) -> None:
        """Compile the constraint, if any, in the calling thread, so that other requests need not
        wait for it. Raises ConstraintError."""
        check_constraint(generation, self._tokenizer)

    def submit(self, job: Job) -> None:
        """Queue the completions of a job."""
        self._inbox.put(partial(self._add, job))

    def cancel(self, job: Job) -> None:
        """Cancel the unfinished completions of a job."""
        self._inbox.put(partial(self._cancel, job))

    @property
    def is_alive(self) -> bool:
        """False if the engine failed and could not be restarted."""
        return self._thread.is_alive()

    @property
    def num_running(self) -> int:
        return self._engine.num_running if self._engine else 0

    @property
    def num_waiting(self) -> int:
        return self._engine.num_waiting if self._engine else len(self._to_classify)

    def _run(self) -> None:
        model = self._session.model
        try:
            with (
                self._session.accelerator.autocast(),
                evaluating(model),
                packed_linear_layers(model, generation_dtype(model)),
            ):
                self._open_engine()
                self._is_ready.set_result(None)
                self._work()
        except BaseException as error:
            if self._is_ready.done():
                raise
            self._is_ready.set_exception(error)

    def _work(self) -> None:
        while not self._is_stopping:
            try:
                self._process_inbox()
                self._step()
            except Exception:
                logger.exception("the engine failed")
                self._fail_all()

    def _open_engine(self) -> None:
        if not self._session.labels:
            self._engine = Engine(self._session.model, self._tokenizer, self.max_rows)
            self.max_rows = self._engine.max_rows

    def _process_inbox(self) -> None:
        """Process the calls of the event loop; wait for one if there is nothing to compute."""
        if not self._sequences and not self._to_classify:
            self._inbox.get()()
        while not self._inbox.empty():
            self._inbox.get()()

    def _step(self) -> None:
        if self._to_classify:
            self._classify()
        elif self._sequences:
            for sequence in self._engine.step():
                self._report(sequence)

    def _add(self, job: Job) -> None:
        if self._engine is None:
            self._to_classify += [(job, completion) for completion in job.completions]
            return
        try:
            for completion in job.completions:
                sequence = self._engine.add(completion.request)
                self._sequences[sequence] = job, completion
        except UserError as error:
            self._cancel(job)
            job.update_threadsafe(partial(job.fail, error))
        except Exception:
            logger.exception("a request could not be added to the engine")
            self._cancel(job)
            job.update_threadsafe(partial(job.fail, internal_error()))

    def _cancel(self, job: Job) -> None:
        for sequence in [s for s, (owner, _) in self._sequences.items() if owner is job]:
            self._engine.cancel(sequence)
            self._report(sequence)
        for owner, completion in [each for each in self._to_classify if each[0] is job]:
            self._to_classify.remove((owner, completion))
            job.update_threadsafe(partial(completion.update, "", 0, "cancelled"))

    def _report(self, sequence: Sequence) -> None:
        """Report the progress of a sequence, and remove it if it has finished."""
        job, completion = self._sequences[sequence]
        if sequence.finish_reason is not None:
            del self._sequences[sequence]
        news = sequence.text, len(sequence.token_ids), sequence.finish_reason
        job.update_threadsafe(partial(completion.update, *news))

    def _classify(self) -> None:
        """Predict labels for a batch of waiting prompts."""
        count = min(len(self._to_classify), self.max_rows)
        batch = [self._to_classify.popleft() for _ in range(count)]
        try:
            rows = label_probabilities(
                self._session.model,
                [completion.request.prompt for _, completion in batch],
                self._session.labels,
                self.max_rows,
            )
        except Exception:
            self._to_classify.extendleft(reversed(batch))  # they fail together with the other jobs
            raise
        for (job, completion), row in zip(batch, rows, strict=True):
            label = max(row, key=row.get)
            news = label, len(self._session.labels[label]), "stop", row
            job.update_threadsafe(partial(completion.update, *news))

    def _fail_all(self) -> None:
        """Fail all jobs and restart with an empty engine."""
        error = internal_error()
        jobs = {job for job, _ in (*self._sequences.values(), *self._to_classify)}
        self._sequences.clear()
        self._to_classify.clear()
        for job in jobs:
            job.update_threadsafe(partial(job.fail, error))
        self._open_engine()


def internal_error() -> ApiError:
    return ApiError(500, "the server failed to compute the answer", code="internal_error")
