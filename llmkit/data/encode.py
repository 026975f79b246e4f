"""Rows -> encoded rows. The only file that knows max_length, truncation and end-of-text.

Prompt segments and completion are encoded one by one and joined, so a label mask is made from what
is known, never found by searching; the same function encodes the prompt for training and for
generation.
"""

import hashlib
import tempfile
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, Features, List, Value
from datasets.arrow_writer import ArrowWriter
from transformers import PreTrainedTokenizerBase

from llmkit.config.schema import Recipe
from llmkit.constants import IGNORE_INDEX
from llmkit.data.encoding_report import RECORD, EncodingReport, invalid_row_record, row_record
from llmkit.errors import UserError
from llmkit.tasks import Example, Row, Segment, Task, to_example

FEATURES = Features(
    {
        "input_ids": List(Value("int32")),
        "labels": List(Value("int32")),
        "where": Value("string"),  # file:line of the row, or of a block's first text
    }
)
CHUNK = 1000  # rows tokenized together
ROWS, RECORDS = "rows.arrow", "records.arrow"  # in the folder of an encoded split


@dataclass(frozen=True)
class Encoded:
    """An example in tokens: what is kept of each prompt segment, and what is learnt."""

    prompt: list[list[int]]
    completion: list[int]
    """Ends in end-of-text unless it was cut; nothing for a row that is left out."""
    outcome: str
    """`whole`, `prompt shortened`, `completion cut`, or, for a row that is left out,
    `completion too long` or `empty`."""

    @property
    def input_ids(self) -> list[int]:
        return [token for tokens in self.prompt for token in tokens] + self.completion

    learnt: tuple[int, ...] = ()
    """Which segments of the prompt are learnt too: each ends in end-of-text."""

    @property
    def labels(self) -> list[int]:
        """The tokens that are learnt in their places, unshifted, IGNORE_INDEX elsewhere."""
        if not self.learnt:
            return [IGNORE_INDEX] * sum(map(len, self.prompt)) + self.completion
        prompt = [
            token if index in self.learnt else IGNORE_INDEX
            for index, tokens in enumerate(self.prompt)
            for token in tokens
        ]
        return prompt + self.completion


@dataclass(frozen=True)
class EncodingOptions:
    """How rows become tokens; the names are the recipe's, where they are explained."""

    max_length: int
    truncate_completion: bool = False
    packing: bool = False


def encoding_options(recipe: Recipe, *, is_scored: bool = False) -> EncodingOptions:
    """A recipe's limits. Of rows to score, a completion that is cut gives a loss all the same."""
    return EncodingOptions(
        recipe.data.max_length,
        recipe.data.truncate_completion or is_scored,
        recipe.data.packing,
    )


def max_prompt_tokens(recipe: Recipe) -> int:
    """Tokens a prompt may have so that generation stays within max_length."""
    return recipe.data.max_length - recipe.generation.max_new_tokens


