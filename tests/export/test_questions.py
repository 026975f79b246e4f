"""What programs are asked about a test set."""

import pytest
from exported import asked_about, tuned_run

from llmkit.export.questions import Questions, spread_over


@pytest.mark.parametrize("length", [1, 4, 5, 17, 1000])
def test_positions_are_spread_over_the_row_up_to_its_last_token(length):
    positions = spread_over(list(range(length)), 4)
    assert len(positions) == len(set(positions)) == min(length, 4)
    assert positions == sorted(positions)
    assert positions[-1] == length - 1
    assert positions[0] <= length / 4


def test_questions_survive_the_file(full, tmp_path):
    questions = full.reference.questions
    questions.write(tmp_path / "questions.json")
    assert Questions.read(tmp_path / "questions.json") == questions


def test_a_text_task_completes_the_prompts_of_its_test_rows(full):
    questions, test = full.reference.questions, full.reference.test
    assert questions.prompts == test.prompts
    assert questions.max_new_tokens == 4
    assert (questions.scored, questions.targets) == ([], [])
    assert questions.rows == test.encoded["input_ids"]


def test_a_classifier_scores_each_label_after_each_prompt(tiny_gpt2, tmp_path):
    found = asked_about(tuned_run("classify", tiny_gpt2, tmp_path))
    questions, test = found.reference.questions, found.reference.test
    assert len(questions.scored) == len(test.rows) * len(test.labels) == 12
    for row, targets in zip(questions.scored, questions.targets, strict=True):
        assert row[: targets[0]] in test.prompts
        assert [row[index] for index in targets] in test.labels.values()
