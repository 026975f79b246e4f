"""The inputs that programs are run on, for each kind of task."""

import pytest
from exported import original_of, tuned_run

from llmkit.export.inputs import Inputs, spread_over


@pytest.mark.parametrize("length", [1, 4, 5, 17, 1000])
def test_positions_are_spread_over_the_row_up_to_its_last_token(length):
    positions = spread_over(length, 4)
    assert len(positions) == len(set(positions)) == min(length, 4)
    assert positions == sorted(positions)
    assert positions[-1] == length - 1
    assert positions[0] <= length / 4


def test_inputs_survive_the_file(full, tmp_path):
    inputs = full.original.inputs
    inputs.write(tmp_path / "inputs.json")
    assert Inputs.read(tmp_path / "inputs.json") == inputs


def test_a_text_task_completes_the_prompts_of_its_test_rows(full):
    inputs, test = full.original.inputs, full.original.test
    assert inputs.prompts == test.prompts
    assert inputs.max_new_tokens == 4
    assert (inputs.scored, inputs.targets) == ([], [])
    assert inputs.rows == test.encoded["input_ids"]


def test_a_classifier_scores_each_label_after_each_prompt(tiny_gpt2, tmp_path):
    found = original_of(tuned_run("classify", tiny_gpt2, tmp_path))
    inputs, test = found.original.inputs, found.original.test
    assert len(inputs.scored) == len(test.rows) * len(test.labels) == 9
    for row, targets in zip(inputs.scored, inputs.targets, strict=True):
        assert row[: targets[0]] in test.prompts
        assert [row[index] for index in targets] in test.labels.values()
