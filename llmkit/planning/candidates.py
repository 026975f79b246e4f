"""Variants of a recipe, and what each takes: memory from its shape, time from a machine's rates."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import nn
from transformers import PreTrainedConfig

from llmkit.config.schema import Model, Train
from llmkit.families import FAMILIES, SCRATCH_FAMILY, family_of
from llmkit.model.load import count_parameters, empty_model
from llmkit.model.trainable import trainable_model
from llmkit.planning.work import Work, forward_work, training_work
from llmkit.training.memory import BEST_TOKENS, MemoryUse, memory_use

MAX_GROWTH = 64  # of the weights of a proposed model, over those of the recipe's


@dataclass(frozen=True)
class Variant:
    """A model and a way to train it."""

    changes: Mapping[str, Any]
    """Keys of the recipe with their values, where they differ from the recipe."""
    num_weights: int
    """Without adapters, which are merged."""
    training: Work
    scoring: Work
    use: MemoryUse
    tokens: int
    """Of a micro-batch, at most."""
    precision: str
    saved_bytes: int
    """Of a checkpoint and of the saved model together."""

    @property
    def num_bytes(self) -> int:
        """Memory of the training, without the libraries."""
        return self.use.total(self.tokens)


@dataclass(frozen=True)
class Rows:
    """What variants need to know of the training rows."""

    longest: int
    """Tokens of the longest row."""
    step_tokens: int
    """Tokens of a step."""


def variants(
    model: Model,
    settings: Train,
    config: PreTrainedConfig,
    rows: Rows,
    device: str,
    precisions: tuple[str, ...],
    room: float,
) -> Iterator[Variant]:
    """All combinations of model, method, precision and activation checkpointing, each with the
    largest micro-batches that fit; with those of one row if none fits.

    Args:
        model: The recipe's section.
        settings: The recipe's section.
        config: Of the recipe's model.
        device: Its type: cpu or cuda.
        precisions: Those that the device has; the first is the one that the recipe would get.
        room: Bytes for the training, without the libraries.
    """
    for model_changes, sizes in shapes(model, config):
        for method in dict.fromkeys((settings.method, "full", "lora")):
            if model.name == "scratch" and method == "lora":  # random weights stay random
                continue
            changed = settings.model_copy(update={"method": method})
            bare = trainable_model(empty_model(config, **sizes), fitting(changed, config, sizes))
            for precision in precisions:
                for checkpointing in (False, True):
                    variant = build(
                        bare, changed, rows, device, precision, room, checkpointing=checkpointing
                    )
                    changes = {**model_changes}
                    if method != settings.method:
                        changes["train.method"] = method
                    if precision != precisions[0]:
                        changes["train.mixed_precision"] = precision
                    if checkpointing != bool(settings.activation_checkpointing):
                        changes["train.activation_checkpointing"] = checkpointing
                    if variant.tokens != micro_batch_tokens(settings, rows):
                        changes["train.micro_batch_tokens"] = variant.tokens
                    yield replace(variant, changes=changes)


def fitting(settings: Train, config: PreTrainedConfig, sizes: Mapping[str, int]) -> Train:
    """The settings with the same share of frozen blocks."""
    if not settings.freeze_layers:
        return settings
    blocks = empty_blocks(config, sizes)
    frozen = settings.freeze_layers * blocks // config.num_hidden_layers
    return settings.model_copy(update={"freeze_layers": frozen})


def empty_blocks(config: PreTrainedConfig, sizes: Mapping[str, int]) -> int:
    return type(config).from_dict({**config.to_dict(), **sizes}).num_hidden_layers


def shapes(
    model: Model, config: PreTrainedConfig
) -> Iterator[tuple[dict[str, Any], dict[str, int]]]:
    """(changes of the recipe, changes of the config) of each model: the recipe's own, then others
    that can take its place."""
    yield {}, {}
    own = family_of(config).count_weights(config.to_dict())
    if model.name == "scratch":
        for sizes in SCRATCH_FAMILY.scratch_sizes:
            weights = SCRATCH_FAMILY.count_weights({**config.to_dict(), **sizes})
            if all(getattr(model.scratch, name) == value for name, value in sizes.items()):
                continue
            if own / MAX_GROWTH < weights < own * MAX_GROWTH:
                yield {f"model.scratch.{name}": value for name, value in sizes.items()}, sizes
        return
    for family in FAMILIES:
        names = {name.rpartition("/")[2]: sizes for name, sizes in family.published_sizes.items()}
        if model.name.rpartition("/")[2] in names:
            for name, sizes in names.items():
                if name != model.name.rpartition("/")[2]:
                    yield {"model": name}, dict(sizes)


def build(
    model: nn.Module,
    settings: Train,
    rows: Rows,
    device: str,
    precision: str,
    room: float,
    *,
    checkpointing: bool,
) -> Variant:
    """The variant with the largest micro-batches that fit into `room` bytes."""
    use = memory_use(
        model, settings, device=device, precision=precision, longest=rows.longest,
        checkpointing=checkpointing,
    )  # fmt: skip
    wanted = micro_batch_tokens(settings, rows)
    fits = use.fitting_tokens(int(room) - use.weights)
    tokens = wanted if fits >= wanted else max(rows.longest, fits // 256 * 256)
    num_all, num_trained = count_parameters(model)
    num_adapters = num_trained if settings.method == "lora" else 0
    return Variant(
        {},
        num_all - num_adapters,
        training_work(model, checkpointing=checkpointing),
        forward_work(model),
        use,
        tokens,
        precision,
        4 * (3 * num_trained + num_all),
    )


def micro_batch_tokens(settings: Train, rows: Rows) -> int:
    """Tokens of a micro-batch with all the memory that it could use."""
    given = settings.micro_batch_tokens
    if settings.micro_batch_size is not None:
        given = settings.micro_batch_size * rows.longest
    return max(rows.longest, min(given or BEST_TOKENS, rows.step_tokens))
