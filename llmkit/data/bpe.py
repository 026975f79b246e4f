"""Train the byte-level BPE of a model with random weights (`model: scratch`)."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tokenizers import ByteLevelBPETokenizer, Regex
from tokenizers.pre_tokenizers import ByteLevel, Sequence, Split

from llmkit.constants import END_OF_TEXT
from llmkit.data.cache import code_version, exclusive, identity_of, make_folders
from llmkit.data.prepared_text import TOKENIZER, PreparedSource, PreparedText
from llmkit.data.rows import Rows
from llmkit.errors import UserError
from llmkit.io.atomic import write_text
from llmkit.paths import cache_folder

SAMPLE_BYTES = 10**8  # bytes of text to train on: takes 30 s, and more text changes few merges
MAX_WORD_BYTES = 256  # longer words are split for the training
BPE_SOURCES = ("data/bpe.py",)  # the merges depend on these sources and on cache.TOKEN_SOURCES


@dataclass(frozen=True)
class Bpe:
    """The vocabulary and merges of a byte-level BPE."""

    vocabulary: dict[str, int]
    merges: list[list[str]]


def train_bpe(texts: Iterable[str], vocab_size: int) -> Bpe:
    """Train a BPE on the first SAMPLE_BYTES of the texts."""
    bpe = ByteLevelBPETokenizer()
    # Training time is quadratic in the length of a word, and text without spaces is one word.
    bpe.pre_tokenizer = Sequence(
        [ByteLevel(add_prefix_space=False), Split(Regex(f".{{1,{MAX_WORD_BYTES}}}"), "isolated")]
    )
    bpe.train_from_iterator(
        first_bytes(texts, SAMPLE_BYTES),
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT],
        show_progress=False,
    )
    trained = json.loads(bpe.to_str())["model"]
    return Bpe(trained["vocab"], [list(merge) for merge in trained["merges"]])


def first_bytes(texts: Iterable[str], num_bytes: int) -> Iterator[str]:
    """Yields texts until their total size reaches `num_bytes`."""
    for text in texts:
        yield text
        num_bytes -= len(text) if text.isascii() else len(text.encode())
        if num_bytes <= 0:
            return


def bpe_of(rows: Rows, vocab_size: int, say: Callable[[str], None] = print) -> Bpe:
    """The BPE of training rows, which is trained once and then read from the cache.

    For prepared text, it is the tokenizer of its folder, of any size. If several processes need the
    same BPE, one trains it while the others wait.

    say: Called with a message if this process has to wait.
    """
    if isinstance(rows.source, PreparedSource):
        return _read_tokenizer(rows.source.prepared)
    mixed = {name: [of_set.share, _texts_of(of_set.rows)] for name, of_set in rows.mixed.items()}
    parts = {
        "texts": _texts_of(rows),
        "mixed": mixed,
        "vocab_size": vocab_size,
        "bpe": code_version(BPE_SOURCES),
    }
    key = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    path = cache_folder() / "tokenizers" / f"{key}.json"
    if not path.is_file():
        make_folders(path.parent, cache_folder() / "locks")
        with exclusive(key, say):
            if not path.is_file():  # another process may have trained it in the meantime
                write_text(path, json.dumps(asdict(train_bpe(sample(rows), vocab_size))))
    return _read(path)


def _texts_of(rows: Rows) -> dict[str, Any]:
    return {name: part for name, part in identity_of(rows).items() if name != "skips"}


def sample(rows: Rows) -> Iterator[str]:
    """Yields the first SAMPLE_BYTES of the texts; in a mix, the first texts of each set by its
    share."""
    train_share = 1 - sum(of_set.share for of_set in rows.mixed.values())
    yield from first_bytes(rows.texts(), round(train_share * SAMPLE_BYTES))
    for of_set in rows.mixed.values():
        yield from first_bytes(of_set.rows.texts(), round(of_set.share * SAMPLE_BYTES))


def _read_tokenizer(prepared: PreparedText) -> Bpe:
    path = prepared.folder / TOKENIZER
    model = json.loads(path.read_text("utf-8"))["model"]
    if model.get("type") != "BPE" or END_OF_TEXT not in model["vocab"]:
        raise UserError(
            f"{path}: model=scratch needs a BPE with {END_OF_TEXT}; prepare the text with "
            "model=scratch or model=gpt2"
        )
    return Bpe(model["vocab"], model["merges"])


def _read(path: Path) -> Bpe:
    try:
        return Bpe(**json.loads(path.read_text("utf-8")))
    except (ValueError, TypeError):
        raise UserError(f"{path}: this cached tokenizer is damaged; delete the file") from None
