"""Which weights of a model train, and with what dropout."""

from torch import nn
from transformers import GPT2LMHeadModel

from llmkit.config.schema import Lora, Train
from llmkit.errors import UserError


def trainable_model(model: GPT2LMHeadModel, settings: Train) -> nn.Module:
    """The model with the recipe's dropout, adapters and frozen layers.

    Raises UserError if that leaves nothing to train.
    """
    if settings.freeze_layers > model.config.n_layer - (settings.method == "lora"):
        raise UserError(
            f"train.freeze_layers: {settings.freeze_layers} leaves nothing to train; "
            f"the model has {model.config.n_layer} blocks"
        )
    if settings.dropout is not None:
        set_dropout(model, settings.dropout)
    if settings.method == "lora":
        model = add_lora(model, settings.lora, settings.freeze_layers)
    elif settings.freeze_layers:
        freeze_layers(model, settings.freeze_layers)
    unmap_weights(model)
    return model


def set_dropout(model: GPT2LMHeadModel, probability: float) -> None:
    """Train with this dropout everywhere; the config, and so the saved model, stays as it was."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = probability


def add_lora(model: GPT2LMHeadModel, lora: Lora, freeze_layers: int) -> nn.Module:
    """The model with adapters, from block `freeze_layers` on, as its only trainable weights."""
    from peft import LoraConfig, get_peft_model

    # GPT-2's layers are Conv1D, whose weight is (in, out): fan_in_fan_out tells peft so.
    config = LoraConfig(
        task_type="CAUSAL_LM",
        fan_in_fan_out=True,
        layers_to_transform=list(range(freeze_layers, model.config.n_layer)),
        layers_pattern="h",
        **lora.model_dump(),
    )
    return get_peft_model(model, config)


def freeze_layers(model: GPT2LMHeadModel, num_layers: int) -> None:
    """Stop training of the embeddings and the lowest blocks; the tied head freezes with them."""
    transformer = model.transformer
    for module in (transformer.wte, transformer.wpe, *transformer.h[:num_layers]):
        module.requires_grad_(False)


def unmap_weights(model: nn.Module) -> None:
    """Copy the trained weights from their file into memory, now and in one pass, instead of page
    by page when the optimizer first writes."""
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.clone()
