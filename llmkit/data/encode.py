"""Encode rows as token ids with labels, and write them to Arrow files.

Prompt segments and the completion are tokenized separately and joined, so the labels are known by
construction. Training and generation truncate prompts by the same function.
"""

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from datasets import Dataset, Features, List, Value
from datasets.arrow_writer import ArrowWriter
from transformers import PreTrainedTokenizerBase

from llmkit.config.schema import Data
from llmkit.data.blocks import split_into_blocks, split_into_pieces
from llmkit.data.duplicate_filter import RemovedDuplicates, without_duplicates
from llmkit.data.encoded_rows import open_arrow
from llmkit.data.encoding_report import EncodingReport, RowRecords
from llmkit.data.row_records import (
    RECORD,
    Encoded,
    invalid_row_record,
    removed_row_record,
    row_record,
)
from llmkit.errors import UserError
from llmkit.tasks import Example, Row, Segment, Task, is_blank, to_example

FEATURES = Features(
    {
        "input_ids": List(Value("int32")),
        "labels": List(Value("int32")),
        "where": Value("string"),  # file:line of the row, or of the first document of a block
    }
)
# An example with the token ids of its prompt segments and, last, of its completion.
TokenizedExample = tuple[Example, list[list[int]]]
CHUNK_ROWS = 1000  # rows tokenized together
ROWS_FILE, RECORDS_FILE = "rows.arrow", "records.arrow"  # in the folder of an encoded split


@dataclass(frozen=True)
class EncodingOptions:
    """The keys of the `data` section that the encoding of rows depends on."""

    max_length: int
    truncate_completion: bool = False
    packing: bool = False
    remove_duplicates: RemovedDuplicates | None = None

    @classmethod
    def of(cls, data: Data, *, is_scored: bool = False) -> "EncodingOptions":
        """is_scored: Always truncate completions, since the remaining tokens still have a loss, and
        keep all rows."""
        return cls(
            data.max_length,
            data.truncate_completion or is_scored,
            data.packing,
            None if is_scored else data.remove_duplicates,
        )


