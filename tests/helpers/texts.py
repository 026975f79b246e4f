"""Rows of plain texts, and how they are prepared."""

import random
from pathlib import Path

import numpy as np
from checked_rows import sentence
from rows import TEXT, write_jsonl

from llmkit.config.schema import Data, Evaluation
from llmkit.data.prepared_text import PreparedText
from llmkit.data.rows import Rows
from llmkit.data.splits import open_splits
from llmkit.data.text_chunks import Document
from llmkit.data.text_shards import PartWriter
from llmkit.io.indexed_tokens import token_type
from llmkit.tasks import get_task


def text_rows(count: int) -> list[dict]:
    """Rows with texts of different lengths: some blank, some repeated, one with end-of-text."""
    texts = [f"{TEXT[i % 3]} {'Again. ' * (i * i % 7)}Row {i}." for i in range(count)]
    texts[3:6] = [" \n ", texts[2], f"A text ends with <|endoftext|>. {texts[4]}"]
    topics = ("ferry", "goose")
    return [{"id": f"t{i}", "text": text, "topic": topics[i % 2]} for i, text in enumerate(texts)]


def write_texts(path: Path, count: int = 60) -> Path:
    return write_jsonl(path, text_rows(count))


def write_copies(path: Path) -> Path:
    """Write rows of texts, near and exact copies of some of them, and blank ones."""
    rng = random.Random(0)
    texts = [sentence(rng, 30) for _ in range(60)]
    copies = [*(f"{text} More." for text in texts[:20]), *texts[10:30], " ", ""]
    return write_jsonl(path, [{"text": text} for text in texts + copies])


def open_texts(path: Path, by: list[str] | None = None, **data) -> dict[str, Rows]:
    return open_splits(Data(train=str(path), **data), get_task("pretrain"), Evaluation(by=by or []))


def write_shards(
    folder: Path, parts: list[list[tuple[str, list[int]]]], vocab_size: int = 300
) -> PreparedText:
    """A prepared folder of given parts: the location and the token ids of each text; a text of no
    tokens is left out. End-of-text is token 0."""
    dtype, files, shards = token_type(vocab_size), {}, []
    for number, texts in enumerate(parts):
        part = PartWriter(folder, number, 0, [], dtype, 0)
        for where, ids in texts:
            part.add(Document("train", where, "text" if ids else " "), ids)
        written = part.publish()
        files |= written["files"]
        shards.append({"name": f"train-{number:05}", **written["splits"]["train"]})
    manifest = {"dtype": dtype.name, "end_of_text": 0, "files": files, "shards": shards}
    return PreparedText(folder, manifest)


def blocks_of(encoded) -> list[tuple[str, list[int], list[int]]]:
    """Location, tokens and labels of each training row."""
    rows = [encoded[index] for index in range(len(encoded))]
    return [
        (encoded.where(index), *(np.asarray(row[name]).tolist() for name in row))
        for index, row in enumerate(rows)
    ]
