"""Rows -> encoded rows. The only file that knows max_length, truncation and end-of-text.

Prompt segments and completion are encoded one by one and joined, so a label mask is made from what
is known, never found by searching; the same function encodes the prompt for training and for
generation.
"""

import hashlib
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, Features, List, Value
from datasets.arrow_writer import ArrowWriter
from transformers import PreTrainedTokenizerBase

from llmkit.account import Account
from llmkit.errors import UserError
from llmkit.loss import IGNORE_INDEX
from llmkit.schema import Recipe
from llmkit.tasks import Example, Row, Segment, Task, to_example

FEATURES = Features(
    {
        "input_ids": List(Value("int32")),
        "labels": List(Value("int32")),
        "where": Value("string"),  # file:line of the row, or of a block's first text, as below
        # By these copies are known; 0 for blocks, which are no rows.
        "digest": Value("int64"),  # of prompt and completion
        "source_digest": Value("int64"),  # of the source alone
    }
)
CHUNK = 1000  # rows tokenized together


@dataclass(frozen=True)
class Encoded:
    """An example in tokens: what is kept of each prompt segment, and what is learnt."""

    prompt: list[list[int]]
    completion: list[int]
    """Ends in end-of-text unless it was cut; nothing for a row that is left out."""
    fate: str
    """`whole`, `prompt shortened`, `completion cut`, or, for a row that is left out,
    `completion too long` or `empty`."""

    @property
    def input_ids(self) -> list[int]:
        return [token for tokens in self.prompt for token in tokens] + self.completion

    @property
    def labels(self) -> list[int]:
        """The tokens that are learnt in their places, unshifted, IGNORE_INDEX elsewhere."""
        return [IGNORE_INDEX] * sum(map(len, self.prompt)) + self.completion


@dataclass(frozen=True)
class Limits:
    """How rows become tokens; the names are the recipe's, where they are explained."""

    max_length: int
    template: str | None = None
    truncate_completion: bool = False
    packing: bool = False


def limits_of(recipe: Recipe, *, is_scored: bool = False) -> Limits:
    """A recipe's limits. Of rows to score, a completion that is cut gives a loss all the same."""
    return Limits(
        recipe.max_length,
        recipe.template,
        recipe.truncate_completion or is_scored,
        recipe.packing,
    )


def room_for_prompt(recipe: Recipe) -> int:
    """Tokens a prompt may have so that generation stays within max_length."""
    return recipe.max_length - recipe.generation.max_new_tokens


