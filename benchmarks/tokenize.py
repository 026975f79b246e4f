"""Benchmark `llmkit prepare`, and the start of a training on what it prepared.

    python -m benchmarks.tokenize --tokenizer FOLDER --text corpus.txt --megabytes 100 2000

Documents of about 5 kB are generated from the sentences of a text, with one word in 50 changed. For
each size: the rate of `prepare` against that of the tokenizers library alone on the same texts,
which is measured before and after it, the peak of its resident memory, the bytes on disk per token,
and, for a training on the result, the seconds from the start of the command to its first step, and
its peak memory. The training reads the prepared folder and, for the first size, also the source.
"""

import argparse
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import GPT2Config, GPT2LMHeadModel, GPT2Tokenizer

DOCUMENT_BYTES = 5000
CHANGED = 0.02  # share of the words that are changed, as names and typing errors are
BASELINE_BYTES = 10**8  # of text that the tokenizers library alone is timed on
CHUNK_ROWS = 1000
MB = 10**6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokenizer", required=True, help="folder with vocab.json, merges.txt")
    parser.add_argument("--text", required=True, help="file whose sentences are used")
    parser.add_argument("--megabytes", type=int, nargs="+", default=[100])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write_model(Path(folder) / "model", options.tokenizer)
        for number, megabytes in enumerate(options.megabytes):
            path = Path(folder) / f"{megabytes}.jsonl"
            write_documents(path, Path(options.text), megabytes * MB)
            figures = measure(Path(folder), path, from_source=number == 0)
            print(json.dumps(figures, indent=2), flush=True)
            path.unlink()


def write_model(folder: Path, tokenizer: str) -> None:
    """A tiny GPT-2 with the given tokenizer."""
    own = GPT2Tokenizer.from_pretrained(tokenizer)
    torch.manual_seed(0)
    config = GPT2Config(n_layer=1, n_head=1, n_embd=8, n_positions=1024, vocab_size=len(own))
    GPT2LMHeadModel(config).save_pretrained(folder)
    own.save_pretrained(folder)


def write_documents(path: Path, text: Path, num_bytes: int) -> None:
    chance = random.Random(0)
    sentences = re.split(r"(?<=[.!?]) ", text.read_text("utf-8"))
    written = 0
    with path.open("w", encoding="utf-8") as file:
        while written < num_bytes:
            document = make_document(sentences, chance)
            written += len(document.encode())
            file.write(json.dumps({"text": document}) + "\n")


def make_document(sentences: list[str], chance: random.Random) -> str:
    parts, size = [], 0
    while size < DOCUMENT_BYTES:
        words = chance.choice(sentences).split(" ")
        for index in range(len(words)):
            if chance.random() < CHANGED:
                words[index] = "".join(chance.sample(words[index], len(words[index])))
        parts.append(" ".join(words))
        size += len(parts[-1]) + 1
    return " ".join(parts)


def measure(folder: Path, path: Path, *, from_source: bool) -> dict:
    model, tokens = folder / "model", folder / f"{path.stem}-tokens"
    alone = [rate_alone(model, path)]
    recipe = ("pretrain", f"model={model}", "data.validation_fraction=0.005",
              "data.test_fraction=0.005")  # fmt: skip
    environment = {**os.environ, "LLMKIT_CACHE": str(folder / "cache")}
    prepare = run(["prepare", *recipe, f"data.train={path}", "--output", str(tokens)], environment)
    alone.append(rate_alone(model, path))
    rate = int(re.search(r"([\d,]+) tokens/s", prepare["output"])[1].replace(",", ""))
    manifest = json.loads((tokens / "manifest.json").read_text())
    num_tokens = sum(shard["tokens"] for shard in manifest["shards"])
    on_disk = sum(
        file["bytes"] for name, file in manifest["files"].items() if name.startswith("train-")
    )
    steps = ("data.max_length=1024", "train.max_steps=2", "train.epochs=null", "train.log_every=1",
             "train.global_batch_size=2", "evaluation.validation_rows=2",
             "evaluation.test_rows=2")  # fmt: skip
    start = {}
    sources = {"folder": tokens} | ({"source file": path} if from_source else {})
    for name, source in sources.items():
        if source is path:  # through the cache, where it is found by the hash of its content
            run(["prepare", *recipe, f"data.train={path}"], environment)
        log = folder / f"run-{path.stem}-{name[:6]}"
        arguments = ["finetune", *recipe, f"data.train={source}", *steps, "--run-dir", str(log)]
        finetune = run(arguments, environment, log / "metrics.jsonl")
        start[name] = {
            "seconds to the first step": finetune["seconds to the file"],
            "peak MB": finetune["peak MB"],
        }
    return {
        "MB of text": manifest["text_bytes"] // MB,
        "tokens": num_tokens,
        "tokens/s of the tokenizers library alone, before and after": [*map(round, alone)],
        "tokens/s of prepare": rate,
        "ratio": round(rate / statistics.mean(alone), 2),
        "peak MB of prepare": prepare["peak MB"],
        "bytes on disk per token": round(on_disk / num_tokens, 3),
        "start of a training on": start,
    }


def rate_alone(model: Path, path: Path) -> float:
    """Tokens per second of `encode_batch_fast` on texts that are in memory, on all cores."""
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    texts = list(texts_of(path, BASELINE_BYTES))
    tokenizer.encode_batch_fast(texts[:100], add_special_tokens=False)
    num_tokens, started = 0, time.perf_counter()
    chunks = iter(texts)
    while chunk := list(islice(chunks, CHUNK_ROWS)):
        num_tokens += sum(map(len, tokenizer.encode_batch_fast(chunk, add_special_tokens=False)))
    return num_tokens / (time.perf_counter() - started)


def texts_of(path: Path, num_bytes: int) -> Iterator[str]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)["text"]
            num_bytes -= len(line)
            if num_bytes < 0:
                return


def run(arguments: list[str], environment: dict[str, str], awaited: Path | None = None) -> dict:
    """Run a command of llmkit.

    awaited: A file; the seconds until it has content are measured.
    """
    started = time.perf_counter()
    seconds = None
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "llmkit", *arguments], env=environment, stdout=output,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
        while True:
            ended, status, usage = os.wait4(process.pid, os.WNOHANG)
            if seconds is None and awaited and awaited.is_file() and awaited.stat().st_size:
                seconds = round(time.perf_counter() - started, 1)
            if ended:
                break
            time.sleep(0.05)
        output.seek(0)
        content = output.read()
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, content
    return {
        "output": content,
        "peak MB": usage.ru_maxrss * 1024 // MB,
        "seconds to the file": seconds,
    }


if __name__ == "__main__":
    main()
