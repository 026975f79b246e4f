"""Measure what surrounds the training steps: start-up, and the way from rows to tokens.

python -m benchmarks.around '{"model": ..., "rows": {TASK: FILE}, "rounds": ..., "result": ...}'
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from llmkit.runtime.console import library_imports

with library_imports():  # as on the command line
    from transformers import PreTrainedTokenizerBase

    from benchmarks.prepare import open_rows
    from llmkit.data.encode import encode_rows
    from llmkit.model.load import load_model
    from llmkit.tasks import get_task, to_example

BATCH = 1000  # texts per call


def seconds_to_first_step(model: str, rounds: int) -> list[float]:
    """Seconds from `llmkit finetune summarize` to the end of the first step, of one row."""
    seconds = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            command = [
                sys.executable, "-m", "llmkit", "finetune", "summarize", f"model={model}",
                "train.global_batch_size=1", "--run-dir", f"{folder}/run",
            ]  # fmt: skip
            started = time.perf_counter()
            own = os.environ | {"TMPDIR": folder}  # it is killed and cannot clean up
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=own) as process:
                if not any(line.startswith("step 1/") for line in process.stdout):
                    raise RuntimeError(f"no first step: {' '.join(command)}")
                seconds.append(time.perf_counter() - started)
                process.kill()
    return seconds


def tokenizing(
    task_name: str, data: str | None, tokenizer: PreTrainedTokenizerBase, rounds: int
) -> dict[str, Any]:
    """Seconds to encode the rows of a file: by llmkit, which reads the rows and writes tokens,
    labels and a report of each row; by the batch call of the tokenizer on the texts alone; and by
    that of the underlying library, which returns ids only."""
    task = get_task(task_name)
    rows, limits = open_rows(task, data)
    examples = [to_example(row, task) for row in rows]
    texts = [text for e in examples for text in (e.prompt_text, e.completion) if text]
    batches = [texts[start : start + BATCH] for start in range(0, len(texts), BATCH)]
    backend = tokenizer.backend_tokenizer
    ways: dict[str, Callable[[], Any]] = {
        "llmkit": lambda: encode_rows(rows, task, tokenizer, limits),
        "call": lambda: [tokenizer(batch) for batch in batches],
        "library": lambda: [backend.encode_batch_fast(batch) for batch in batches],
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - started)
    return {"rows": len(examples), "characters": sum(map(len, texts)), "seconds": seconds}


def main() -> None:
    given = json.loads(sys.argv[1])
    rounds = given["rounds"]
    _, tokenizer = load_model(given["model"])
    starts = {}
    with tempfile.TemporaryDirectory() as cache:
        os.environ["LLMKIT_CACHE"] = cache
        for name, model in (("embedded", "embedded"), ("124M", given["model"])):
            seconds_to_first_step(model, 1)  # times the matmuls of the machine and encodes the rows
            starts[name] = seconds_to_first_step(model, rounds)
    tokens = {
        task: tokenizing(task, data, tokenizer, rounds) for task, data in given["rows"].items()
    }
    Path(given["result"]).write_text(json.dumps({"starts": starts, "tokenizing": tokens}), "utf-8")


if __name__ == "__main__":
    main()
