"""Write the rows and the model that all contestants share, once per benchmark.

python -m benchmarks.prepare '{"folder": ..., "tokenizer": ..., "workloads": [...]}'
"""

import json
import random
import sys
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import GPT2Config, GPT2LMHeadModel, GPT2Tokenizer, PreTrainedTokenizerBase

from benchmarks.job import SEED
from llmkit.config.recipe import load_recipe
from llmkit.constants import IGNORE_INDEX
from llmkit.data.encode import FEATURES, EncodingOptions, encode_rows
from llmkit.data.rows import Rows
from llmkit.data.splits import open_splits
from llmkit.model.load import load_model
from llmkit.tasks import Task, get_task

MAX_LENGTH = 1024


def write_model(folder: Path, tokenizer_folder: str | None) -> PreTrainedTokenizerBase:
    """GPT-2 124M with random weights, and its tokenizer: the given one, else the embedded one."""
    if tokenizer_folder is None:
        _, tokenizer = load_model("embedded")
    else:
        tokenizer = GPT2Tokenizer.from_pretrained(tokenizer_folder)
    end = tokenizer.eos_token_id
    torch.manual_seed(SEED)
    GPT2LMHeadModel(GPT2Config(bos_token_id=end, eos_token_id=end)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return tokenizer


def open_rows(
    task: Task, data: str | None, limit: int | None = None
) -> tuple[Rows, EncodingOptions]:
    """The first rows of a file, or embedded rows, and the options to encode them."""
    overrides = [f"data.max_length={MAX_LENGTH}"]
    overrides += [f"data.{split}={data}" for split in ("train", "validation", "test") if data]
    overrides += [f"data.limit={limit}"] if limit else []
    recipe = load_recipe(task.name, overrides=tuple(overrides))
    return open_splits(recipe.data, task)["train"], EncodingOptions.of(recipe.data)


def real_rows(workload: dict[str, Any], tokenizer: PreTrainedTokenizerBase) -> list[dict]:
    """Rows encoded by llmkit; of plain text, full blocks only."""
    task = get_task(workload["task"])
    is_text = task.output == "text"
    limit = None if is_text else workload["batch"] * workload["steps"]
    rows, limits = open_rows(task, workload["data"], limit)
    encoded, _ = encode_rows(rows, task, tokenizer, limits)
    return [row for row in encoded if not is_text or len(row["input_ids"]) == MAX_LENGTH]


def random_rows(length: int, count: int) -> list[dict]:
    """Rows of random tokens, the last eighth of each supervised."""
    vocab_size = GPT2Config().vocab_size
    draw = random.Random(SEED)
    rows = []
    for _ in range(count):
        ids = [draw.randrange(vocab_size) for _ in range(length)]
        kept = length // 8
        labels = [IGNORE_INDEX] * (length - kept) + ids[-kept:]
        rows.append({"input_ids": ids, "labels": labels, "where": "random"})
    return rows


def write_rows(workload: dict[str, Any], tokenizer: PreTrainedTokenizerBase) -> None:
    """Write as many full batches as the steps need, or all there are, which are then repeated."""
    needed = workload["batch"] * workload["steps"]
    if workload["length"]:
        rows = random_rows(workload["length"], needed)
    else:
        rows = real_rows(workload, tokenizer)
    kept = min(needed, len(rows)) // workload["batch"] * workload["batch"]
    if not kept:
        raise SystemExit(f"{workload['name']}: {len(rows)} rows do not fill a batch")
    Dataset.from_list(rows[:kept], features=FEATURES).save_to_disk(workload["rows"])


def main() -> None:
    given = json.loads(sys.argv[1])
    tokenizer = write_model(Path(given["model"]), given["tokenizer"])
    for workload in given["workloads"]:
        write_rows(workload, tokenizer)


if __name__ == "__main__":
    main()
