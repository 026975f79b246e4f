"""Jobs of the engine's thread, without a server."""

import asyncio
import random
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager

from rows import TEXT

from llmkit.config.generation import Generation
from llmkit.data.encode import encode_text
from llmkit.generation.generate import complete
from llmkit.generation.request import Request
from llmkit.generation.session import GenerationSession
from llmkit.serving.engine_thread import EngineThread, Job


@contextmanager
def running(session: GenerationSession, max_rows: int = 3) -> Iterator[EngineThread]:
    engine = EngineThread(session, max_rows)
    engine.start()
    try:
        yield engine
    finally:
        engine.stop()


def requests(session: GenerationSession, count: int, number: int = 0, **keys) -> list[Request]:
    """Requests of different lengths, which are sampled."""
    rng = random.Random(number)
    settings = {"temperature": 1.0, "max_new_tokens": 6 + 5 * (number % 3), **keys}
    texts = [rng.choice(TEXT)[: rng.randrange(1, 60)] for _ in range(count)]
    return [
        Request(ids, Generation(**settings), (number, copy))
        for copy, ids in enumerate(encode_text(texts, session.tokenizer))
    ]


def long_requests(session: GenerationSession, count: int) -> list[Request]:
    return requests(session, count, max_new_tokens=60, min_new_tokens=60)


def texts_alone(session: GenerationSession, requests: list[Request]) -> list[str]:
    """The texts of requests, without a thread."""
    sequences = complete(session.model, session.tokenizer, requests, 3)
    return [sequence.text for sequence in sequences]


def texts_of(job: Job) -> list[str]:
    return [completion.text for completion in job.completions]


async def end_of(job: Job) -> None:
    while not job.is_finished:
        await job.wait_for_change()


def run(coroutine: Coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, timeout=300))


async def is_idle(engine: EngineThread) -> bool:
    """Whether the engine has forgotten all requests; waits until it has read its messages."""
    read = asyncio.Event()
    loop = asyncio.get_running_loop()
    engine._inbox.put(lambda: loop.call_soon_threadsafe(read.set))
    await read.wait()
    return not engine.num_running and not engine.num_waiting and not engine._sequences


async def submit(engine: EngineThread, *jobs: Job) -> None:
    """Submit jobs, and wait until they are over and forgotten."""
    for job in jobs:
        engine.submit(job)
    await asyncio.gather(*map(end_of, jobs))
    assert await is_idle(engine)


async def start(engine: EngineThread, job: Job) -> None:
    """Submit a job, and wait until there is something to show."""
    engine.submit(job)
    while not job.is_started:
        await job.wait_for_change()


def state_of(job: Job) -> list[tuple]:
    return [(c.text, c.num_tokens, c.finish_reason) for c in job.completions]
