"""Variants of a recipe, with their memory and FLOPs, which follow from the shape of the model."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from torch import nn
from transformers import PreTrainedConfig

from llmkit.config.schema import Model, Train
from llmkit.constants import SCRATCH
from llmkit.families import FAMILIES, SCRATCH_FAMILY, family_of
from llmkit.model.load import count_parameters, empty_model
from llmkit.model.trainable import trainable_model
from llmkit.planning.flops import Flops, forward_flops, training_flops
from llmkit.training.memory import BEST_TOKENS, FLOAT32, MemoryUsage, memory_usage

MAX_SIZE_RATIO = 64  # maximum ratio between the sizes of a proposed model and of the recipe's


@dataclass(frozen=True)
class Variant:
    """A model and the settings that it is trained with."""

    changes: Mapping[str, Any]
    """Recipe keys that differ from the recipe, with their new values."""
    num_weights: int
    """Number of weights, without adapters, which are merged."""
    training: Flops
    """FLOPs of a forward and a backward pass."""
    scoring: Flops
    """FLOPs of a forward pass."""
    usage: MemoryUsage
    tokens: int
    """Maximum tokens per micro-batch."""
    precision: str
    """Mixed precision: no, bf16 or fp16."""

    @property
    def num_bytes(self) -> int:
        """Memory of the training in bytes, without the libraries."""
        return self.usage.total(self.tokens)

    @property
    def model_bytes(self) -> int:
        """Size of the saved model."""
        return FLOAT32 * self.num_weights


@dataclass(frozen=True)
class RowSizes:
    """Sizes of the training rows that variants depend on."""

    longest: int
    """Tokens in the longest row."""
    step_tokens: int
    """Tokens per step."""


def iter_variants(
    model: Model,
    settings: Train,
    config: PreTrainedConfig,
    rows: RowSizes,
    device: str,
    precisions: tuple[str, ...],
    memory_budget: float,
) -> Iterator[Variant]:
    """Iterate over all combinations of model, method, precision and activation checkpointing.

    The first one is the recipe as written. Each has the largest micro-batches that fit into memory,
    or micro-batches of one row if none fit.

    Args:
        model: The `model` section of the recipe.
        settings: The `train` section of the recipe.
        config: Config of the recipe's model.
        rows: Sizes of the training rows.
        device: Device type: cpu or cuda.
        precisions: Precisions that the device supports, the one that the recipe uses there first.
        memory_budget: Bytes available to the training, without the libraries.
    """
    own_checkpointing = bool(settings.activation_checkpointing)
    own = {
        "train.method": settings.method,
        "train.mixed_precision": precisions[0],
        "train.activation_checkpointing": own_checkpointing,
        "train.micro_batch_tokens": micro_batch_tokens(settings, rows),
    }
    for model_changes, sizes in alternative_models(model, config):
        for method in dict.fromkeys((settings.method, "full", "lora")):
            if model.name == SCRATCH and method == "lora":  # random weights stay random
                continue
            changed = settings.model_copy(update={"method": method})
            model_settings = scale_frozen_layers(changed, config, sizes)
            empty = trainable_model(empty_model(config, **sizes), model_settings)
            for precision, checkpointing in product(
                precisions, (own_checkpointing, not own_checkpointing)
            ):
                variant = build_variant(
                    empty, changed, rows, device, precision, memory_budget,
                    checkpointing=checkpointing,
                )  # fmt: skip
                values = {
                    "train.method": method,
                    "train.mixed_precision": precision,
                    "train.activation_checkpointing": checkpointing,
                    "train.micro_batch_tokens": variant.tokens,
                }
                changes = {key: value for key, value in values.items() if value != own[key]}
                yield replace(variant, changes={**model_changes, **changes})


def scale_frozen_layers(
    settings: Train, config: PreTrainedConfig, sizes: Mapping[str, int]
) -> Train:
    """The settings with `freeze_layers` scaled to the depth of a model of other sizes."""
    if not settings.freeze_layers:
        return settings
    frozen = settings.freeze_layers * num_blocks(config, sizes) // config.num_hidden_layers
    return settings.model_copy(update={"freeze_layers": frozen})


def num_blocks(config: PreTrainedConfig, sizes: Mapping[str, int]) -> int:
    """Number of blocks of a model of these sizes."""
    return type(config).from_dict({**config.to_dict(), **sizes}).num_hidden_layers


def alternative_models(
    model: Model, config: PreTrainedConfig
) -> Iterator[tuple[dict[str, Any], dict[str, int]]]:
    """Iterate over the recipe's model and the models that can replace it.

    Yields the changes to the recipe and the changes to the config of each model.
    """
    yield {}, {}
    num_weights = family_of(config).count_weights(config.to_dict())
    if model.name == SCRATCH:
        for sizes in SCRATCH_FAMILY.scratch_sizes:
            weights = SCRATCH_FAMILY.count_weights({**config.to_dict(), **sizes})
            if all(getattr(model.scratch, name) == value for name, value in sizes.items()):
                continue
            if num_weights / MAX_SIZE_RATIO < weights < num_weights * MAX_SIZE_RATIO:
                yield {f"model.scratch.{name}": value for name, value in sizes.items()}, sizes
        return
    for family in FAMILIES:
        names = {name.rpartition("/")[2]: sizes for name, sizes in family.published_sizes.items()}
        if model.name.rpartition("/")[2] in names:
            for name, sizes in names.items():
                if name != model.name.rpartition("/")[2]:
                    yield {"model": name}, dict(sizes)


def build_variant(
    model: nn.Module,
    settings: Train,
    rows: RowSizes,
    device: str,
    precision: str,
    memory_budget: float,
    *,
    checkpointing: bool,
) -> Variant:
    """Build a variant with the largest micro-batches that fit into `memory_budget` bytes."""
    usage = memory_usage(
        model, settings, device=device, precision=precision, longest=rows.longest,
        checkpointing=checkpointing,
    )  # fmt: skip
    wanted = micro_batch_tokens(settings, rows)
    fitting = usage.fitting_tokens(int(memory_budget) - usage.weights)
    tokens = wanted if fitting >= wanted else max(rows.longest, fitting // 256 * 256)
    num_all, num_trained = count_parameters(model)
    num_adapters = num_trained if settings.method == "lora" else 0
    return Variant(
        {},
        num_all - num_adapters,
        training_flops(model, checkpointing=checkpointing),
        forward_flops(model),
        usage,
        tokens,
        precision,
    )


def micro_batch_tokens(settings: Train, rows: RowSizes) -> int:
    """Tokens per micro-batch if memory were unlimited."""
    limit = settings.micro_batch_tokens
    if settings.micro_batch_size is not None:
        limit = settings.micro_batch_size * rows.longest
    return max(rows.longest, min(limit or BEST_TOKENS, rows.step_tokens))
