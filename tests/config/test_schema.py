"""Settings that contradict each other are refused."""

import pytest
from pydantic import ValidationError

from llmkit.config.schema import Evaluation, Recipe, Scratch, Train


def recipe(**sections):
    return Recipe(task="qa", train={"epochs": 1.0}, **sections)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: Train(), "train.epochs or train.max_steps must be set"),
        (lambda: Train(epochs=1.0, max_steps=1), "give one of train.epochs and train.max_steps"),
        (
            lambda: Train(epochs=1.0, compile=True, forward="transformers"),
            "train.compile needs train.forward=padding_free",
        ),
        (lambda: Train(epochs=1.0, keep_zeros=True, method="lora"), "needs train.method=full"),
        (lambda: Scratch(n_head=3, n_embd=128), r"n_head \(3\) must divide n_embd \(128\)"),
        (lambda: recipe(evaluation={"votes": 2}), "votes requires generation.temperature above 0"),
        (lambda: recipe(data={"max_length": 64}), "leaves no room for a prompt"),
        (
            lambda: recipe(
                data={"train": "a", "tests": {"General-Text": "b"}},
                evaluation={"general_text": "embedded"},
            ),
            "evaluation.general_text is scored under this name",
        ),
    ],
)
def test_contradicting_settings_are_refused(make, expected):
    with pytest.raises(ValidationError, match=expected):
        make()


def test_a_name_alone_is_short_for_the_model_section():
    assert recipe(model="gpt2").model.name == "gpt2"
    assert recipe(model={"name": "gpt2"}) == recipe(model="gpt2")


def test_pretrain_generates_nothing_and_so_needs_no_room_for_it():
    assert Recipe(task="pretrain", train={"epochs": 1.0}, data={"max_length": 8})


def test_a_limit_for_test_rows_is_one_for_every_test_set():
    assert Evaluation(validation_rows=3).limits == {"validation": 3, "test": None}
