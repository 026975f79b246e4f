"""The number of tokens per micro-batch that fit into memory."""

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from datasets import Dataset
from torch import nn

from llmkit.config.schema import Train
from llmkit.data.batches import MicroBatchLimit
from llmkit.data.encoded_rows import count_tokens
from llmkit.families import family_of
from llmkit.model.load import count_parameters
from llmkit.model.loss import LOGIT_ROWS, unwrap_model
from llmkit.runtime.memory import available_bytes

BEST_TOKENS = 8192  # of a micro-batch, if memory allows
MEMORY_FRACTION = 0.7  # of the free memory; estimates err, and other programs take some
OPTIMIZER_BYTES_PER_WEIGHT = 12  # gradient and two moments of a trained weight, float32


def fitting_tokens(
    model: nn.Module, device: torch.device, precision: str, longest: int, num_processes: int
) -> int:
    """Tokens of a micro-batch that fit next to model and optimizer, at most BEST_TOKENS.

    An estimate from the shape of the model: the trainer handles memory that runs out all the same.

    Args:
        precision: The mixed precision.
        longest: Tokens of the longest row; attention keeps a number for each pair of them.
    """
    config = unwrap_model(model).config
    itemsize = 4 if precision == "no" else 2
    per_block = family_of(config).activations_per_token * config.hidden_size
    per_block += 2 * config.num_attention_heads * longest  # attention scores and probabilities
    a_token = config.num_hidden_layers * itemsize * per_block
    num_all, num_trained = count_parameters(model)
    copies = itemsize * num_all if itemsize < 4 else 0  # of the weights in that precision
    fixed = (
        copies + OPTIMIZER_BYTES_PER_WEIGHT * num_trained + 3 * 4 * LOGIT_ROWS * config.vocab_size
    )
    room = (
        MEMORY_FRACTION * available_bytes(device) / (num_processes if device.type == "cpu" else 1)
        - fixed
    )
    return int(max(longest, min(BEST_TOKENS, room // a_token)))


def fitting_limit(
    settings: Train, model: nn.Module, encoded: Dataset, accelerator: Accelerator
) -> MicroBatchLimit:
    """The recipe's limit of micro-batches; if it gives none, the tokens that fit into the memory of
    every process, since all split rows alike."""
    longest = int(count_tokens(encoded)[0].max())
    precision, num_processes = accelerator.mixed_precision, accelerator.num_processes
    mine = fitting_tokens(model, accelerator.device, precision, longest, num_processes)
    return limit_of(settings, min(gather_object([mine])))


def limit_of(settings: Train, max_tokens: int) -> MicroBatchLimit:
    """The recipe's limit of micro-batches; if it gives none, `max_tokens` tokens."""
    rows, tokens = settings.micro_batch_size, settings.micro_batch_tokens
    return MicroBatchLimit(rows, max_tokens if rows is None and tokens is None else tokens)
