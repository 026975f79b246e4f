"""Models and data sets from the Hugging Face hub. Every failure becomes a UserError with advice."""

import os
import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import datasets
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub import constants as hub_constants
from huggingface_hub import errors as hub_errors

from llmkit.errors import UserError
from llmkit.io.hub_errors import causes, first_line, is_unreachable

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt")
MODEL_FILES = (
    "config.json", "generation_config.json", "model*.safetensors", "model.safetensors.index.json",
    *TOKENIZER_FILES,
)  # fmt: skip
UNREACHABLE_HINT = (
    "check the connection and the name; without a network, name a folder on disk, or set "
    "HF_HUB_OFFLINE=1 to use what was downloaded before"
)
OFFLINE_HINT = "name a folder on disk, or unset HF_HUB_OFFLINE to download it"


def download_model(
    name: str, revision: str | None, where: str, files: tuple[str, ...] = MODEL_FILES
) -> Path:
    """Download a model; returns its folder in the local cache, whose name is the commit.

    Args:
        where: The key and the name of the model, for messages.
        files: Patterns of the files to fetch: at most the configuration, safetensors and the
            tokenizer, never pickle, never code.
    """
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(files)))
    except Exception as error:
        raise _explain(error, where, revision) from None


def open_dataset_split(
    name: str, config: str | None, revision: str | None, split: str, streaming: bool
) -> tuple[Callable[[], Iterator], str]:
    """Open a split of a data set.

    Args:
        streaming: Read the rows over the network instead of downloading the whole data set.

    Returns:
        A function that starts a new pass over the rows, and the commit that they come from.
    """
    commit = _dataset_commit(name, revision)
    try:
        builder = datasets.load_dataset_builder(name, config, revision=commit)
        _check_split(builder, name, split)
        if streaming:
            rows = builder.as_streaming_dataset(split=split)
        else:
            builder.download_and_prepare()
            rows = builder.as_dataset(split=split)
    except UserError:
        raise
    except Exception as error:
        raise _explain(error, f"data.hub: {name}", revision) from None
    if commit is not None and re.fullmatch(r"[0-9a-f]{40}", commit) and builder.hash != commit:
        # Offline, datasets takes whatever commit the cache holds.
        raise UserError(
            f"data.revision: the cache holds commit {builder.hash} of {name}, not {commit}; go "
            "online once, or set data.revision to the cached commit"
        )

    labels = {
        column: feature.names
        for column, feature in (rows.features or {}).items()
        if isinstance(feature, datasets.ClassLabel)
    }

    def read() -> Iterator[tuple[str, dict[str, Any]]]:
        try:
            for index, row in enumerate(rows):
                where = f"{name} {split} row {index}"
                yield where, row | {c: _label(row[c], names, where) for c, names in labels.items()}
        except OSError as error:  # a streamed data set is fetched while it is read
            raise _explain(error, f"data.hub: {name}", revision) from None

    return read, builder.hash


def _label(index: int | None, names: list[str], where: str) -> str:
    """The name of a class number; -1 stands for a label that the data set withholds."""
    if index is None or index < 0:
        raise UserError(f"{where}: its label is withheld; use another split")
    return names[index]


@lru_cache
def _dataset_commit(name: str, revision: str | None) -> str | None:
    """The commit that a revision currently stands for, looked up once; offline, the revision
    itself."""
    if hub_constants.HF_HUB_OFFLINE:
        return revision
    try:
        return HfApi().dataset_info(name, revision=revision).sha
    except Exception as error:
        raise _explain(error, f"data.hub: {name}", revision) from None


def _check_split(builder: datasets.DatasetBuilder, name: str, split: str) -> None:
    splits = builder.info.splits or builder.config.data_files
    if splits and split not in splits:
        raise UserError(
            f"{name} has no split {split!r}; it has {', '.join(map(str, splits))}; to read a local "
            "file, set data.hub=null"
        )


def _explain(error: Exception, where: str, revision: str | None) -> UserError:
    """A library's exception as a UserError in one line: what, where, what to do."""
    chain = list(causes(error))
    endpoint = os.environ.get("HF_ENDPOINT", "the hub")

    def caused_by(*kinds: type) -> bool:
        return any(isinstance(cause, kinds) for cause in chain)

    line = first_line(error)
    if caused_by(hub_errors.GatedRepoError) or "is a gated dataset" in line:
        return UserError(f"{where}: access is restricted; request it on its page and set HF_TOKEN")
    if caused_by(hub_errors.RevisionNotFoundError) or "Revision " in line:
        return UserError(f"{where}: no revision {revision!r}; name a branch, tag or commit")
    if caused_by(hub_errors.RepositoryNotFoundError, hub_errors.HFValidationError):
        return UserError(f"{where}: not found at {endpoint}; {UNREACHABLE_HINT}")
    if "scripts are no longer supported" in line:
        return UserError(
            f"{where}: its rows are produced by a script, which llmkit never runs; use the "
            "converted files with data.revision=refs/convert/parquet"
        )
    if "Config name is missing" in line or "BuilderConfig" in line:
        available = re.search(r"\[.*?\]", str(error))
        names = f"; there are {available.group()[1:-1]}" if available else ""
        return UserError(f"{where}: set data.config to one of its configurations{names}")
    if caused_by(hub_errors.LocalEntryNotFoundError) or is_unreachable(error):
        if hub_constants.HF_HUB_OFFLINE:
            return UserError(f"{where}: not cached, and HF_HUB_OFFLINE is set; {OFFLINE_HINT}")
        return UserError(f"{where}: cannot be reached at {endpoint}; {UNREACHABLE_HINT}")
    return UserError(f"{where}: {line}; {UNREACHABLE_HINT}")
