"""Rows whose splits are held out."""

from llmkit.config.schema import Data
from llmkit.data.splits import open_splits
from llmkit.tasks import get_task

SUMMARIZE, CLASSIFY, PRETRAIN = map(get_task, ("summarize", "classify", "pretrain"))


HELD_OUT = ("validation", "test")


def split(task, path, **data):
    splits = open_splits(Data(train=str(path), **data), task)
    return {name: list(rows) for name, rows in splits.items()}
