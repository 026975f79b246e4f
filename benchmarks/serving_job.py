"""Throughput of the engine without a server, for serving.py; prints a line of JSON."""

import json
import sys
import time
from pathlib import Path

from benchmarks.serving import requests_of
from llmkit.config.generation import Generation
from llmkit.generation.generate import complete
from llmkit.generation.request import Request
from llmkit.generation.session import open_session
from llmkit.runtime.console import make_console


def main(build: Path, max_rows: int) -> None:
    session = open_session(str(build / "model"), (), {}, 0, make_console(quiet=True))
    requests = [
        Request(
            body["prompt"],
            Generation(max_new_tokens=body["max_tokens"], min_new_tokens=body["min_tokens"]),
        )
        for body in requests_of(build)
    ]
    with session.accelerator.autocast():
        complete(session.model, session.tokenizer, requests[:1], max_rows)
        started = time.perf_counter()
        complete(session.model, session.tokenizer, requests, max_rows)
        seconds = time.perf_counter() - started
    tokens = sum(request.generation.max_new_tokens for request in requests)
    print(json.dumps({"tokens_per_second": tokens / seconds}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
