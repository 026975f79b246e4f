"""Reasoning: which part of a worked answer the majority baseline counts."""

from llmkit.tasks import TASKS


def test_answers_that_end_in_the_same_number_count_as_one():
    extract = TASKS["reason"].extract_answer
    assert extract(" 3 + 4 = 7\n#### 7.0") == extract(" #### 7") == "#### 7"
    assert extract(" #### 8") != extract(" #### 7")
