"""Instructions: optional parts of the prompt, and the copy baseline."""

import pytest

from llmkit.tasks import TASKS, to_example
from llmkit.tasks.instruct import copy_of_the_input

INSTRUCT = TASKS["instruct"]
ROW = {"id": "7", "instruction": "Who keeps a goat?", "input": "", "system": "", "output": "Mara."}


@pytest.mark.parametrize(
    ("more", "prompt", "truncatable"),
    [
        ({}, "Instruction: Who keeps a goat?\nResponse:", " Who keeps a goat?"),
        (
            {"input": "Mara keeps a goat."},
            "Instruction: Who keeps a goat?\nInput: Mara keeps a goat.\nResponse:",
            " Mara keeps a goat.",
        ),
        (
            {"system": "Be brief."},
            "Be brief.\nInstruction: Who keeps a goat?\nResponse:",
            " Who keeps a goat?",
        ),
    ],
)
def test_empty_parts_are_left_out_of_the_prompt(more, prompt, truncatable):
    example = to_example({**ROW, **more}, INSTRUCT)
    assert example.prompt_text == prompt
    assert [s.text for s in example.prompt if s.is_truncatable] == [truncatable]


def test_the_copy_baseline_copies_the_input_or_else_the_instruction():
    assert copy_of_the_input({**ROW, "input": " A text. "}) == "A text."
    assert copy_of_the_input(ROW) == "Who keeps a goat?"
