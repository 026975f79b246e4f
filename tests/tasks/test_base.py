"""Examples: how prompt and completion are made of a row."""

import pytest
from task_rows import ROWS

from llmkit.tasks import TASKS, to_example


@pytest.mark.parametrize("name", ROWS)
def test_one_space_separates_prompt_and_completion(name):
    example = to_example({"id": "1", **ROWS[name]}, TASKS[name])
    assert example.prompt_text == example.prompt_text.rstrip()
    assert example.completion[0] == " "
    assert example.completion[1:] == example.completion.strip()
    assert example.references[0].strip() == example.completion.strip()


def test_placeholders_in_the_text_of_a_row_are_plain_text():
    example = to_example({"id": "1", **ROWS["summarize"]}, TASKS["summarize"])
    assert example.prompt_text == "One. Two {summary}. Three. Four.\n\nTL;DR:"


def test_only_the_source_can_be_truncated():
    example = to_example({"id": "1", **ROWS["qa"]}, TASKS["qa"])
    assert [s.text for s in example.prompt if s.is_truncatable] == [f" {ROWS['qa']['context']}"]
