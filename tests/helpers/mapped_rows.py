"""Rows read with the columns that a recipe names."""

from llmkit.config.schema import Data
from llmkit.data.splits import open_splits


def open_at(path, task, evaluation=None, **data):
    path = str(path)
    return open_splits(Data(train=path, validation=path, test=path, **data), task, evaluation)


def conversation(*contents, **fields):
    roles = ["user", "assistant"] * len(contents)
    turns = [{"role": role, "content": text} for role, text in zip(roles, contents, strict=False)]
    turns[-1] |= fields
    return {"messages": turns}
