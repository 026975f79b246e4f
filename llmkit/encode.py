"""Rows -> encoded rows -> batches. The only file that knows max_length, truncation and EOS.

Prompt segments and completion are encoded one by one and joined, so a label mask is made from what
is known, never found by searching; the same function encodes the prompt for training and for
generation.
"""

import hashlib
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np
import torch
from datasets import Dataset, Features, List, Value
from datasets.arrow_writer import ArrowWriter
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from llmkit.errors import UserError
from llmkit.loss import IGNORE_INDEX
from llmkit.tasks import Example, Row, Segment, Task, to_example

FEATURES = Features({"input_ids": List(Value("int32")), "labels": List(Value("int32"))})
CHUNK = 1000  # rows tokenized together


def encode_text(texts: list[str], tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    """Token ids of each text. User text never becomes a special token."""
    backend = tokenizer.backend_tokenizer
    backend.encode_special_tokens = True  # `<|endoftext|>` typed in a text is just characters
    return [e.ids for e in backend.encode_batch_fast(texts, add_special_tokens=False)]


def encode_prompt(segments: list[Segment], ids: list[list[int]], room: int) -> list[int] | None:
    """The prompt's ids in at most `room` tokens: the source is cut at its end, nothing else is.

    None where not one token of the source would be left.
    """
    excess = sum(map(len, ids)) - room
    kept = []
    for segment, tokens in zip(segments, ids, strict=True):
        if excess > 0 and segment.is_shortenable:
            cut = min(excess, max(0, len(tokens) - 1))
            excess -= cut
            tokens = tokens[: len(tokens) - cut]
        kept.append(tokens)
    return None if excess > 0 else [token for tokens in kept for token in tokens]


def encode_example(
    example: Example, ids: list[list[int]], eos: int, max_length: int, truncate_completion: bool
) -> tuple[dict[str, list[int]] | None, str]:
    """(input_ids and unshifted labels, what was done): the row in at most max_length tokens.

    ids: the tokens of the prompt's segments and of the completion. Done is `whole`,
    `prompt shortened`, `completion cut`, or, for a row that is left out, `completion too long`
    or `empty`.
    """
    *prompt_ids, completion = ids
    sources = (segment.text for segment in example.prompt if segment.is_shortenable)
    if not example.completion.strip() or not all(source.strip() for source in sources):
        return None, "empty"
    completion = [*completion, eos]
    done = "whole"
    prompt = encode_prompt(example.prompt, prompt_ids, max_length - len(completion))
    if prompt is None and truncate_completion:
        prompt = encode_prompt(example.prompt, prompt_ids, max_length - 1)
        completion = completion[: max_length - len(prompt)] if prompt is not None else []
        done = "completion cut"
    if prompt is None:
        return None, "completion too long"
    if done == "whole" and len(prompt) < sum(map(len, prompt_ids)):
        done = "prompt shortened"
    labels = [IGNORE_INDEX] * len(prompt) + completion
    return {"input_ids": prompt + completion, "labels": labels}, done


def encode_rows(
    rows: Iterable[Row],
    task: Task,
    tokenizer: PreTrainedTokenizerBase,
    *,
    template: str | None,
    max_length: int,
    truncate_completion: bool,
) -> tuple[Dataset, Counter[str]]:
    """Encoded rows in memory-mapped Arrow, and how many rows met which fate.

    Raises UserError when no row is left to learn from.
    """
    fates: Counter[str] = Counter()

    def generate() -> Iterator[dict[str, list[int]]]:
        examples = (to_example(row, task, template) for row in rows)
        if task.is_language_modelling:
            yield from _blocks(examples, tokenizer, max_length, fates)
            return
        for example, ids in _encode_segments(examples, tokenizer):
            encoded, fate = encode_example(
                example, ids, tokenizer.eos_token_id, max_length, truncate_completion
            )
            fates[fate] += 1
            if encoded:
                yield encoded

    encoded = _to_arrow(generate())
    if encoded is None:
        reasons = ", ".join(f"{count} {fate}" for fate, count in fates.items())
        raise UserError(
            f"max_length {max_length}: no row is left to learn from ({reasons}); "
            "raise max_length, shorten the template, or set truncate_completion=true"
        )
    return encoded, fates


def encode_prompts(
    examples: Iterable[Example], tokenizer: PreTrainedTokenizerBase, room: int
) -> list[list[int]]:
    """Prompt ids for generation, shortened as in training to leave room for the completion."""
    prompts = []
    for example, ids in _encode_segments(examples, tokenizer):
        prompt = encode_prompt(example.prompt, ids[:-1], room)
        if not prompt:
            raise UserError(
                f"row {example.id}: the prompt leaves no room for the completion even without its "
                f"source ({room} tokens); raise max_length or lower generation.max_new_tokens"
            )
        prompts.append(prompt)
    return prompts


def _encode_segments(
    examples: Iterable[Example], tokenizer: PreTrainedTokenizerBase
) -> Iterator[tuple[Example, list[list[int]]]]:
    """Each example with the ids of its prompt segments and of its completion, chunk by chunk."""
    examples = iter(examples)
    while chunk := list(islice(examples, CHUNK)):
        texts = [[*(s.text for s in e.prompt), e.completion] for e in chunk]
        ids = iter(encode_text([text for row in texts for text in row], tokenizer))
        for example, row in zip(chunk, texts, strict=True):
            yield example, [next(ids) for _ in row]


def _blocks(
    examples: Iterable[Example],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    fates: Counter[str],
) -> Iterator[dict[str, list[int]]]:
    """Texts, an EOS behind each, joined and split into blocks of max_length; the last is shorter.

    As GPT-2 was trained (Radford et al. 2019). Each block begins with the previous one's last
    token, since the first token of a row is not predicted: so every token is learnt once.
    """
    buffer: list[int] = [tokenizer.eos_token_id]
    step = max_length - 1
    for example, ids in _encode_segments(examples, tokenizer):
        if not example.completion.strip():
            fates["empty"] += 1
            continue
        fates["whole"] += 1
        buffer += [*ids[-1], tokenizer.eos_token_id]
        num_full = (len(buffer) - 1) // step
        for start in range(0, num_full * step, step):
            block = buffer[start : start + max_length]
            yield {"input_ids": block, "labels": block}
        buffer = buffer[num_full * step :]
    if len(buffer) > 1:
        yield {"input_ids": buffer, "labels": buffer}


def _to_arrow(rows: Iterable[dict[str, list[int]]]) -> Dataset | None:
    """The rows on disk, memory-mapped; None for no rows. The folder goes when the data set does."""
    folder = tempfile.TemporaryDirectory(prefix="llmkit-")
    path = f"{folder.name}/rows.arrow"
    with ArrowWriter(path=path, features=FEATURES) as writer:
        for row in rows:
            writer.write(row)
        num_rows, _ = writer.finalize()
    if not num_rows:
        return None
    dataset = Dataset.from_file(path)
    dataset.folder = folder  # deleted with the data set
    return dataset


def fingerprint(encoded: Dataset) -> str:
    """sha256 of the tokens and labels, in their order."""
    digest = hashlib.sha256()
    for name in FEATURES:
        for chunk in encoded.data.column(name).chunks:
            digest.update(chunk.flatten().to_numpy().tobytes())
    return digest.hexdigest()


def count_tokens(encoded: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """For each row: tokens, and tokens that carry loss (the first is never predicted)."""
    labels = encoded.data.column("labels").combine_chunks()
    ends = labels.offsets.to_numpy()
    is_supervised = (labels.values.to_numpy() != IGNORE_INDEX).astype(np.int64)
    is_supervised[ends[:-1]] = 0
    return np.diff(ends), np.add.reduceat(is_supervised, ends[:-1])


# ------------------------------------------------------------------------------ batches


def row_order(num_rows: int, seed: int, epoch: int) -> list[int]:
    """The order of the rows in an epoch: a pure function of seed and epoch."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    return torch.randperm(num_rows, generator=generator).tolist()


def split_step(
    indices: list[int], lengths: list[int], micro_batch_size: int, num_processes: int
) -> list[list[list[int]]]:
    """The rows of one optimizer step -> for each process, its micro-batches.

    Rows of like length share a micro-batch, which saves padding and, as the step's loss is one
    mean over all its tokens, changes nothing else. Every process gets as many micro-batches as
    the others, so that they meet at each synchronisation; the filling ones are empty.
    """
    by_length = sorted(indices, key=lambda index: lengths[index], reverse=True)
    size = min(micro_batch_size, -(-len(indices) // num_processes))  # some for every process
    micro_batches = [by_length[i : i + size] for i in range(0, len(by_length), size)]
    micro_batches += [[]] * (-len(micro_batches) % num_processes)
    return [micro_batches[rank::num_processes] for rank in range(num_processes)]


def collate(rows: list[dict[str, list[int]]]) -> dict[str, Tensor]:
    """Encoded rows -> input_ids and labels (B, T), padded on the right with token 0, no label.

    No rows: one padding token without a label, whose loss is 0.
    """
    rows = rows or [{"input_ids": [0, 0], "labels": [IGNORE_INDEX] * 2}]
    length = max(len(row["input_ids"]) for row in rows)
    batch = {
        "input_ids": torch.zeros(len(rows), length, dtype=torch.long),
        "labels": torch.full((len(rows), length), IGNORE_INDEX),
    }
    for index, row in enumerate(rows):
        for name, values in batch.items():
            values[index, : len(row[name])] = torch.tensor(row[name])
    return batch
