"""Keys that a recipe leaves to the run: which are open, and back to what was given."""

from llmkit.config.decided import DECIDED_KEYS, as_given, undecided, with_values
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


def test_as_given_opens_what_the_run_decided_and_nothing_else():
    given = recipe("evaluation.every=null", "train.micro_batch_size=null")
    decided = {"evaluation.every": 12, "train.micro_batch_size": 4}
    resumed = with_values(given, {"evaluation.every": 12, "train.micro_batch_size": 8, "seed": 3})
    back = as_given(resumed, decided, recipe_keys(given))
    assert (back.evaluation.every, back.train.micro_batch_size, back.seed) == (None, 8, 3)
    assert as_given(given, decided, recipe_keys(given)) == given


def test_as_given_ignores_keys_that_no_run_decides():
    given = recipe("seed=1")
    assert as_given(given, {"seed": 1, "no.such": 5}, {"seed": 0}).seed == 1
