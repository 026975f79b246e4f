"""Estimate the memory of training, and choose micro-batches that fit."""

from dataclasses import dataclass

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import nn
from transformers import PreTrainedConfig

from llmkit.config.schema import Forward, Train
from llmkit.data.batches import MicroBatchLimit
from llmkit.data.mixed_rows import MixedRows, TrainRows
from llmkit.families import family_of
from llmkit.families.padding_free import causal_pieces
from llmkit.model.load import count_parameters
from llmkit.model.loss import LOGIT_ROWS, LOGIT_ROWS_ON_GPU, unwrap_model
from llmkit.model.trainable import has_dropout
from llmkit.runtime.memory import available_bytes
from llmkit.runtime.ranks import num_local_processes
from llmkit.training.optim import build_optimizer, state_bytes

BEST_TOKENS = 8192  # per micro-batch, if memory allows
# Fraction of the free memory to use: the estimate is not exact, and other programs need some.
MEMORY_FRACTION = {"cpu": 0.7, "cuda": 0.9}
FLOAT32 = 4  # bytes; weights, gradients and the residual stream are always float32
BATCH_BYTES = 5 * 8  # per token: the int64 tensors of a Batch


@dataclass(frozen=True)
class MemoryUsage:
    """Estimated memory of training on its device in bytes, from the shape of the model."""

    weights: int
    copies: int
    """Half-precision copies of the weights in mixed precision; with activation checkpointing, of
    one block at a time."""
    gradient: int
    optimizer: int
    """State of the optimizer."""
    head_gradient: int
    """Gradient of the output embedding, which the loss computes before all other gradients."""
    logits: int
    """Logits of one chunk of positions while its loss is computed."""
    per_token: int
    """Activations per token that are kept for the backward pass."""
    recomputed: int
    """Activations of one block per token with activation checkpointing, otherwise 0."""

    @property
    def overhead(self) -> int:
        """Memory that does not depend on the size of the micro-batch, without the weights."""
        return self.copies + self.gradient + self.optimizer + self.head_gradient

    @property
    def checkpoint(self) -> int:
        """Size of a checkpoint: the trained weights, which are as large as their gradient, and the
        state of the optimizer."""
        return self.gradient + self.optimizer

    def activations(self, tokens: int) -> int:
        """Peak memory of the activations of a micro-batch, which is reached either in the loss or
        in the recomputation of the first block."""
        return tokens * self.per_token + max(self.logits, tokens * self.recomputed)

    def total(self, tokens: int) -> int:
        """Total memory with micro-batches of this many tokens."""
        return self.weights + self.overhead + self.activations(tokens)

    def parts(self, tokens: int) -> dict[str, int]:
        """The total memory by part."""
        return {
            "weights": self.weights + self.copies,
            "gradients": self.gradient + self.head_gradient,
            "optimizer state": self.optimizer,
            "activations": self.activations(tokens),
        }

    def fitting_tokens(self, memory_budget: int) -> int:
        """Tokens of the largest micro-batch that fits into `memory_budget` bytes in addition to the
        weights."""
        free = memory_budget - self.overhead
        in_loss = (free - self.logits) // self.per_token
        return max(0, min(in_loss, free // (self.per_token + self.recomputed)))


@dataclass(frozen=True)
class MemoryPlan:
    """Micro-batches and activation checkpointing with which training fits into memory."""

    limit: MicroBatchLimit
    activation_checkpointing: bool
    usage: MemoryUsage


def plan_memory(
    model: nn.Module, settings: Train, rows: TrainRows | MixedRows, accelerator: Accelerator
) -> MemoryPlan:
    """Choose micro-batches and activation checkpointing for the process with the least free memory.

    The result is the same in every process. Unless the recipe sets activation checkpointing, it is
    enabled if the recipe's micro-batches would not fit without it; if the recipe does not limit
    them, if micro-batches of two rows would not fit.
    """
    longest = int(rows.lengths.max())
    available = min(gather_object([memory_budget(model, accelerator.device)]))
    wanted = wanted_tokens(settings, longest, len(rows))
    decided = settings.activation_checkpointing
    for checkpointing in (False, True) if decided is None else (decided,):
        usage = memory_usage(
            model,
            settings,
            device=accelerator.device.type,
            precision=accelerator.mixed_precision,
            longest=longest,
            checkpointing=checkpointing,
        )
        fitting = usage.fitting_tokens(available)
        if fitting >= wanted:
            break
    limit = limit_of(settings, max(longest, min(BEST_TOKENS, fitting)))
    return MemoryPlan(limit, checkpointing, usage)


def limit_of(settings: Train, max_tokens: int) -> MicroBatchLimit:
    """The limit of micro-batches that the recipe sets, or else `max_tokens` tokens."""
    rows, tokens = settings.micro_batch_size, settings.micro_batch_tokens
    return MicroBatchLimit(rows, max_tokens if rows is None and tokens is None else tokens)


def wanted_tokens(settings: Train, longest: int, num_rows: int) -> int:
    """Tokens of the largest micro-batch within the recipe's limit, assuming that all rows are as
    long as the longest; without a limit, tokens of two rows."""
    rows, tokens = settings.micro_batch_size, settings.micro_batch_tokens
    if rows is None and tokens is None:
        rows = 2
    rows = min(rows or num_rows, settings.global_batch_size, num_rows)
    return min(rows * longest, max(longest, tokens or rows * longest))


def memory_budget(model: nn.Module, device: torch.device) -> int:
    """Bytes available to training in each process of this machine, in addition to the weights, some
    of which may still have to be moved to the device."""
    sharing = num_local_processes() if device.type == "cpu" else 1
    fraction = MEMORY_FRACTION.get(device.type, MEMORY_FRACTION["cpu"])
    missing = sum(w.nbytes for w in model.parameters() if w.device.type != device.type)
    return int(fraction * (available_bytes(device) - missing) / sharing)


def memory_usage(
    model: nn.Module,
    settings: Train,
    *,
    device: str,
    precision: str,
    longest: int,
    checkpointing: bool,
) -> MemoryUsage:
    """Estimate the memory of training, assuming that all rows are as long as the longest.

    Args:
        model: The model with its adapters and frozen layers, on any device.
        settings: The `train` section of the recipe.
        device: Device type: cpu or cuda.
        precision: Mixed precision: no, bf16 or fp16.
        longest: Tokens in the longest row.
        checkpointing: Whether activation checkpointing is enabled.
    """
    unwrapped = unwrap_model(model)
    config, head = unwrapped.config, unwrapped.get_output_embeddings().weight
    itemsize = FLOAT32 if precision == "no" else 2
    num_all, num_trained = count_parameters(model)
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    head_numel = head.numel() if head.requires_grad else 0
    # Logits in the compute precision, and in float32 before and after log_softmax.
    logit_rows = LOGIT_ROWS_ON_GPU if device == "cuda" else LOGIT_ROWS
    logits = logit_rows * config.vocab_size * (itemsize + 2 * FLOAT32)
    # Each further chunk adds to the gradient of the head while the gradient of its logits is alive.
    logits += (FLOAT32 + itemsize) * head_numel
    copies = itemsize * num_all if itemsize < FLOAT32 else 0
    if checkpointing:  # autocast keeps copies of trained weights until the loss is computed
        logits += copies * num_trained // num_all
        copies //= config.num_hidden_layers
    per_token, recomputed = bytes_per_token(
        unwrapped, settings.forward, device, itemsize, longest, checkpointing=checkpointing
    )
    return MemoryUsage(
        weights=FLOAT32 * num_all,
        copies=copies,
        gradient=FLOAT32 * num_trained,
        # Only the class of the optimizer matters here; the weights may be on the meta device.
        optimizer=state_bytes(build_optimizer(nn.Linear(1, 1), settings), trained),
        head_gradient=FLOAT32 * head_numel,
        logits=logits,
        per_token=per_token,
        recomputed=recomputed,
    )


def bytes_per_token(
    model: nn.Module,
    forward: Forward,
    device: str,
    itemsize: int,
    longest: int,
    *,
    checkpointing: bool,
) -> tuple[int, int]:
    """Bytes per token of the activations that are kept, and of a block that is recomputed.

    model: The model without its PEFT wrapper.
    """
    config, family = model.config, family_of(model.config)
    drops = has_dropout(model)
    on_cpu = device == "cpu"  # where dropout masks have the compute dtype; elsewhere they are bool
    mask_itemsize = (itemsize if on_cpu else 1) * drops
    block = family.activation_bytes(config, itemsize, mask_itemsize)
    block += attention_bytes(config, forward, device, itemsize, longest, has_dropout=drops)
    residual = FLOAT32 * config.hidden_size
    num_trained = count_trained_blocks(model)
    # Input and output of the final LayerNorm, and the gradient of the output.
    others = 3 * residual + BATCH_BYTES
    if not checkpointing:
        return num_trained * block + others, 0
    return num_trained * residual + others, block + 3 * residual  # with gradients


def attention_bytes(
    config: PreTrainedConfig,
    forward: Forward,
    device: str,
    itemsize: int,
    longest: int,
    *,
    has_dropout: bool,
) -> int:
    """Bytes per token that the attention of a block keeps, in addition to queries, keys, values and
    output.

    The kernels for GPUs, and PyTorch's kernel for CPUs, which is used only without dropout, keep
    one log-sum-exp per head. On a CPU, the padding-free forward pass keeps the attention
    probabilities and their dropout masks. transformers with dropout keeps float32 probabilities,
    masks and products of both, and float32 copies of queries, keys and values.
    """
    num_heads = config.num_attention_heads
    head_dim = config.hidden_size // num_heads
    if forward == "transformers":
        has_kernel = device == "cuda" or not has_dropout
        scores = 3 * FLOAT32 * (longest + head_dim)
    else:
        has_kernel = device == "cuda" and head_dim % 8 == 0
        seen = sum((rows.stop - rows.start) * keys.stop for rows, keys in causal_pieces(longest))
        scores = itemsize * (1 + has_dropout) * seen // longest
    return num_heads * (FLOAT32 if has_kernel else scores)


def count_trained_blocks(model: nn.Module) -> int:
    """Number of blocks that the gradient flows through: the lowest with trained weights and all
    blocks above it."""
    blocks = family_of(model.config).blocks(model)
    below = [*family_of(model.config).embeddings(model)]
    for lowest, part in enumerate([nn.ModuleList(below), *blocks]):
        if any(weight.requires_grad for weight in part.parameters()):
            return len(blocks) - max(0, lowest - 1)
    return 0
