"""Scores in the hub's format: only for a whole split of a benchmark, as the hub's library reads
them."""

import pytest
import yaml
from huggingface_hub._eval_results import parse_eval_result_entries

from llmkit.config.schema import Data, Evaluation
from llmkit.reports.hub_results import hub_results
from llmkit.scoring.results import SavedResults

BENCHMARK = """
name: GSM8K
evaluation_framework: inspect-ai
tasks:
  - id: gsm8k_socratic
    config: socratic
    split: test
  - id: gsm8k
    config: main
    split: test
"""
COMMIT = "0123456789abcdef0123456789abcdef01234567"
DATA = {"hub": "openai/gsm8k", "config": "main", "train": "train", "test": "test"}
SCORES = {"final_answer": 12.34567, "loss": 1.5}


def results_with(data=None, evaluation=None, scores=SCORES, benchmark=BENCHMARK):
    """(the file's entries, the note) of a run of `reason`, and the data sets that were read."""
    asked = []

    def read(data_set):
        asked.append(data_set)
        return benchmark

    saved = SavedResults(
        "reason", 1319, {"fine-tuned": scores, "untuned": {"final_answer": 1.0}}, "fine-tuned",
        metric=next(iter(scores)), signature="final answer",
    )  # fmt: skip
    found = hub_results(Data(**DATA | (data or {})), Evaluation(**evaluation or {}), saved, read)
    return yaml.safe_load(found.text or "null"), found.note, asked


def test_the_score_on_a_whole_split_of_a_benchmark_is_an_entry():
    entries, note, asked = results_with({"revision": COMMIT})
    (entry,) = parse_eval_result_entries(entries)
    assert (entry.dataset_id, entry.task_id) == ("openai/gsm8k", "gsm8k")
    assert (entry.value, entry.dataset_revision) == (12.3457, COMMIT)
    assert "final_answer, 1319 rows, final answer, llmkit" in entry.notes
    assert note == "final_answer 12.35 on openai/gsm8k, task gsm8k"
    assert asked == ["openai/gsm8k"]


def test_a_branch_is_no_commit_and_a_single_configuration_has_no_name():
    entries, _, _ = results_with(
        {"revision": "main", "config": None},
        benchmark="tasks: [{id: gsm8k, config: default, split: test}]",
    )
    assert entries[0]["dataset"] == {"id": "openai/gsm8k", "task_id": "gsm8k"}


@pytest.mark.parametrize(
    ("data", "evaluation", "scores", "reason"),
    [
        ({"hub": None}, {}, SCORES, "not from the hub"),
        ({"test": None}, {}, SCORES, "held out of the training rows"),
        ({"limit": 5}, {}, SCORES, "not all rows"),
        ({"skip_invalid": True}, {}, SCORES, "not all rows"),
        ({}, {"test_rows": 5}, SCORES, "not all rows"),
        ({}, {}, {"rougeL": 30.0}, "rougeL is not the share of correct answers"),
    ],
)
def test_other_rows_and_scores_have_no_entry_and_ask_nobody(data, evaluation, scores, reason):
    entries, note, asked = results_with(data, evaluation, scores)
    assert entries is None
    assert reason in note
    assert asked == []


@pytest.mark.parametrize(
    ("benchmark", "reason"),
    [
        (None, "is not a benchmark"),
        ("tasks: [", "is not a benchmark"),
        ("tasks: gsm8k", "is not a benchmark"),
        ("- 1", "is not a benchmark"),
        ("tasks: [{id: gsm8k, config: main, split: validation}]", "but not with main, test"),
    ],
)
def test_a_data_set_that_is_no_benchmark_has_no_entry(benchmark, reason):
    entries, note, _ = results_with(benchmark=benchmark)
    assert entries is None
    assert reason in note
