"""The implementation of `llmkit prepare`: tokenize the pretraining documents of a recipe."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from rich.console import Console
from transformers import PreTrainedTokenizerBase

from llmkit.config.schema import Data, Recipe
from llmkit.data.duplicate_filter import REMOVED
from llmkit.data.encoded_train import TRAIN_SET
from llmkit.data.preparation import Progress, Show
from llmkit.data.prepare import is_preparable, prepare, with_held_out
from llmkit.data.prepared_text import HeldOutText, PreparedSource, PreparedText
from llmkit.data.recipe_task import recipe_task
from llmkit.data.rows import Rows
from llmkit.data.splits import held_out_rows, open_splits
from llmkit.data.unique_texts import Removal
from llmkit.errors import UserError, count_of
from llmkit.model.recipe_model import open_tokenizer
from llmkit.runtime.console import counting, warning_console
from llmkit.tasks import Task
from llmkit.units import show_bytes, show_seconds

MB = 10**6
MANY_TOKENS = 10**7  # of held-out documents: more take GB of memory and minutes at each start


def prepare_recipe(
    recipe: Recipe, folder: Path | None, console: Console, *, is_verified: bool = False
) -> dict[str, PreparedText]:
    """Prepare the documents of a recipe, unless they are already prepared, and print their counts.

    Returns the prepared text of each set, see `prepare_sets`.

    Args:
        recipe: The recipe.
        folder: Output folder; None: a folder in the cache.
        console: Console for progress and results.
        is_verified: Whether to verify the checksums of all files.

    Raises:
        UserError: The recipe, the rows or the folder have a mistake, or a file is damaged.
    """
    task = recipe_task(recipe)
    refuse_other_tasks(task, packing=recipe.data.packing)
    if folder is not None and recipe.data.mix:
        raise UserError(
            "--output: the folder can hold only one set; leave it out to prepare all sets of "
            "data.mix in the cache, or prepare each set separately"
        )
    splits = open_splits(recipe.data, task, recipe.evaluation)
    source = splits["train"].source
    if folder is not None and isinstance(source, PreparedSource):
        raise UserError(f"--output: {source.name} is prepared text already; leave --output out")
    tokenizer = open_tokenizer(recipe.model, splits["train"], console.print)
    prepared_sets = prepare_sets(splits, tokenizer, recipe.data, console, folder)
    sets = {name: prepared for name, (prepared, _) in prepared_sets.items()}
    warn_of_many_tokens(with_held_out(splits, sets[TRAIN_SET]))
    for name, prepared in sets.items():
        if is_verified:
            prepared.verify()
        if len(sets) > 1:
            console.print(f"set         {name}")
        show_prepared(prepared, console)
    return sets


def refuse_other_tasks(task: Task, *, packing: bool) -> None:
    if is_preparable(task, packing=packing):
        return
    if task.output == "text":
        raise UserError(
            "data.packing: prepare joins all documents into one stream of tokens; set "
            "data.packing=false"
        )
    raise UserError(
        f"task: only pretrain can be prepared, not {task.name}; `llmkit finetune` encodes and "
        "caches its rows"
    )


def prepare_sets(
    splits: dict[str, Rows],
    tokenizer: PreTrainedTokenizerBase,
    data: Data,
    console: Console,
    folder: Path | None = None,
) -> dict[str, tuple[PreparedText, bool]]:
    """Prepare `data.train` and each set of `data.mix`, and show the progress.

    Returns, by name of the set (TRAIN_SET for `data.train`), the prepared text and whether it was
    already there.

    folder: Output folder for `data.train`; None: a folder in the cache.
    """

    def prepare_set(
        splits: dict[str, Rows], held_out: list[Rows], folder: Path | None = None
    ) -> tuple[PreparedText, bool]:
        kind, show = data.remove_duplicates, partial(progress, splits, console)
        removal = Removal(kind, held_out) if kind else None
        return prepare(splits, tokenizer, folder, console.print, show, removal)

    own = prepare_set(splits, held_out_rows(splits), folder)
    held_out = held_out_rows(with_held_out(splits, own[0]))
    mixed = splits["train"].mixed
    return {TRAIN_SET: own} | {
        name: prepare_set({"train": of_set.rows}, held_out) for name, of_set in mixed.items()
    }


def warn_of_many_tokens(splits: dict[str, Rows]) -> None:
    """Print a warning for each held-out split in a folder of prepared text that has more than
    MANY_TOKENS to score: unlike training documents, all of them are held in memory."""
    for split, rows in splits.items():
        if not isinstance(rows.source, HeldOutText):
            continue
        counts = rows.source.prepared.held_out[rows.source.split]
        documents = min(counts["documents"], rows.first or counts["documents"])
        tokens = counts["tokens"] * documents // max(1, counts["documents"])
        if tokens > MANY_TOKENS:
            key = "validation_rows" if split == "validation" else "test_rows"
            warning_console().print(
                f"warning: {split}: {documents:,} documents with {tokens / 1e6:,.0f} million "
                "tokens, which every run reads into memory, tokenizes and scores; set "
                f"evaluation.{key}, for example to 2000"
            )


@contextmanager
def progress(splits: dict[str, Rows], console: Console) -> Iterator[Show]:
    """Show the progress of the preparation, and the rate at the end."""
    total, unit = total_of(splits["train"])
    started, shown, last = time.perf_counter(), 0, Progress()
    with counting(console, f"prepare {unit}", total) as advance:

        def show(progress: Progress) -> None:
            nonlocal shown, last
            last = progress
            done = progress.num_documents
            if unit == "MB":
                done = (progress.num_bytes + progress.num_kept_bytes) // MB
            advance(done - shown)
            shown = done

        yield show
    seconds = time.perf_counter() - started
    console.print(
        f"prepare {count_of(last.num_documents, 'document')} tokenized in {show_seconds(seconds)}: "
        f"{last.num_tokens / seconds:,.0f} tokens/s, {show_bytes(last.num_bytes / seconds)}/s"
    )


def total_of(train: Rows) -> tuple[int | None, str]:
    """Total amount to prepare and its unit; None if it is unknown without reading the rows."""
    if train.limit is not None:
        return train.limit, "documents"
    num_bytes = train.source.num_text_bytes()
    if num_bytes is not None:
        return num_bytes // MB, "MB"
    return train.source.num_rows(), "documents"


def show_prepared(prepared: PreparedText, console: Console) -> None:
    """Print the counts and the folder of the prepared text."""
    counts = {"train": (prepared.num_documents, prepared.num_tokens)}
    counts |= {
        split: (each["documents"], each["tokens"]) for split, each in prepared.held_out.items()
    }
    for split, (documents, tokens) in counts.items():
        console.print(f"{split:<11} {count_of(documents, 'document')}, {count_of(tokens, 'token')}")
    num_tokens = sum(tokens for _, tokens in counts.values())
    num_bytes = prepared.manifest["text_bytes"]
    console.print(
        f"text        {show_bytes(num_bytes)}, {num_bytes / num_tokens:.2f} bytes per token"
    )
    outcomes = prepared.report.outcomes
    for outcome in (name for name in REMOVED if outcomes[name]):
        console.print(f"removed     {count_of(outcomes[outcome], outcome)}")
    console.print(
        f"files       {prepared.folder}: {count_of(len(prepared.shards), 'shard')}, "
        f"{show_bytes(prepared.num_bytes)}, {prepared.num_bytes / num_tokens:.2f} bytes per token"
    )
