"""Print the table of memory in docs/training.md, by the functions that choose the micro-batches.

python scripts/memory_table.py
"""

from functools import cache, partial

import torch
from torch import nn
from transformers import GPT2Config

from llmkit.config.schema import Train
from llmkit.model.load import empty_model
from llmkit.model.trainable import trainable_model
from llmkit.training.memory import MemoryUsage, memory_usage

SHAPES = {
    "gpt2": {"n_layer": 12, "n_head": 12, "n_embd": 768},
    "gpt2-medium": {"n_layer": 24, "n_head": 16, "n_embd": 1024},
    "gpt2-large": {"n_layer": 36, "n_head": 20, "n_embd": 1280},
    "gpt2-xl": {"n_layer": 48, "n_head": 25, "n_embd": 1600},
}
SETTINGS = {
    "full": Train(max_steps=1),
    "full, adafactor": Train(max_steps=1, optimizer="adafactor"),
    "LoRA": Train(max_steps=1, method="lora"),
}
LENGTH, ROWS = 1024, 4
HEAD = """| GB | weights | gradients | optimizer | activations | total | \
activations, checkpointed | total |
|---|---:|---:|---:|---:|---:|---:|---:|"""


@cache
def model_of(name: str, method: str) -> nn.Module:
    """A model of this shape, without memory for its weights."""
    model = empty_model(GPT2Config(), **SHAPES[name])
    with torch.device("meta"):
        return trainable_model(model, Train(max_steps=1, method=method))


@cache
def uses_of(name: str, method: str) -> tuple[MemoryUsage, MemoryUsage]:
    """The memory of training in bf16 on a GPU, without and with activation checkpointing."""
    settings = SETTINGS[method]
    model = model_of(name, settings.method)
    usage = partial(memory_usage, model, settings, device="cuda", precision="bf16", longest=LENGTH)
    return usage(checkpointing=False), usage(checkpointing=True)


def row(name: str, method: str) -> str:
    off, on = uses_of(name, method)
    tokens = ROWS * LENGTH
    figures = (
        off.weights,
        off.gradient + off.head_gradient,
        off.optimizer,
        off.copies + off.activations(tokens),
        off.total(tokens),
        on.copies + on.activations(tokens),
        on.total(tokens),
    )
    cells = [f"{name}, {method}", *(f"{num_bytes / 1e9:.1f}" for num_bytes in figures)]
    return f"| {' | '.join(cells)} |"


def table() -> str:
    return "\n".join([HEAD, *(row(name, method) for name in SHAPES for method in SETTINGS)])


if __name__ == "__main__":
    print(table())