def encode_text(texts: list[str], tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    """Token ids of each text. User text never becomes a special token."""
    backend = tokenizer.backend_tokenizer
    backend.encode_special_tokens = True  # `<|endoftext|>` typed in a text is just characters
    return [e.ids for e in backend.encode_batch_fast(texts, add_special_tokens=False)]


def truncate_prompt(
    segments: list[Segment], ids: list[list[int]], max_tokens: int
) -> list[list[int]] | None:
    """The ids of each segment, at most `max_tokens` in total.

    The oldest turns are dropped first, then the source is truncated at its end; of two sources,
    the longer one. Nothing else is truncated. Returns None if no token of the source would be left.
    """
    excess = sum(map(len, ids)) - max_tokens
    kept = []
    dropped_turn = -1
    for segment, tokens in zip(segments, ids, strict=True):
        if segment.turn is not None and (excess > 0 or segment.turn == dropped_turn):
            dropped_turn, excess, tokens = segment.turn, excess - len(tokens), []
        kept.append(tokens)
    sources = [index for index, segment in enumerate(segments) if segment.is_truncatable]
    lengths = truncate_longest([len(kept[index]) for index in sources], max(0, excess))
    for index, length in zip(sources, lengths, strict=True):
        excess -= len(kept[index]) - length
        kept[index] = kept[index][:length]
    return None if excess > 0 else kept


def truncate_longest(lengths: list[int], excess: int) -> list[int]:
    """The lengths, reduced by `excess` in total: always the longest, and none below 1."""
    lengths = list(lengths)
    while excess and max(lengths, default=0) > 1:
        longest = max(lengths)
        next_longest = max((length for length in lengths if length < longest), default=0)
        longest_ones = [index for index, length in enumerate(lengths) if length == longest]
        cut = min(excess, len(longest_ones) * (longest - max(next_longest, 1)))
        for position, index in enumerate(reversed(longest_ones)):
            share, remainder = divmod(cut, len(longest_ones))
            lengths[index] -= share + (position < remainder)
        excess -= cut
    return lengths


def encode_example(
    example: Example, ids: list[list[int]], eos: int, max_length: int, truncate_completion: bool
) -> Encoded:
    """The example in at most `max_length` tokens.

    Args:
        ids: Token ids of each prompt segment, and of the completion.
        eos: Id of the end-of-text token.
        truncate_completion: Truncate a completion that does not fit even after the shortest prompt,
            instead of leaving the row out.
    """
    *prompt_ids, completion = ids
    if example.is_empty:
        return Encoded([], [], "empty")
    completion = [*completion, eos]
    supervised = tuple(i for i, segment in enumerate(example.prompt) if segment.is_supervised)
    prompt = truncate_prompt(example.prompt, prompt_ids, max_length - len(completion))
    if prompt is not None:
        outcome = "whole" if prompt == prompt_ids else "prompt truncated"
        return Encoded(prompt, completion, outcome, supervised)
    shortest = [
        [] if segment.turn is not None else tokens[:1] if segment.is_truncatable else tokens
        for segment, tokens in zip(example.prompt, prompt_ids, strict=True)
    ]
    max_tokens = max_length - sum(map(len, shortest))
    if max_tokens < 1 or not truncate_completion:
        return Encoded([], [], "completion too long")
    return Encoded(shortest, completion[:max_tokens], "completion truncated")


def encode_examples(
    rows: Iterable[Row],
    task: Task,
    tokenizer: PreTrainedTokenizerBase,
    options: EncodingOptions,
) -> Iterator[tuple[Example, list[list[int]], Encoded]]:
    """Yields the example of each row, the token ids of its segments and completion, and the
    encoded row."""
    tokenized = encode_segments((to_example(row, task) for row in rows), tokenizer)
    return _truncate_examples(tokenized, task, tokenizer.eos_token_id, options)


def _truncate_examples(
    tokenized: Iterable[TokenizedExample], task: Task, eos: int, options: EncodingOptions
) -> Iterator[tuple[Example, list[list[int]], Encoded]]:
    """Yields tokenized examples with their encoded rows.

    Documents of plain language modelling are never truncated; end-of-text precedes them.
    """
    for example, ids in tokenized:
        if task.output != "text":
            encoded = encode_example(
                example, ids, eos, options.max_length, options.truncate_completion
            )
        elif is_blank(example.completion):
            encoded = Encoded([], [], "empty")
        else:
            encoded = Encoded([[eos]], [*ids[-1], eos], "whole")
        yield example, ids, encoded


def encode_segments(
    examples: Iterable[Example], tokenizer: PreTrainedTokenizerBase
) -> Iterator[TokenizedExample]:
    """Yields each example with the token ids of its prompt segments and completion."""
    examples, eos = iter(examples), tokenizer.eos_token_id
    while chunk := list(islice(examples, CHUNK_ROWS)):
        rows = [[*(s.text for s in e.prompt), e.completion] for e in chunk]
        texts = list({text: None for row in rows for text in row})  # the template's only once
        ids = dict(zip(texts, encode_text(texts, tokenizer), strict=True))
        for example, row in zip(chunk, rows, strict=True):
            ends = [[eos] if segment.ends_turn else [] for segment in example.prompt]
            yield example, [ids[text] + end for text, end in zip(row, [*ends, []], strict=True)]


def encode_rows(
    rows: Iterable[Row | UserError],
    task: Task,
    tokenizer: PreTrainedTokenizerBase,
    options: EncodingOptions,
    folder: Path | None = None,
    held_out: Iterable[Row] = (),
) -> tuple[Dataset, EncodingReport]:
    """Encode rows into memory-mapped Arrow; also returns a report on every row and token read.

    Args:
        rows: The rows; a UserError stands for a row that cannot be read, and counts as invalid.
        held_out: Rows of other splits, whose duplicates are removed as well if the options say so.
        folder: Where the Arrow files are written; None: files that have no name once they are
            mapped into memory, so that even a killed process leaves none behind.
    """
    if folder is None:
        with _temporary_folder() as folder:
            return encode_rows(rows, task, tokenizer, options, folder, held_out)
    with _open_writers(folder) as (writer, records):
        read = _record_invalid(rows, records)
        if options.remove_duplicates is not None:

            def record(row: Row, outcome: str) -> None:
                records.write(removed_row_record(row["where"], outcome))

            read = without_duplicates(read, task, options.remove_duplicates, held_out, record)
        encoded = encode_examples(read, task, tokenizer, options)
        _write_examples(encoded, task, options, writer, records)
    return load_encoded(folder)


def encode_tokenized(
    tokenized: Iterable[TokenizedExample], task: Task, eos: int, options: EncodingOptions
) -> tuple[Dataset, EncodingReport]:
    """Like `encode_rows`, for rows that are tokenized already. eos: Id of end-of-text."""
    with _temporary_folder() as folder:
        with _open_writers(folder) as (writer, records):
            encoded = _truncate_examples(tokenized, task, eos, options)
            _write_examples(encoded, task, options, writer, records)
        return load_encoded(folder)


@contextmanager
def _temporary_folder() -> Iterator[Path]:
    """A folder that is deleted at the end of the context. Its files may still be mapped into
    memory: the system then keeps their contents. (Windows keeps the folder.)"""
    with tempfile.TemporaryDirectory(prefix="llmkit-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@contextmanager
def _open_writers(folder: Path) -> Iterator[tuple[ArrowWriter, ArrowWriter]]:
    """Writers of encoded rows and of records into a folder."""
    with ExitStack() as stack:
        writer, records = (
            stack.enter_context(ArrowWriter(path=str(folder / name), features=features))
            for name, features in ((ROWS_FILE, FEATURES), (RECORDS_FILE, RECORD))
        )
        yield writer, records
        writer.finalize()
        records.finalize()


def _write_examples(
    encoded: Iterable[tuple[Example, list[list[int]], Encoded]],
    task: Task,
    options: EncodingOptions,
    writer: ArrowWriter,
    records: ArrowWriter,
) -> None:
    """Write the examples that are not left out, and a record for each."""
    for row in _arrange(_record_outcomes(encoded, records), task, options):
        writer.write(row)


def _record_invalid(rows: Iterable[Row | UserError], records: ArrowWriter) -> Iterator[Row]:
    """The rows that can be read; for the others, write a record."""
    for row in rows:
        if isinstance(row, UserError):
            records.write(invalid_row_record(row))
        else:
            yield row


def _record_outcomes(
    encoded_examples: Iterable[tuple[Example, list[list[int]], Encoded]], records: ArrowWriter
) -> Iterator[tuple[Example, Encoded]]:
    """The examples that are not left out; write a record for each."""
    for example, ids, encoded in encoded_examples:
        records.write(row_record(example, ids, encoded))
        if encoded.completion:
            yield example, encoded


def _arrange(
    kept: Iterable[tuple[Example, Encoded]], task: Task, options: EncodingOptions
) -> Iterator[dict[str, Any]]:
    """Rows of FEATURES: one per example, or as plain language modelling splits its texts."""
    if task.output == "text":
        split = split_into_pieces if options.packing else split_into_blocks
        texts = ((example.where, encoded.input_ids) for example, encoded in kept)
        for where, ids in split(texts, options.max_length):
            yield {"input_ids": ids, "labels": ids, "where": where}
        return
    for example, encoded in kept:
        yield {"input_ids": encoded.input_ids, "labels": encoded.labels, "where": example.where}


def load_encoded(folder: Path) -> tuple[Dataset, EncodingReport]:
    """Load the rows and the report that `encode_rows` wrote into a folder."""
    encoded, records = (open_arrow(folder / name) for name in (ROWS_FILE, RECORDS_FILE))
    return encoded, EncodingReport(RowRecords(records))


def max_prompt_tokens(max_length: int, max_new_tokens: int, labels: dict[str, list[int]]) -> int:
    """Maximum length of a prompt in tokens, so that `max_length` has room for what follows it: the
    longest label, or, for a task without labels, `max_new_tokens`."""
    return max_length - max(map(len, labels.values()), default=max_new_tokens)


def encode_prompts(tokenized: Iterable[TokenizedExample], max_tokens: int) -> list[list[int]]:
    """Token ids of each prompt, truncated as in training to at most `max_tokens`.

    Raises UserError for a prompt that does not fit even without its source.
    """
    prompts = []
    for example, ids in tokenized:
        prompt = truncate_prompt(example.prompt, ids[:-1], max_tokens)
        if not prompt:
            raise UserError(
                f"{example.where}: the prompt leaves no room for the completion even without its "
                f"source ({max_tokens} tokens); raise data.max_length or lower "
                "generation.max_new_tokens"
            )
        prompts.append([token for tokens in prompt for token in tokens])
    return prompts
