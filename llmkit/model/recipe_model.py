"""Open the model that a recipe names, with its tokenizer."""

from collections.abc import Callable
from functools import partial

from accelerate.utils import set_seed
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from llmkit.config.schema import Model, Recipe
from llmkit.constants import SCRATCH
from llmkit.data.bpe import bpe_of
from llmkit.data.rows import Rows
from llmkit.model.load import (
    check_max_length,
    check_padding_free,
    load_model,
    load_model_tokenizer,
    scratch_model,
    scratch_tokenizer,
)


def open_model(
    recipe: Recipe, train: Rows, name: str | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Open the model that training starts from, with its tokenizer.

    Args:
        recipe: The recipe. Its seed determines random weights.
        train: The training rows, for the tokenizer of a model from scratch.
        name: Another model, to open in place of the recipe's own.

    Raises:
        UserError: The model cannot be loaded, its context is shorter than data.max_length, or
            train.forward does not support it.
    """
    settings = recipe.model
    name = settings.name if name is None else name
    if name == SCRATCH:
        set_seed(recipe.seed)
        model, tokenizer = scratch_model(
            settings.scratch, partial(bpe_of, train), settings.revision
        )
    else:
        revision = settings.revision if name == settings.name else None
        model, tokenizer = load_model(name, revision)
        if recipe.train.forward == "padding_free":
            check_padding_free(model.config)
    check_max_length(recipe.data.max_length, model)
    return model, tokenizer


def open_tokenizer(
    settings: Model, train: Rows, say: Callable[[str], None] = print
) -> PreTrainedTokenizerBase:
    """Open the tokenizer that `open_model` returns, without the weights of the model.

    Args:
        settings: The `model` section of the recipe.
        train: The training rows, for the tokenizer of a model from scratch.
        say: Called with a message if this process has to wait for another one to train it.
    """
    if settings.name == SCRATCH:
        return scratch_tokenizer(
            settings.scratch, partial(bpe_of, train, say=say), settings.revision
        )
    return load_model_tokenizer(settings.name, settings.revision)
