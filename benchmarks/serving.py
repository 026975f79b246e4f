"""Benchmark `llmkit serve`: throughput compared with the engine alone, and stability under load.

    python -m benchmarks.serving --prompts scitldr.jsonl --column document --tokenizer folder

A randomly initialized GPT-2 124M completes prompts with 10 to 80 new tokens each: first the engine
without a server, then a server for concurrent clients, which stream every second request. The
clients continue for some minutes, while errors are counted and the server's resident memory is
sampled. Clients and server share the cores.
"""

import argparse
import asyncio
import json
import re
import statistics
import subprocess
import sys
import threading
import time
from itertools import count
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import psutil

from benchmarks.generation import ROOT, add_prompt_options, prepare
from benchmarks.generation_job import LONGEST, SHORTEST

BUILD = ROOT / "build" / "benchmark" / "serving"
ROUNDS = 2  # of all prompts, offline and by the clients
SAMPLE_SECONDS = 5  # between memory samples


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add_prompt_options(parser)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--minutes", type=float, default=5)
    options = parser.parse_args()
    prepare(options, BUILD)
    offline = json.loads(run_job("benchmarks.serving_job", str(BUILD), str(options.clients)))
    print(f"offline: {offline['tokens_per_second']:.1f} tokens/s", flush=True)
    with subprocess.Popen(
        [sys.executable, "-m", "llmkit", "serve", "--model", str(BUILD / "model"), "--port", "0",
         "--max-rows", str(options.clients), "--max-queue", str(options.clients)],
        stderr=subprocess.PIPE, text=True,
    ) as server:  # fmt: skip
        try:
            url = url_of(server)
            # Read the log, which would otherwise fill the pipe.
            threading.Thread(target=server.stderr.read, daemon=True).start()
            figures = asyncio.run(load(url, psutil.Process(server.pid), options))
        finally:
            server.terminate()
    rates = {"offline": offline["tokens_per_second"], "server": figures.pop("tokens_per_second")}
    figures = {
        "tokens/s, offline": round(rates["offline"], 1),
        "tokens/s, server": round(rates["server"], 1),
        "server / offline": round(rates["server"] / rates["offline"], 3),
        **figures,
    }
    print(json.dumps(figures, indent=2))


def run_job(*arguments: str) -> str:
    """Run a job in a separate process; return its output."""
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def requests_of(build: Path) -> list[dict[str, Any]]:
    """The request bodies. All prompts begin differently, so that no prefix is shared."""
    prompts = json.loads((build / "prompts.json").read_text("utf-8")) * ROUNDS
    counts = np.random.default_rng(0).integers(SHORTEST, LONGEST + 1, len(prompts)).tolist()
    return [
        {"prompt": [1000 + number, *prompt], "max_tokens": tokens, "min_tokens": tokens}
        for number, (prompt, tokens) in enumerate(zip(prompts, counts, strict=True))
    ]


def url_of(server: subprocess.Popen) -> str:
    """The address that the server prints once it runs."""
    lines = []
    for line in server.stderr:
        lines.append(line)
        if found := re.search(r"http:\S+?(?=;)", line):
            return found[0]
    sys.exit(f"the server did not start:\n{''.join(lines)}")


async def load(url: str, process: psutil.Process, options: argparse.Namespace) -> dict[str, Any]:
    """Measure the server with all clients."""
    bodies = requests_of(BUILD)
    limits = httpx2.Limits(max_connections=options.clients)
    async with httpx2.AsyncClient(base_url=url, timeout=600, limits=limits) as client:
        await ask(client, bodies[0], 0)  # the first request also prepares the products
        started = time.perf_counter()
        results = await ask_all(
            client, bodies, options.clients, lambda number: number < len(bodies)
        )
        seconds = time.perf_counter() - started
        print(f"{len(results)} requests by the clients: {seconds:.1f} s", flush=True)
        end = time.perf_counter() + 60 * options.minutes
        memory = asyncio.create_task(sample_memory(process, end))
        soak = await ask_all(client, bodies, options.clients, lambda _: time.perf_counter() < end)
    samples = await memory
    times = sorted(each["seconds"] for each in soak if not each["error"])
    return {
        "tokens_per_second": sum(each["tokens"] for each in results) / seconds,
        "clients": options.clients,
        "minutes": options.minutes,
        "requests": len(results) + len(soak),
        "errors": [each["error"] for each in (*results, *soak) if each["error"]],
        "median and 95th percentile of seconds": [
            round(statistics.median(times), 2), round(times[int(0.95 * len(times))], 2),
        ],
        "resident MB, first and last minute": [
            round(statistics.mean(part) / 2**20, 1) for part in (samples[:12], samples[-12:])
        ],
    }  # fmt: skip


async def ask_all(client, bodies, num_clients, should_continue) -> list[dict[str, Any]]:
    """Send requests from all clients, one at a time each, while `should_continue(number)`."""
    numbers, results = count(), []

    async def work() -> None:
        while should_continue(number := next(numbers)):
            results.append(await ask(client, bodies[number % len(bodies)], number))

    await asyncio.gather(*(work() for _ in range(num_clients)))
    return results


async def ask(client: httpx2.AsyncClient, body: dict[str, Any], number: int) -> dict[str, Any]:
    """Send one request, streamed if its number is odd."""
    started, error, tokens = time.perf_counter(), None, 0
    body = {**body, "stream": number % 2 == 1, "stream_options": {"include_usage": True}}
    try:
        async with client.stream("POST", "/v1/completions", json=body) as response:
            lines = [line async for line in response.aiter_lines() if line]
        if response.status_code != 200:
            error = f"{response.status_code}: {lines}"
        elif body["stream"] and lines[-1] != "data: [DONE]":
            error = f"incomplete stream: {lines[-1]}"
        else:
            answer = lines[-2].removeprefix("data: ") if body["stream"] else lines[0]
            tokens = json.loads(answer)["usage"]["completion_tokens"]
            if tokens != body["max_tokens"]:
                error = f"{tokens} of {body['max_tokens']} tokens"
    except httpx2.HTTPError as problem:
        error = repr(problem)
    return {"seconds": time.perf_counter() - started, "tokens": tokens, "error": error}


async def sample_memory(process: psutil.Process, end: float) -> list[int]:
    """Sample the resident memory of a process, in bytes, every SAMPLE_SECONDS until `end`."""
    samples = []
    while time.perf_counter() < end:
        samples.append(process.memory_info().rss)
        await asyncio.sleep(SAMPLE_SECONDS)
    return samples


if __name__ == "__main__":
    main()