def encode_text(texts: list[str], tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    """Token ids of each text. User text never becomes a special token."""
    backend = tokenizer.backend_tokenizer
    backend.encode_special_tokens = True  # `<|endoftext|>` typed in a text is just characters
    return [e.ids for e in backend.encode_batch_fast(texts, add_special_tokens=False)]


def encode_prompt(
    segments: list[Segment], ids: list[list[int]], room: int
) -> list[list[int]] | None:
    """Each segment's ids, in `room` tokens: the source is cut at its end, nothing else is.

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
    return None if excess > 0 else kept


def encode_example(
    example: Example, ids: list[list[int]], eos: int, max_length: int, truncate_completion: bool
) -> Encoded:
    """The example in at most max_length tokens; ids: of the prompt's segments, the completion."""
    *prompt_ids, completion = ids
    if not all(text.strip() for text in (*(s.text for s in example.prompt), example.completion)):
        return Encoded([], [], "empty")
    completion = [*completion, eos]
    prompt = encode_prompt(example.prompt, prompt_ids, max_length - len(completion))
    if prompt is not None:
        return Encoded(prompt, completion, "whole" if prompt == prompt_ids else "prompt shortened")
    shortest = [
        tokens[:1] if segment.is_shortenable else tokens
        for segment, tokens in zip(example.prompt, prompt_ids, strict=True)
    ]
    room = max_length - sum(map(len, shortest))
    if room < 1 or not truncate_completion:
        return Encoded([], [], "completion too long")
    return Encoded(shortest, completion[:room], "completion cut")


def encode_examples(
    rows: Iterable[Row],
    task: Task,
    tokenizer: PreTrainedTokenizerBase,
    limits: Limits,
) -> Iterator[tuple[Example, list[list[int]], Encoded]]:
    """Each row as an example, all its token ids, and what is kept of them.

    A text of plain language modelling is kept whole behind an end-of-text, however long it is.
    """
    eos = tokenizer.eos_token_id
    examples = (to_example(row, task, limits.template) for row in rows)
    for example, ids in _encode_segments(examples, tokenizer):
        if not task.is_language_modelling:
            encoded = encode_example(
                example, ids, eos, limits.max_length, limits.truncate_completion
            )
        elif example.completion.strip():
            encoded = Encoded([[eos]], [*ids[-1], eos], "whole")
        else:
            encoded = Encoded([], [], "empty")
        yield example, ids, encoded


def encode_rows(
    rows: Iterable[Row],
    task: Task,
    tokenizer: PreTrainedTokenizerBase,
    limits: Limits,
    path: Path | None = None,
) -> tuple[Dataset, Account]:
    """Encoded rows in memory-mapped Arrow, and an account of every row and token.

    With packing, texts of plain language modelling are rows of their own instead of one stream.
    path: the Arrow file to write; None: one that goes with the data set. Raises UserError when no
    row is left to learn.
    """
    account = Account()

    def kept() -> Iterator[tuple[Example, Encoded]]:
        for example, ids, encoded in encode_examples(rows, task, tokenizer, limits):
            account.add(
                example,
                ids,
                encoded.fate,
                prompt=sum(map(len, encoded.prompt)) if ids[:-1] else 0,
                trained=len(encoded.completion),
            )
            if encoded.completion:
                yield example, encoded

    encoded = _to_arrow(_layout(kept(), task, limits), path)
    if encoded is None:
        reasons = ", ".join(f"{count} {fate}" for fate, count in account.fates.items())
        first = next(iter(account.odd_rows.values()))[0]
        advice = "mend the rows"
        if account.fates["completion too long"]:
            advice = (
                f"raise max_length={limits.max_length}, shorten the template, or set "
                "truncate_completion=true"
            )
        raise UserError(f"{first} and on: no row is left to learn from ({reasons}); {advice}")
    return encoded, account


def _layout(
    kept: Iterable[tuple[Example, Encoded]], task: Task, limits: Limits
) -> Iterator[dict[str, Any]]:
    """What is kept of the rows as records of FEATURES."""
    if task.is_language_modelling:
        lay_out = _pieces if limits.packing else _blocks
        yield from lay_out(kept, limits.max_length)
        return
    for example, row in kept:
        yield {"input_ids": row.input_ids, "labels": row.labels, **_origin(example)}


def _origin(example: Example) -> dict[str, Any]:
    source = "".join(s.text for s in example.prompt if s.is_shortenable) or example.completion
    return {
        "where": example.where,
        "digest": _digest(f"{example.prompt_text}\0{example.completion}"),
        "source_digest": _digest(source),
    }


def _digest(text: str) -> int:
    return int.from_bytes(
        hashlib.blake2b(text.encode(), digest_size=8).digest(), "big", signed=True
    )


def _blocks(kept: Iterable[tuple[Example, Encoded]], max_length: int) -> Iterator[dict[str, Any]]:
    """Texts, an end-of-text behind each, joined and split into blocks; the last is shorter.

    As GPT-2 was trained (Radford et al. 2019). Each block begins with the previous one's last
    token, since the first token of a row is not predicted: so every token is learnt once.
    """
    buffer: list[int] = []
    step = max_length - 1
    origin: dict[str, Any] = {}
    for example, text in kept:
        origin = origin or {"where": example.where, "digest": 0, "source_digest": 0}
        buffer += text.completion if buffer else text.input_ids
        num_full = (len(buffer) - 1) // step
        for start in range(0, num_full * step, step):
            block = buffer[start : start + max_length]
            yield {"input_ids": block, "labels": block, **origin}
            origin["where"] = example.where
        buffer = buffer[num_full * step :]
        origin = origin if len(buffer) > 1 else {}
    if len(buffer) > 1:
        yield {"input_ids": buffer, "labels": buffer, **origin}


def _pieces(kept: Iterable[tuple[Example, Encoded]], max_length: int) -> Iterator[dict[str, Any]]:
    """Each text by itself, in pieces of max_length; a piece begins with the last one's end."""
    for example, text in kept:
        ids, origin = text.input_ids, _origin(example)
        digest = origin.pop("digest")
        for start in range(0, len(ids) - 1, max_length - 1):
            piece = ids[start : start + max_length]
            yield {"input_ids": piece, "labels": piece, **origin, "digest": digest ^ start}


def encode_prompts(
    examples: Iterable[Example], tokenizer: PreTrainedTokenizerBase, room: int
) -> list[list[int]]:
    """Prompt ids for generation, shortened as in training to leave room for the completion."""
    prompts = []
    for example, ids in _encode_segments(examples, tokenizer):
        prompt = encode_prompt(example.prompt, ids[:-1], room)
        if not prompt:
            raise UserError(
                f"{example.where}: the prompt leaves no room for the completion even without its "
                f"source ({room} tokens); raise max_length or lower generation.max_new_tokens"
            )
        prompts.append([token for tokens in prompt for token in tokens])
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


def _to_arrow(rows: Iterable[dict[str, Any]], path: Path | None) -> Dataset | None:
    """The rows on disk, memory-mapped; None for no rows."""
    folder = None
    if path is None:
        folder = tempfile.TemporaryDirectory(prefix="llmkit-")
        path = Path(folder.name) / "rows.arrow"
    with ArrowWriter(path=str(path), features=FEATURES) as writer:
        for row in rows:
            writer.write(row)
        num_rows, _ = writer.finalize()
    if not num_rows:
        return None
    dataset = Dataset.from_file(str(path))
    dataset.folder = folder  # a temporary one is deleted with the data set
    return dataset


def fingerprint(encoded: Dataset) -> str:
    """sha256 of the tokens and labels, in their order."""
    digest = hashlib.sha256()
    for name in ("input_ids", "labels"):
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
