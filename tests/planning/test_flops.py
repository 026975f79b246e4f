"""FLOPs of a training step, compared with PyTorch's FLOP counter."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import GPT2Config, GPT2LMHeadModel

from llmkit.config.schema import Train
from llmkit.data.batches import collate
from llmkit.families import GPT2
from llmkit.model.loss import SupervisedLoss
from llmkit.model.trainable import set_activation_checkpointing, trainable_model
from llmkit.planning.flops import Workload, forward_flops, training_flops

LENGTH, NUM_ROWS = 64, 4
CONFIG = GPT2Config(
    n_layer=3, n_head=4, n_embd=64, vocab_size=320, n_positions=LENGTH, bos_token_id=0,
    eos_token_id=0,
)  # fmt: skip


def counted(changes: dict, *, checkpointing: bool, backward: bool) -> tuple[float, float]:
    """FLOP of a batch by torch's counter, and by our count."""
    model = GPT2LMHeadModel(CONFIG)
    GPT2.optimize(model)
    model = trainable_model(model, Train(max_steps=1, dropout=0, **changes)).train()
    set_activation_checkpointing(model, checkpointing)
    row = {"input_ids": [5] * LENGTH, "labels": [5] * LENGTH}
    loss = SupervisedLoss(model, "transformers")
    with FlopCounterMode(display=False) as counter:
        value = loss(collate([row] * NUM_ROWS))
        if backward:
            value.backward()
    workload = Workload.of_rows([LENGTH] * NUM_ROWS, NUM_ROWS * (LENGTH - 1))
    flops = training_flops(model, checkpointing=checkpointing)
    return counter.get_total_flops(), (flops if backward else forward_flops(model)).total(workload)


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("changes", [{}, {"freeze_layers": 2}, {"method": "lora"}])
def test_the_flops_of_a_step_match_the_counter_of_pytorch(changes, checkpointing):
    """Within a tenth: the counter also has full instead of causal attention, and no head's gradient
    that the loss computes with its own products."""
    torch.manual_seed(0)
    expected, found = counted(changes, checkpointing=checkpointing, backward=True)
    assert found == pytest.approx(expected, rel=0.1)


def test_flops_grow_with_tokens_pairs_and_supervised_tokens():
    workload = Workload.of_rows([3, 1], 2)
    assert (workload.tokens, workload.pairs, workload.supervised) == (4, 7, 2)
