"""Encode the training rows: into token shards for plain text, otherwise into cached rows."""

import time
from dataclasses import replace

from rich.console import Console
from transformers import PreTrainedTokenizerBase

from llmkit.config.schema import Data
from llmkit.data.cache import encode_cached
from llmkit.data.encode import EncodingOptions
from llmkit.data.encoded_rows import EncodedRows
from llmkit.data.encoded_train import TRAIN_SET, EncodedTrain, mix
from llmkit.data.prepare import is_preparable, with_held_out
from llmkit.data.rows import Rows
from llmkit.data.splits import held_out_rows
from llmkit.data.token_blocks import TokenBlocks
from llmkit.workflows.prepare import prepare_sets, warn_of_many_tokens


def encode_train(
    splits: dict[str, Rows], tokenizer: PreTrainedTokenizerBase, data: Data, console: Console
) -> tuple[EncodedTrain, dict[str, Rows]]:
    """Encode the training rows; returns them and the splits.

    For plain text, the returned held-out splits are read from the folder of prepared text.
    """
    train, started = splits["train"], time.perf_counter()
    if is_preparable(train.task, packing=data.packing):
        prepared = prepare_sets(splits, tokenizer, data, console)
        splits = with_held_out(splits, prepared[TRAIN_SET][0])
        warn_of_many_tokens(splits)
        sets = {
            name: EncodedTrain(TokenBlocks(text, data.max_length), text.report, was_there)
            for name, (text, was_there) in prepared.items()
        }
    else:
        sets = _encode_sets(splits, tokenizer, data, console)
    encoded = sets[TRAIN_SET]
    if train.mixed:
        encoded = mix(sets, {name: of_set.share for name, of_set in train.mixed.items()})
    return replace(encoded, seconds=time.perf_counter() - started), splits


def _encode_sets(
    splits: dict[str, Rows], tokenizer: PreTrainedTokenizerBase, data: Data, console: Console
) -> dict[str, EncodedTrain]:
    """Encode `data.train` (named TRAIN_SET) and each set of `data.mix`."""
    train, options = splits["train"], EncodingOptions.of(data)
    sets = {}
    for name, rows in {TRAIN_SET: train, **{n: m.rows for n, m in train.mixed.items()}}.items():
        encoded, report, was_cached = encode_cached(
            rows, tokenizer, options, console.print, held_out_rows(splits)
        )
        sets[name] = EncodedTrain(EncodedRows(encoded), report, was_cached)
    return sets
