"""metrics.json and predictions.jsonl: written, read again, of earlier and of newer releases."""

import json
from collections import Counter
from dataclasses import replace

import pytest

from llmkit.errors import UserError
from llmkit.metrics.prediction import Prediction
from llmkit.runs.folder import predictions_path, results_path
from llmkit.scoring import comparison, results
from llmkit.scoring.deciding_metric import DecidingMetric, choose_metric
from llmkit.scoring.scores import score_predictions
from llmkit.scoring.testset import TestSet as ScoredRows  # pytest would collect the class
from llmkit.tasks import TASKS

ROWS = [
    {"id": f"r{i}", "where": f"a.jsonl:{i}", "document": f"Mara left at {i}. Otto stayed. \u2028 A",
     "summary": [f"Mara left at {i}.", "She left."]}
    for i in range(12)
]  # fmt: skip
QA_ROWS = [
    {"id": f"r{i}", "where": f"a.jsonl:{i}", "context": "Mara has a goat.", "question": "Who?",
     "answers": ["Mara"] if i % 2 else []}
    for i in range(12)
]  # fmt: skip
LABEL_ROWS = [
    {"id": f"r{i}", "where": f"a.jsonl:{i}", "text": "x", "label": "yes" if i % 3 else "no"}
    for i in range(12)
]


def result_of(test, predictions):
    statistics = test.task.row_statistics(predictions, test.references)
    return score_predictions(test.task, statistics, predictions)


def results_for(name, rows, main="fine-tuned"):
    """Results of two systems that are sometimes right."""
    answers = Counter(row["label"] for row in rows) if name == "classify" else Counter()
    test = ScoredRows.of(rows, TASKS[name], answers)
    systems = {}
    for label, every in (("fine-tuned", 2), ("untuned", 3)):
        texts = [accepted[0] if i % every else "no" for i, accepted in enumerate(test.references)]
        votes = [None if name == "classify" else [text, "x"] for text in texts]
        predictions = [
            Prediction(
                text, votes=vote, ended=i % 2 == 0, expected_tokens=[(" A", 0.5), ("b", None)]
            )
            for i, (text, vote) in enumerate(zip(texts, votes, strict=True))
        ]
        systems[label] = result_of(test, predictions)
    return comparison.compare_with_others(test, systems, main, choose_metric(test.task, None))


@pytest.mark.parametrize(
    ("name", "rows"), [("summarize", ROWS), ("qa", QA_ROWS), ("classify", LABEL_ROWS)]
)
def test_results_and_predictions_are_read_as_they_were_written(tmp_path, name, rows):
    made = results_for(name, rows)
    results.write_results(tmp_path, {"test": made, "other set": made}, rows, best_step=4)
    saved = results.read_results(tmp_path)
    assert json.loads(json.dumps(saved.as_dict())) == json.loads(results_path(tmp_path).read_text())
    assert saved.scores == made.scores
    assert saved.differences == made.differences
    assert saved.deciding_metric == made.metric
    assert (saved.task, saved.main, saved.num_rows, saved.best_step) == (name, "fine-tuned", 12, 4)
    assert (saved.confusion is not None) == (name == "classify") == (not saved.diagnostics)
    again = results.read_saved_predictions(tmp_path)
    assert [row.as_dict() for row in again] == [
        json.loads(line) for line in predictions_path(tmp_path).open(newline="\n")
    ]
    of_system = list(results.predictions_of(made))
    assert [row.prediction.text for row in again] == [row.prediction.text for row in of_system]
    assert [replace(row, prediction=None) for row in again] == [
        replace(row, prediction=None) for row in of_system
    ]
    other = results.read_results(tmp_path / "sets" / "other-set")
    assert other == replace(saved, best_step=None)


def test_the_main_system_is_found_by_name_not_by_position(tmp_path):
    made = results_for("summarize", ROWS)
    turned = replace(made, systems=dict(reversed(made.systems.items())))
    results.write_results(tmp_path, {"test": turned}, ROWS)
    saved = results.read_results(tmp_path)
    assert next(iter(saved.scores)) != saved.main == "fine-tuned"
    assert turned.verdict == made.verdict
    said = [row.prediction.text for row in results.read_saved_predictions(tmp_path)]
    assert said == [each.text for each in made.systems["fine-tuned"].predictions]


def test_a_test_set_of_another_task_has_its_own_deciding_metric():
    test = ScoredRows.of([{"id": "0", "where": "a:1", "text": "Mara left."}], TASKS["pretrain"],
                         Counter())  # fmt: skip
    made = comparison.compare_with_others(test, {}, "fine-tuned", DecidingMetric("rougeL", True))
    assert made.metric == DecidingMetric("loss", False)


def test_results_without_a_version_are_read(tmp_path):
    made = results_for("qa", QA_ROWS)
    results.write_results(tmp_path, {"test": made}, QA_ROWS)
    content = json.loads(results_path(tmp_path).read_text())
    for key in ("version", "main", "higher_is_better"):
        del content[key]
    results_path(tmp_path).write_text(json.dumps(content))
    saved = results.read_results(tmp_path)
    assert saved.main == "fine-tuned"
    assert saved.deciding_metric is None
    assert saved.scores == made.scores
    for key in content.keys() - {"scores"}:
        content.pop(key)
    results_path(tmp_path).write_text(json.dumps(content))
    assert results.read_results(tmp_path).scores == made.scores


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('{"version": 2, "scores": {}}', "written by a newer llmkit (format 2; this one reads"),
        ('{"version": "new"}', "metrics.json: damaged"),
        ('{"version": 1', "metrics.json: damaged"),
        ('{"scores": 5}', "metrics.json: damaged"),
        ('{"version": 1, "scores": {}}', "metrics.json: damaged"),
        ("[1]", "metrics.json: damaged"),
        ("[" * 10**5, "metrics.json: damaged"),
    ],
)
def test_results_that_cannot_be_read_are_refused_in_one_line(llmkit, tmp_path, content, expected):
    results.write_results(tmp_path / "scores", {"test": results_for("qa", QA_ROWS)}, QA_ROWS)
    results_path(tmp_path / "scores").write_text(content)
    with pytest.raises(UserError) as refusal:
        results.read_results(tmp_path / "scores")
    assert expected in str(refusal.value)
    result = llmkit("compare", "scores", "scores")
    assert result.exit_code == 2
    assert expected in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "line", ["[1]", '{"id": 1}', '{"id": "1", "prompt": "", "prediction": "", "references": [], '
             '"score": "high"}', "{"],
)  # fmt: skip
def test_predictions_that_cannot_be_read_are_refused(tmp_path, line):
    predictions_path(tmp_path).write_text(f"{line}\n")
    with pytest.raises(UserError, match=r"predictions\.jsonl: damaged"):
        results.read_saved_predictions(tmp_path)
