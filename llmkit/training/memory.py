"""Estimating the memory of training, and choosing micro-batches that fit."""

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

BEST_TOKENS = 8192  # of a micro-batch, if memory allows
# Fraction of the free memory to use: the estimate is not exact, and other programs need some.
MEMORY_FRACTION = {"cpu": 0.7, "cuda": 0.9}
FLOAT32 = 4  # bytes; weights, gradients and the residual stream are always float32
BATCH_BYTES = 5 * 8  # per token: the int64 tensors of a Batch


@dataclass(frozen=True)
class MemoryUse:
    """An estimate of the bytes that training takes on its device, from the shape of the model."""

    weights: int
    copies: int
    """Copies of the weights in the precision of the products, if that is not float32; with
    activation checkpointing, of one block at a time."""
    gradient: int
    optimizer: int
    """The optimizer's state."""
    head_gradient: int
    """The gradient of the output embedding, which the loss computes before all other gradients."""
    logits: int
    """Logits of one chunk of positions, while their loss is computed."""
    per_token: int
    """Activations of each token of a micro-batch that are kept for the backward pass."""
    recomputed: int
    """Activations of one block for each token, with activation checkpointing; else 0."""

    @property
    def overhead(self) -> int:
        """Memory that is allocated during a micro-batch of any size, except for the weights."""
        return self.copies + self.gradient + self.optimizer + self.head_gradient

    def activations(self, tokens: int) -> int:
        """Peak bytes of the activations of a micro-batch: in the loss, or in the recomputation of
        the first block."""
        return tokens * self.per_token + max(self.logits, tokens * self.recomputed)

    def total(self, tokens: int) -> int:
        """Bytes with micro-batches of this many tokens."""
        return self.weights + self.overhead + self.activations(tokens)

    def parts(self, tokens: int) -> dict[str, int]:
        """The total by what takes it."""
        return {
            "weights": self.weights + self.copies,
            "gradients": self.gradient + self.head_gradient,
            "optimizer state": self.optimizer,
            "activations": self.activations(tokens),
        }

    def fitting_tokens(self, room: int) -> int:
        """Tokens of the largest micro-batch that fits into `room` bytes next to the weights."""
        free = room - self.overhead
        in_loss = (free - self.logits) // self.per_token
        return max(0, min(in_loss, free // (self.per_token + self.recomputed)))


@dataclass(frozen=True)
class MemoryPlan:
    """How training fits into memory."""

    limit: MicroBatchLimit
    activation_checkpointing: bool
    use: MemoryUse


def plan_memory(
    model: nn.Module, settings: Train, rows: TrainRows | MixedRows, accelerator: Accelerator
) -> MemoryPlan:
    """The same plan in every process, for the one with the least free memory.

    Unless the recipe sets activation checkpointing, it is enabled if the micro-batches that the
    recipe asks for, or else micro-batches of two rows, would not fit otherwise.
    """
    longest = int(rows.lengths.max())
    room = min(gather_object([memory_room(model, accelerator.device)]))
    wanted = wanted_tokens(settings, longest, len(rows))
    decided = settings.activation_checkpointing
    for checkpointing in (False, True) if decided is None else (decided,):
        use = memory_use(
            model,
            settings,
            device=accelerator.device.type,
            precision=accelerator.mixed_precision,
            longest=longest,
            checkpointing=checkpointing,
        )
        fitting = use.fitting_tokens(room)
        if fitting >= wanted:
            break
    limit = limit_of(settings, max(longest, min(BEST_TOKENS, fitting)))
    return MemoryPlan(limit, checkpointing, use)


def limit_of(settings: Train, max_tokens: int) -> MicroBatchLimit:
    """The recipe's limit of micro-batches; `max_tokens` tokens if it has none."""
    rows, tokens = settings.micro_batch_size, settings.micro_batch_tokens
    return MicroBatchLimit(rows, max_tokens if rows is None and tokens is None else tokens)


def wanted_tokens(settings: Train, longest: int, num_rows: int) -> int:
    """Tokens of the largest micro-batch within the recipe's limit if all rows are as long as the
    longest; without a limit, of two rows."""
    rows, tokens = settings.micro_batch_size, settings.micro_batch_tokens
    if rows is None and tokens is None:
        rows = 2
    rows = min(rows or num_rows, settings.global_batch_size, num_rows)
    return min(rows * longest, max(longest, tokens or rows * longest))


def memory_room(model: nn.Module, device: torch.device) -> int:
    """Bytes available to training in each process of this machine, next to its weights, some of
    which may still have to be moved to the device."""
    sharing = num_local_processes() if device.type == "cpu" else 1
    fraction = MEMORY_FRACTION.get(device.type, MEMORY_FRACTION["cpu"])
    missing = sum(w.nbytes for w in model.parameters() if w.device.type != device.type)
    return int(fraction * (available_bytes(device) - missing) / sharing)


def memory_use(
    model: nn.Module,
    settings: Train,
    *,
    device: str,
    precision: str,
    longest: int,
    checkpointing: bool,
) -> MemoryUse:
    """The memory of training on micro-batches of rows that are all as long as the longest.

    Args:
        model: The model with its adapters and frozen layers, on any device.
        settings: Optimizer and forward pass.
        device: Type of the device, `cpu` or `cuda`.
        precision: The mixed precision.
        longest: Tokens of the longest row.
    """
    bare = unwrap_model(model)
    config, head = bare.config, bare.get_output_embeddings().weight
    itemsize = FLOAT32 if precision == "no" else 2
    num_all, num_trained = count_parameters(model)
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    head_numel = head.numel() if head.requires_grad else 0
    # In the precision of the products, and in float32 before and after log_softmax.
    logit_rows = LOGIT_ROWS_ON_GPU if device == "cuda" else LOGIT_ROWS
    logits = logit_rows * config.vocab_size * (itemsize + 2 * FLOAT32)
    # A further chunk adds its gradient of the head while that of its logits is in memory.
    logits += (FLOAT32 + itemsize) * head_numel
    copies = itemsize * num_all if itemsize < FLOAT32 else 0
    if checkpointing:  # autocast keeps copies of trained weights until the loss is computed
        logits += copies * num_trained // num_all
        copies //= config.num_hidden_layers
    per_token, recomputed = bytes_per_token(
        bare, settings.forward, device, itemsize, longest, checkpointing=checkpointing
    )
    return MemoryUse(
        weights=FLOAT32 * num_all,
        copies=copies,
        gradient=FLOAT32 * num_trained,
        # The kind of the optimizer decides, not its weights, which may be on no device.
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
    """Bytes per token of the activations that are kept, and of those of a block that is recomputed.

    model: Without the wrapper of adapters.
    """
    config, family = model.config, family_of(model.config)
    drops = has_dropout(model)
    on_cpu = device == "cpu"  # where masks have the dtype of the products; elsewhere they are bools
    mask_itemsize = (itemsize if on_cpu else 1) * drops
    block = family.activation_bytes(config, itemsize, mask_itemsize)
    block += attention_bytes(config, forward, device, itemsize, longest, has_dropout=drops)
    residual = FLOAT32 * config.hidden_size
    num_trained = count_trained_blocks(model)
    # The input of the final LayerNorm, its output, and the gradient of the output.
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
    """Bytes per token that a block's attention keeps in addition to queries, keys, values and
    output.

    The kernels for GPUs, and PyTorch's kernel for CPUs, which is used without dropout only, keep
    one log-sum-exp per head. On a CPU, the padding-free forward pass keeps the probabilities and
    their dropout masks. transformers with dropout keeps float32 probabilities, masks and products
    of both, and float32 copies of queries, keys and values.
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
    """Number of blocks through which a gradient flows: those from the lowest trained weight up."""
    blocks = family_of(model.config).blocks(model)
    below = [*family_of(model.config).embeddings(model)]
    for lowest, part in enumerate([nn.ModuleList(below), *blocks]):
        if any(weight.requires_grad for weight in part.parameters()):
            return len(blocks) - max(0, lowest - 1)
    return 0
