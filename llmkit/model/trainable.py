"""Make a model ready for training: dropout, adapters, frozen layers."""

from functools import partial
from pathlib import Path

from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from llmkit.config.schema import Lora, Train
from llmkit.errors import UserError
from llmkit.families import family_of
from llmkit.model.int8 import is_int8
from llmkit.model.loss import unwrap_model


def require_trainable(model: PreTrainedModel, name: str) -> None:
    """Raise UserError for int8 weights, which have no gradient. name: The recipe's model."""
    if is_int8(Path(model.name_or_path)):
        raise UserError(
            f"model: {name}: its int8 weights cannot be trained; name the model that they were "
            "made from"
        )


def trainable_model(model: PreTrainedModel, settings: Train) -> nn.Module:
    """The model with the recipe's dropout, adapters and frozen layers.

    Raises UserError if that leaves nothing to train.
    """
    num_blocks = model.config.num_hidden_layers
    if settings.freeze_layers > num_blocks - (settings.method == "lora"):
        raise UserError(
            f"train.freeze_layers: {settings.freeze_layers} leaves nothing to train; "
            f"the model has {num_blocks} blocks"
        )
    if settings.dropout is not None:
        set_dropout(model, settings.dropout)
    if settings.method == "lora":
        model = add_lora(model, settings.lora, settings.freeze_layers)
    elif settings.freeze_layers:
        freeze_layers(model, settings.freeze_layers)
    unmap_weights(model)
    return model


def set_dropout(model: PreTrainedModel, probability: float) -> None:
    """Set the probability of all dropout layers; the config, and so the saved model, keeps its
    own."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = probability


def has_dropout(model: nn.Module) -> bool:
    """Whether any layer, of the model or of an adapter, has a dropout above 0."""
    return any(layer.p > 0 for layer in model.modules() if isinstance(layer, nn.Dropout))


def add_lora(model: PreTrainedModel, lora: Lora, freeze_layers: int) -> nn.Module:
    """The model with adapters, its only trainable weights, from block `freeze_layers` on."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        task_type="CAUSAL_LM",
        layers_to_transform=list(range(freeze_layers, model.config.num_hidden_layers)),
        **family_of(model.config).lora,
        **lora.model_dump(),
    )
    return get_peft_model(model, config)


def freeze_layers(model: PreTrainedModel, num_layers: int) -> None:
    """Freeze the embeddings and the lowest blocks; a head that shares the embedding's weights is
    frozen with it."""
    family = family_of(model.config)
    for module in (*family.embeddings(model), *family.blocks(model)[:num_layers]):
        module.requires_grad_(False)


def set_activation_checkpointing(model: nn.Module, enabled: bool) -> None:
    """Whether training keeps only the input of each block, and computes the rest again in the
    backward pass.

    This sets transformers' own switch, which the forward pass without padding obeys too. The public
    methods would also have the embeddings require a gradient, and so the blocks above them, even if
    all of them are frozen.
    """
    unwrap_model(model)._set_gradient_checkpointing(
        enabled, partial(checkpoint, use_reentrant=False)
    )


def has_activation_checkpointing(model: nn.Module) -> bool:
    """Whether training keeps only the input of each block."""
    bare = unwrap_model(model)
    return any(block.gradient_checkpointing for block in family_of(bare.config).blocks(bare))


def unmap_weights(model: nn.Module) -> None:
    """Copy the trainable weights from their memory-mapped file into memory in one pass.

    Otherwise the first optimizer step would copy them page by page.
    """
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.clone()
