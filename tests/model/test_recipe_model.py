"""The model and the tokenizer that a recipe names."""

import pytest
from runs import four_steps

from llmkit.config.schema import Recipe
from llmkit.data.recipe_task import recipe_task
from llmkit.data.rows import Rows
from llmkit.data.splits import open_splits
from llmkit.errors import UserError
from llmkit.model.load import weights_fingerprint
from llmkit.model.recipe_model import open_model, open_tokenizer

SCRATCH = (
    "model.scratch.n_layer=1", "model.scratch.n_head=1", "model.scratch.n_embd=8",
    "model.scratch.n_positions=128", "model.scratch.vocab_size=300",
)  # fmt: skip


def train_rows(recipe: Recipe) -> Rows:
    return open_splits(recipe.data, recipe_task(recipe), recipe.evaluation)["train"]


def test_a_model_from_scratch_is_the_same_each_time_its_recipe_opens_it(tmp_path):
    fingerprints = []
    for seed in (3, 3, 4):
        recipe = four_steps("scratch", tmp_path, f"seed={seed}", *SCRATCH)
        model, tokenizer = open_model(recipe, train_rows(recipe))
        fingerprints.append(weights_fingerprint(model))
        alone = open_tokenizer(recipe.model, train_rows(recipe))
        assert alone.get_vocab() == tokenizer.get_vocab()
    first, again, other = fingerprints
    assert first == again != other


def test_the_recipes_model_can_be_replaced_by_name(tiny_gpt2, tmp_path):
    recipe = four_steps(tiny_gpt2, tmp_path)
    train = train_rows(recipe)
    own, tokenizer = open_model(recipe, train)
    other, _ = open_model(recipe, train, "embedded")
    assert own.config.vocab_size < other.config.vocab_size
    assert open_tokenizer(recipe.model, train).get_vocab() == tokenizer.get_vocab()


@pytest.mark.parametrize("model", ["tiny_gpt2", "scratch"])
def test_rows_must_not_be_longer_than_the_context(model, tiny_gpt2, tmp_path):
    is_scratch = model == "scratch"
    recipe = four_steps(
        model if is_scratch else tiny_gpt2, tmp_path, *(SCRATCH if is_scratch else ()),
        "data.max_length=100000",
    )  # fmt: skip
    with pytest.raises(UserError, match=r"data\.max_length: 100000 exceeds the model's \d+"):
        open_model(recipe, train_rows(recipe))
