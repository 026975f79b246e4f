"""Which weights are removed, and how many."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from llmkit.data.batches import collate
from llmkit.errors import UserError
from llmkit.families import GPT2
from llmkit.model.load import empty_model, load_model, save_model
from llmkit.model.loss import SupervisedLoss
from llmkit.model.pruning import (
    neuron_importance,
    prune_magnitude,
    prune_structured,
    pruned_shape,
)

ROWS = [
    {"input_ids": list(range(at, at + 20)), "labels": list(range(at, at + 20))}
    for at in range(5, 65, 10)
]


def num_weights(model):
    return sum(weight.numel() for weight in GPT2.blocks(model).parameters())


@pytest.fixture
def batches():
    return [collate(ROWS[:3], 1000), collate(ROWS[3:], 1000)]


@pytest.mark.parametrize("num_blocks", [2, 4, 12])
@pytest.mark.parametrize("share", [0.1, 0.25, 0.3, 0.5, 0.75])
def test_the_share_of_the_weights_is_removed(tiny_gpt2, num_blocks, share):
    config = load_model(tiny_gpt2)[0].config
    model = empty_model(config, n_layer=num_blocks, n_embd=256)
    shape = pruned_shape(model, share)
    rest = empty_model(config, n_layer=shape.num_blocks, n_embd=256, n_inner=shape.inner_size)
    assert num_weights(rest) / num_weights(model) == pytest.approx(1 - share, abs=0.004)
    assert shape.num_blocks == num_blocks - int(share * num_blocks)


def test_a_share_that_the_mlps_do_not_have_is_refused(tiny_gpt2):
    with pytest.raises(UserError, match=r"--share 0\.95: with 1 of 2 blocks"):
        pruned_shape(load_model(tiny_gpt2)[0], 0.95)


def test_a_share_that_removes_nothing_is_refused(tiny_gpt2):
    with pytest.raises(UserError, match=r"--share 0\.001: removes nothing"):
        pruned_shape(load_model(tiny_gpt2)[0], 0.001)


def test_the_block_without_which_the_loss_is_lowest_is_removed(tiny_gpt2, batches):
    ids = torch.tensor([row["input_ids"] for row in ROWS])
    kept = set()
    for seed in range(6):
        model, _ = load_model(tiny_gpt2)
        blocks, losses = list(GPT2.blocks(model)), []
        torch.manual_seed(seed)
        with torch.no_grad():
            for block in blocks:
                block.mlp.c_proj.weight.normal_(std=2)
            for block in blocks:
                model.transformer.h = torch.nn.ModuleList([block])
                losses.append(model(ids, labels=ids).loss.item())
        model.transformer.h = torch.nn.ModuleList(blocks)
        prune_structured(model, 0.5, "padding_free", batches)
        assert list(GPT2.blocks(model)) == [blocks[losses.index(min(losses))]]
        assert GPT2.inner_size(model.config) == 128
        kept.add(losses.index(min(losses)))
    assert kept == {0, 1}


def test_the_neurons_that_matter_least_are_removed(tiny_gpt2, batches, tmp_path):
    model, tokenizer = load_model(tiny_gpt2)
    before = load_model(tiny_gpt2)[0]
    useless = torch.arange(3, 128, 2)
    for each in (model, before):
        for block in GPT2.blocks(each):
            block.mlp.c_proj.weight.data[useless] = 0
    importance = neuron_importance(before, SupervisedLoss(before, "padding_free"), batches)
    assert all((each > 0).sum() == 128 - len(useless) for each in importance)
    prune_structured(model, 0.25, "padding_free", batches)
    assert 0 < GPT2.inner_size(model.config) < 128
    save_model(model, tokenizer, tmp_path / "pruned")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "pruned")
    ids = torch.arange(5, 45).view(2, 20)
    with torch.inference_mode():  # nothing but neurons that add nothing is gone
        torch.testing.assert_close(loaded(ids).logits, before(ids).logits)


def test_the_smallest_weights_of_each_layer_become_zero(tiny_gpt2):
    model, before = load_model(tiny_gpt2)[0], load_model(tiny_gpt2)[0].state_dict()
    prune_magnitude(model, 0.3)
    assert model.state_dict().keys() == before.keys()
    for name, weight in model.state_dict().items():
        if not (".h." in name and weight.ndim == 2):
            assert torch.equal(weight, before[name]), name
            continue
        is_zero = weight == 0
        assert is_zero.sum().item() == round(0.3 * weight.numel())
        assert torch.equal(weight[~is_zero], before[name][~is_zero])
        assert before[name][is_zero].abs().max() <= before[name][~is_zero].abs().min()