def encode_text(texts: list[str], tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    """Token ids of each text. User text never becomes a special token."""
    backend = tokenizer.backend_tokenizer
    backend.encode_special_tokens = True  # `<|endoftext|>` typed in a text is just characters
    return [e.ids for e in backend.encode_batch_fast(texts, add_special_tokens=False)]


def token_bytes(texts: list[str], tokenizer: PreTrainedTokenizerBase) -> list[np.ndarray]:
    """For each text, the number of bytes of each of its tokens and of the end-of-text after them.

    For any tokenizer they add up to the bytes of the text, since a token counts the bytes from the
    end of the previous token to its own end: a space counts for the token after it, and so do
    characters that the tokenizer drops.
    """
    backend = tokenizer.backend_tokenizer
    backend.encode_special_tokens = True
    sizes = []
    for text, encoding in zip(
        texts, backend.encode_batch(texts, add_special_tokens=False), strict=True
    ):
        bytes_before = np.cumsum([0, *(len(character.encode()) for character in text)])
        ends = [end for _, end in encoding.offsets]
        ends = np.maximum.accumulate([0, *ends, len(text)])
        sizes.append(np.diff(bytes_before[ends]))
    return sizes


def encode_prompt(
    segments: list[Segment], ids: list[list[int]], room: int
) -> list[list[int]] | None:
    """Each segment's ids, in at most `room` tokens.

    The oldest turns are left out first, then the source is truncated at its end, of two sources
    the longer one. Nothing else is truncated. None if no token of the source would be left.
    """
    excess = sum(map(len, ids)) - room
    kept = []
    left_out = -1
    for segment, tokens in zip(segments, ids, strict=True):
        if segment.turn is not None and (excess > 0 or segment.turn == left_out):
            left_out, excess, tokens = segment.turn, excess - len(tokens), []
        kept.append(tokens)
    sources = [index for index, segment in enumerate(segments) if segment.is_truncatable]
    lengths = shortened([len(kept[index]) for index in sources], max(0, excess))
    for index, length in zip(sources, lengths, strict=True):
        excess -= len(kept[index]) - length
        kept[index] = kept[index][:length]
    return None if excess > 0 else kept


def shortened(lengths: list[int], excess: int) -> list[int]:
    """Reduce the lengths by `excess` in total: the longest first, none below 1."""
    lengths = list(lengths)
    while excess and max(lengths, default=0) > 1:
        longest = max(lengths)
        next_longest = max((length for length in lengths if length < longest), default=0)
        alike = [index for index, length in enumerate(lengths) if length == longest]
        cut = min(excess, len(alike) * (longest - max(next_longest, 1)))
        for place, index in enumerate(reversed(alike)):
            lengths[index] -= cut // len(alike) + (place < cut % len(alike))
        excess -= cut
    return lengths


def encode_example(
    example: Example, ids: list[list[int]], eos: int, max_length: int, truncate_completion: bool
) -> Encoded:
    """The example in at most max_length tokens; ids: of the prompt's segments, the completion."""
    *prompt_ids, completion = ids
    if is_empty(example):
        return Encoded([], [], "empty")
    completion = [*completion, eos]
    learnt = tuple(i for i, segment in enumerate(example.prompt) if segment.is_supervised)
    prompt = encode_prompt(example.prompt, prompt_ids, max_length - len(completion))
    if prompt is not None:
        outcome = "whole" if prompt == prompt_ids else "prompt shortened"
        return Encoded(prompt, completion, outcome, learnt)
    shortest = [
        [] if segment.turn is not None else tokens[:1] if segment.is_truncatable else tokens
        for segment, tokens in zip(example.prompt, prompt_ids, strict=True)
    ]
    room = max_length - sum(map(len, shortest))
    if room < 1 or not truncate_completion:
        return Encoded([], [], "completion too long")
    return Encoded(shortest, completion[:room], "completion cut")


def is_empty(example: Example) -> bool:
    """Whether there is nothing to train on: no completion, or no text of the row in the prompt."""
    from_row = [segment.text for segment in example.prompt if segment.is_from_row]
    is_silent = is_blank(example.completion) and not example.is_unanswerable
    return is_silent or (bool(from_row) and all(map(is_blank, from_row)))


def is_blank(text: str) -> bool:
    """Whether nothing in the text would be seen: only white space, controls and joiners."""
    text = text.strip()
    return not text[:1].isalnum() and all(
        c.isspace() or unicodedata.category(c) in ("Cc", "Cf") for c in text
    )


def encode_examples(
    rows: Iterable[Row],
    task: Task,
    tokenizer: PreTrainedTokenizerBase,
    limits: EncodingOptions,
) -> Iterator[tuple[Example, list[list[int]], Encoded]]:
    """Each row as an example, all its token ids, and what is kept of them.

    A text of plain language modelling is kept whole behind an end-of-text, however long it is.
    """
    eos = tokenizer.eos_token_id
    examples = (to_example(row, task) for row in rows)
    for example, ids in encode_segments(examples, tokenizer):
        if task.output != "text":
            encoded = encode_example(
                example, ids, eos, limits.max_length, limits.truncate_completion
            )
        elif is_blank(example.completion):
            encoded = Encoded([], [], "empty")
        else:
            encoded = Encoded([[eos]], [*ids[-1], eos], "whole")
        yield example, ids, encoded


def encode_rows(
    rows: Iterable[Row | UserError],
    task: Task,
    tokenizer: PreTrainedTokenizerBase,
    limits: EncodingOptions,
    folder: Path | None = None,
) -> tuple[Dataset, EncodingReport]:
    """Encoded rows in memory-mapped Arrow, and a report of every row and token.

    An error among the rows stands for a row that cannot be read; it is counted as invalid.
    With packing, texts of plain language modelling are rows of their own instead of one stream.
    folder: where the Arrow files are written; None: one that goes with the data sets.
    """
    temporary = None
    if folder is None:
        temporary = tempfile.TemporaryDirectory(prefix="llmkit-")
        folder = Path(temporary.name)
    with ExitStack() as stack:
        writer, records = (
            stack.enter_context(ArrowWriter(path=str(folder / name), features=features))
            for name, features in ((ROWS, FEATURES), (RECORDS, RECORD))
        )

        def readable() -> Iterator[Row]:
            for row in rows:
                if isinstance(row, UserError):
                    records.write(invalid_row_record(row))
                else:
                    yield row

        def kept() -> Iterator[tuple[Example, Encoded]]:
            for example, ids, encoded in encode_examples(readable(), task, tokenizer, limits):
                kept = encoded.prompt if ids[:-1] else []
                records.write(
                    row_record(example, ids, encoded.outcome, kept, len(encoded.completion))
                )
                if encoded.completion:
                    yield example, encoded

        for row in _layout(kept(), task, limits):
            writer.write(row)
        writer.finalize()
        records.finalize()
    encoded, encoding_report = load_encoded(folder)
    encoded.folder = encoding_report.records.folder = temporary  # deleted with the data sets
    return encoded, encoding_report


def load_encoded(folder: Path) -> tuple[Dataset, EncodingReport]:
    """What `encode_rows` wrote there."""
    encoded, records = (Dataset.from_file(str(folder / name)) for name in (ROWS, RECORDS))
    return encoded, EncodingReport(records)


def require_rows(encoding_report: EncodingReport, limits: EncodingOptions) -> None:
    """Raise UserError when no row is left to learn."""
    if encoding_report.tokens["trained"]:
        return
    reasons = ", ".join(f"{count} {outcome}" for outcome, count in encoding_report.outcomes.items())
    advice = "mend the rows"
    if encoding_report.outcomes["completion too long"] and not limits.truncate_completion:
        advice = (
            f"raise data.max_length={limits.max_length}, shorten the template, or set "
            "data.truncate_completion=true"
        )
    first = encoding_report.records[0]["where"]
    raise UserError(f"{first} and on: no row is left to learn from ({reasons}); {advice}")


def _layout(
    kept: Iterable[tuple[Example, Encoded]], task: Task, limits: EncodingOptions
) -> Iterator[dict[str, Any]]:
    """What is kept of the rows as records of FEATURES."""
    if task.output == "text":
        lay_out = _pieces if limits.packing else _blocks
        yield from lay_out(kept, limits.max_length)
        return
    for example, row in kept:
        yield {"input_ids": row.input_ids, "labels": row.labels, "where": example.where}


def _blocks(kept: Iterable[tuple[Example, Encoded]], max_length: int) -> Iterator[dict[str, Any]]:
    """Texts, an end-of-text behind each, joined and split into blocks; the last is shorter.

    As GPT-2 was trained (Radford et al. 2019). Each block begins with the previous one's last
    token, since the first token of a row is not predicted: so every token is learnt once.
    """
    buffer: list[int] = []
    step = max_length - 1
    where = ""
    for example, text in kept:
        where = where or example.where
        buffer += text.completion if buffer else text.input_ids
        num_full = (len(buffer) - 1) // step
        for start in range(0, num_full * step, step):
            block = buffer[start : start + max_length]
            yield {"input_ids": block, "labels": block, "where": where}
            where = example.where
        buffer = buffer[num_full * step :]
        where = where if len(buffer) > 1 else ""
    if len(buffer) > 1:
        yield {"input_ids": buffer, "labels": buffer, "where": where}


def _pieces(kept: Iterable[tuple[Example, Encoded]], max_length: int) -> Iterator[dict[str, Any]]:
    """Each text by itself, in pieces of max_length; a piece begins with the last one's end."""
    for example, text in kept:
        ids = text.input_ids
        for start in range(0, len(ids) - 1, max_length - 1):
            piece = ids[start : start + max_length]
            yield {"input_ids": piece, "labels": piece, "where": example.where}


def encode_prompts(
    examples: Iterable[Example], tokenizer: PreTrainedTokenizerBase, room: int
) -> list[list[int]]:
    """Prompt ids for generation, shortened as in training to leave room for the completion."""
    prompts = []
    for example, ids in encode_segments(examples, tokenizer):
        prompt = encode_prompt(example.prompt, ids[:-1], room)
        if not prompt:
            raise UserError(
                f"{example.where}: the prompt leaves no room for the completion even without its "
                f"source ({room} tokens); raise data.max_length or lower generation.max_new_tokens"
            )
        prompts.append([token for tokens in prompt for token in tokens])
    return prompts


def encode_segments(
    examples: Iterable[Example], tokenizer: PreTrainedTokenizerBase
) -> Iterator[tuple[Example, list[list[int]]]]:
    """Each example with the ids of its prompt segments and of its completion, chunk by chunk."""
    examples, eos = iter(examples), tokenizer.eos_token_id
    while chunk := list(islice(examples, CHUNK)):
        rows = [[*(s.text for s in e.prompt), e.completion] for e in chunk]
        texts = list({text: None for row in rows for text in row})  # the template's only once
        ids = dict(zip(texts, encode_text(texts, tokenizer), strict=True))
        for example, row in zip(chunk, rows, strict=True):
            ends = [[eos] if segment.ends_turn else [] for segment in example.prompt]
            yield example, [ids[text] + end for text, end in zip(row, [*ends, []], strict=True)]


def fingerprint(encoded: Dataset) -> str:
    """sha256 of the tokens and labels, in their order."""
    digest = hashlib.sha256()
    for name in ("input_ids", "labels"):
        for chunk in encoded.data.column(name).chunks:
            digest.update(chunk.flatten().to_numpy().tobytes())
    return digest.hexdigest()


def count_tokens(encoded: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """For each row: tokens, and tokens that carry loss (the first is never predicted)."""
    lengths, supervised = [], []
    for chunk in encoded.data.column("labels").chunks:  # never all tokens at once
        ends = chunk.offsets.to_numpy()
        is_supervised = chunk.values.to_numpy()[ends[0] : ends[-1]] != IGNORE_INDEX
        starts = ends[:-1] - ends[0]
        is_supervised[starts] = False
        lengths.append(np.diff(ends))
        supervised.append(np.add.reduceat(is_supervised, starts, dtype=np.int64))
    return np.concatenate(lengths), np.concatenate(supervised)


def encode_labels(
    answers: Iterable[str], tokenizer: PreTrainedTokenizerBase
) -> dict[str, list[int]]:
    """Token ids of each label as a completion; labels in alphabetical order."""
    labels = sorted(answers)
    if not labels:
        raise UserError(
            "data.train: no row has a label; name another column with data.columns.label"
        )
    if len(labels) < 2:
        raise UserError(
            f"data.train: all rows have the label {labels[0]!r}; classify needs at least two labels"
        )
    ids = encode_text([f" {label}" for label in labels], tokenizer)
    return {
        label: [*tokens, tokenizer.eos_token_id] for label, tokens in zip(labels, ids, strict=True)
    }
