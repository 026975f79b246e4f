"""Variants of a recipe, and their estimated memory."""

import pytest
from transformers import GPT2Config, GPT2LMHeadModel

from llmkit.config.schema import Model, Scratch, Train
from llmkit.model.trainable import trainable_model
from llmkit.planning.variants import RowSizes, Variant, iter_variants
from llmkit.training.memory import memory_usage

SHAPE = Scratch(n_layer=4, n_head=4, n_embd=128, vocab_size=2048)
CONFIG = GPT2Config(
    n_layer=4, n_head=4, n_embd=128, vocab_size=2048, n_positions=256, bos_token_id=0,
    eos_token_id=0,
)  # fmt: skip
ROWS = RowSizes(longest=256, step_tokens=8192)
MEMORY_BUDGET = 8e9


def variants_of(
    model: Model, precisions=("no",), memory_budget=MEMORY_BUDGET, **settings
) -> list[Variant]:
    train = Train(max_steps=1, **settings)
    return list(iter_variants(model, train, CONFIG, ROWS, "cpu", precisions, memory_budget))


@pytest.mark.parametrize("checkpointing", [None, False, True])
def test_the_first_variant_is_the_recipe_as_written(checkpointing):
    first = variants_of(Model(name="embedded"), activation_checkpointing=checkpointing)[0]
    model = trainable_model(GPT2LMHeadModel(CONFIG), Train(max_steps=1))
    usage = memory_usage(model, Train(max_steps=1), device="cpu", precision="no", longest=256,
                     checkpointing=bool(checkpointing))  # fmt: skip
    assert first.changes == {}
    assert first.usage == usage
    assert first.num_weights == sum(weight.numel() for weight in model.parameters())


def test_a_model_without_published_sizes_is_varied_only_in_its_training():
    names = {key for variant in variants_of(Model(name="embedded")) for key in variant.changes}
    assert names == {"train.method", "train.activation_checkpointing"}


def test_a_model_from_scratch_is_varied_in_shape_and_gets_no_adapters():
    shapes = variants_of(Model(name="scratch", scratch=SHAPE))
    assert {variant.changes.get("train.method") for variant in shapes} == {None}
    weights = [variant.num_weights for variant in shapes]
    assert min(weights) < weights[0] < max(weights)
    assert {key for variant in shapes for key in variant.changes} >= {
        "model.scratch.n_layer", "model.scratch.n_head", "model.scratch.n_embd",
    }  # fmt: skip


def test_published_models_are_proposed_in_place_of_each_other():
    names = {variant.changes.get("model") for variant in variants_of(Model(name="gpt2"))}
    assert names == {None, "gpt2-medium", "gpt2-large", "gpt2-xl"}


def test_a_checkpoint_holds_the_trained_weights_and_the_state_of_the_optimizer():
    full, lora, sgd = (
        variants_of(Model(name="embedded"), **settings)[0]
        for settings in ({}, {"method": "lora"}, {"optimizer": "sgd"})
    )
    weights = 4 * full.num_weights
    assert full.model_bytes == lora.model_bytes == weights
    assert 3 * weights <= full.usage.checkpoint < 3.1 * weights
    assert lora.usage.checkpoint < weights / 5
    assert 2 * weights <= sgd.usage.checkpoint < 2.1 * weights


def test_adapters_and_activation_checkpointing_save_memory():
    by_changes = {
        tuple(variant.changes): variant.num_bytes for variant in variants_of(Model(name="embedded"))
    }
    plain = by_changes[()]
    assert by_changes["train.method",] < plain
    assert by_changes["train.activation_checkpointing",] < plain


@pytest.mark.parametrize("memory_budget", [60e6, 100e6, 200e6, 1e9])
def test_micro_batches_fit_the_memory_budget(memory_budget):
    for variant in variants_of(Model(name="embedded"), memory_budget=memory_budget):
        if variant.tokens > ROWS.longest:
            assert variant.num_bytes <= memory_budget
        assert ROWS.longest <= variant.tokens <= ROWS.step_tokens


def test_only_a_precision_other_than_the_recipes_is_a_change():
    precisions = {v.changes.get("train.mixed_precision") for v in
                  variants_of(Model(name="embedded"), ("bf16", "fp16"))}  # fmt: skip
    assert precisions == {None, "fp16"}
