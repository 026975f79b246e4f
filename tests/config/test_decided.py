"""Keys that a recipe leaves to the run: which are open, and back to what was given."""

from llmkit.config.decided import DECIDED_KEYS, given_values, undecided, with_values
from llmkit.config.recipe import load_recipe, recipe_keys


def recipe(*overrides):
    return load_recipe("summarize", overrides=overrides)


def test_every_decided_key_is_a_key_of_the_recipe():
    assert set(DECIDED_KEYS) <= recipe_keys(recipe()).keys()


def test_only_open_keys_and_revisions_are_undecided():
    keys = recipe_keys(recipe("evaluation.every=7", "model.revision=main", "train.device=cpu"))
    choices = {
        "evaluation.every": 12,
        "evaluation.metric": "rougeL",
        "model.revision": "0123abc",
        "data.revision": None,
        "train.device": "cpu",
        "train.mixed_precision": "no",
    }
    assert undecided(keys, choices) == {
        "evaluation.metric": "rougeL",
        "model.revision": "0123abc",
        "train.mixed_precision": "no",
    }


def test_with_values_changes_these_keys_alone():
    before = recipe()
    after = with_values(before, {"evaluation.bleu.tokenize": "zh", "train.dropout": 0.2})
    assert recipe_keys(after) == recipe_keys(before) | {
        "evaluation.bleu.tokenize": "zh",
        "train.dropout": 0.2,
    }


def test_only_values_that_the_run_decided_are_opened_again():
    given = recipe("evaluation.every=null", "train.micro_batch_size=null")
    decided = {"evaluation.every": 12, "train.micro_batch_size": 4}
    resumed = with_values(given, {"evaluation.every": 12, "train.micro_batch_size": 8, "seed": 3})
    opened = given_values(recipe_keys(resumed), decided, recipe_keys(given))
    assert opened == {"evaluation.every": None}
    assert given_values(recipe_keys(given), decided, recipe_keys(given)) == {}


def test_keys_that_no_run_decides_are_ignored():
    assert given_values(recipe_keys(recipe("seed=1")), {"seed": 1, "no.such": 5}, {}) == {}
