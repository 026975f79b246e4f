"""Classification scores: scikit-learn's, to the last digit that is printed."""

import json
import math
import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rows import write_jsonl
from sklearn.metrics import (
    accuracy_score,
    cohen_kappa_score,
    f1_score,
    mean_absolute_error,
    roc_auc_score,
)

from llmkit.metrics import corpus_scores, row_statistics
from llmkit.metrics.classification import labels_of
from llmkit.metrics.prediction import Prediction
from llmkit.tasks import TASKS

score = TASKS["classify"].score


def drawn(seed, num_rows, num_labels):
    """Labels and probabilities, some of them tied, of a system that is better than chance."""
    generator = np.random.default_rng(seed)
    true = np.concatenate([np.arange(num_labels), generator.integers(num_labels, size=num_rows)])
    logits = generator.normal(size=(len(true), num_labels)).round(1)
    logits[np.arange(len(true)), true] += 1
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return true, probabilities


def likeliest(probabilities):
    """Predictions that choose the label with the highest probability."""
    return [Prediction(max(each, key=each.get), each) for each in probabilities]


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.integers(5, 80), st.integers(2, 5))
def test_classification_scores_equal_scikit_learn(seed, num_rows, num_labels):
    true, probabilities = drawn(seed, num_rows, num_labels)
    names = [f"label {i}" for i in range(num_labels)]
    predictions = likeliest([dict(zip(names, row, strict=True)) for row in probabilities.tolist()])
    ours = score(predictions, [[names[i]] for i in true])
    chosen = probabilities.argmax(1)
    theirs = roc_auc_score(
        true, probabilities[:, 1] if num_labels == 2 else probabilities, multi_class="ovr"
    )
    assert ours["accuracy"] == pytest.approx(100 * accuracy_score(true, chosen), rel=1e-12)
    assert ours["macro_f1"] == pytest.approx(100 * f1_score(true, chosen, average="macro"))
    assert ours["auc"] == pytest.approx(100 * theirs, rel=1e-9)


def test_weights_count_rows_several_times():
    true, probabilities = drawn(0, 40, 3)
    predictions = likeliest([dict(zip("abc", row, strict=True)) for row in probabilities.tolist()])
    references = [["abc"[i]] for i in true]
    counts = np.random.default_rng(1).integers(0, 3, size=len(true))
    weighted = corpus_scores(
        {"classification": row_statistics("classification", predictions, references)},
        counts[None].astype(float),
    )
    repeated = np.repeat(np.arange(len(true)), counts)
    expected = score([predictions[i] for i in repeated], [references[i] for i in repeated])
    for name, value in expected.items():
        assert weighted[name].item() == pytest.approx(value, nan_ok=True)


def test_calibration_error_equals_a_hand_computed_example():
    predictions = likeliest([{"a": 0.9, "b": 0.1}] * 4 + [{"a": 0.3, "b": 0.7}] * 2)
    references = [["a"]] * 3 + [["b"]] * 2 + [["a"]]
    error = score(predictions, references)["calibration_error"]
    # 4 rows at 90 %, 3 of them right; 2 rows at 70 %, 1 right.
    assert error == pytest.approx(100 * (4 * abs(0.9 - 0.75) + 2 * abs(0.7 - 0.5)) / 6)


def guo_2017(confidences, are_right):
    """Equation 3 of the paper over 15 bins ((m - 1) / M, m / M], in exact fractions."""
    bins = {}
    for confidence, is_right in zip(confidences, are_right, strict=True):
        bins.setdefault(math.ceil(confidence * 15), []).append(is_right - confidence)
    return float(100 * sum(abs(sum(gaps)) for gaps in bins.values()) / len(confidences))


@pytest.mark.parametrize(
    ("confidences", "are_right", "expected"),
    [
        ([0.6] * 5 + [0.55] * 5, [1] * 5 + [0] * 5, 7.5),  # 0.6 is the upper edge of its bin
        ([0.8] * 2 + [0.75] * 2, [1, 1, 0, 0], 27.5),
        ([1.0] * 3, [1, 0, 1], 100 / 3),
        ([0.5] * 2, [1, 1], 50),
    ],
)
def test_calibration_bins_include_their_upper_edge(confidences, are_right, expected):
    predictions = likeliest([{"a": p, "b": 1 - p} for p in confidences])
    references = [["a"] if right else ["b"] for right in are_right]
    by_paper = guo_2017([Fraction(str(p)) for p in confidences], are_right)
    error = score(predictions, references)["calibration_error"]
    assert error == pytest.approx(by_paper) == pytest.approx(expected)


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.integers(1, 60), st.integers(2, 5))
def test_calibration_error_is_that_of_the_paper(seed, num_rows, num_labels):
    true, probabilities = drawn(seed, num_rows, num_labels)
    names = [f"label {i}" for i in range(num_labels)]
    predictions = likeliest([dict(zip(names, row, strict=True)) for row in probabilities.tolist()])
    ours = score(predictions, [[names[i]] for i in true])["calibration_error"]
    confidences = [Fraction(p) for p in probabilities.max(1).tolist()]
    expected = guo_2017(confidences, (probabilities.argmax(1) == true).astype(int).tolist())
    assert ours == pytest.approx(expected)


def test_accuracy_uses_the_predicted_label_and_auc_the_probabilities():
    """A threshold of 0.3: the stated label is not the likeliest one."""
    probabilities = [{"no": 0.6, "yes": 0.4}, {"no": 0.9, "yes": 0.1}, {"no": 0.2, "yes": 0.8}]
    predictions = [Prediction("yes" if p["yes"] > 0.3 else "no", p) for p in probabilities]
    scores = score(predictions, [["yes"], ["no"], ["yes"]])
    assert scores["accuracy"] == scores["macro_f1"] == scores["auc"] == 100
    # The likeliest labels: "no" with 0.6, wrong; "no" with 0.9 and "yes" with 0.8, right.
    assert scores["calibration_error"] == pytest.approx(100 * (0.6 + 0.1 + 0.2) / 3)


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.integers(2, 60), st.integers(3, 7), st.integers(-3, 9))
def test_rating_scores_equal_scikit_learn(seed, num_rows, num_ratings, lowest):
    generator = np.random.default_rng(seed)
    ratings = np.arange(lowest, lowest + num_ratings)
    true = np.concatenate([ratings, generator.choice(ratings, num_rows)])
    said = np.clip(true + generator.integers(-1, 2, len(true)), ratings[0], ratings[-1])
    predictions = [Prediction(str(each)) for each in said]
    references = [[str(each)] for each in true]
    scores = score(predictions, references)
    assert scores["mean_absolute_error"] == pytest.approx(mean_absolute_error(true, said))
    kappa = cohen_kappa_score(true, said, weights="quadratic")
    assert scores["quadratic_kappa"] == pytest.approx(100 * kappa)

    weights = generator.integers(1, 4, len(true)).astype(float)  # rows that are drawn again
    statistics = {"classification": row_statistics("classification", predictions, references)}
    weighted = corpus_scores(statistics, weights[None])
    error = mean_absolute_error(true, said, sample_weight=weights)
    kappa = cohen_kappa_score(true, said, weights="quadratic", sample_weight=weights)
    assert weighted["mean_absolute_error"].item() == pytest.approx(error)
    assert weighted["quadratic_kappa"].item() == pytest.approx(100 * kappa)


def test_a_rating_that_no_row_has_keeps_its_place_on_the_scale():
    true, said = [1, 2, 4, 5, 5], [1, 4, 4, 2, 5]
    scores = score([Prediction(str(each)) for each in said], [[str(each)] for each in true])
    kappa = cohen_kappa_score(true, said, labels=[1, 2, 3, 4, 5], weights="quadratic")
    assert scores["quadratic_kappa"] == pytest.approx(100 * kappa)


def test_ratings_are_in_the_order_of_their_numbers():
    ratings = ["10", "9", "1", "2.5", "-1"]
    assert labels_of(list(map(Prediction, ratings)), [["3"]] * 5) == [
        "-1", "1", "2.5", "3", "9", "10",
    ]  # fmt: skip
    assert labels_of([Prediction("10"), Prediction("b")], [["9"], ["a"]]) == ["9", "10", "a", "b"]


def test_equal_ratings_have_no_kappa():
    score = TASKS["classify"].with_metrics_for([["3"], ["4"], ["5"]]).score
    scores = score([Prediction("4")] * 3 + [Prediction("3"), Prediction("5")], [["4"]] * 5)
    assert scores["quadratic_kappa"] == 0  # chance alone would be right as often
    assert "quadratic_kappa" not in score([Prediction("4")] * 3, [["4"]] * 3)


@pytest.mark.parametrize("said", [["2", "2", "2"], ["1", "2", "7"], ["1", "1.5", "3"]])
def test_the_labels_of_the_task_decide_whether_they_are_ratings(said):
    """Whatever a system predicts: a baseline that says one label gets the scores of the others."""
    task = TASKS["classify"].with_metrics_for([["1"], ["2"], ["3"], ["2"]])
    assert "mean absolute error" in task.signature()
    scores = task.score(list(map(Prediction, said)), [["1"], ["2"], ["2"]])
    expected = mean_absolute_error([1, 2, 2], list(map(float, said)))
    assert scores["mean_absolute_error"] == pytest.approx(expected)
    assert "quadratic_kappa" in scores
    task = TASKS["classify"].with_metrics_for([["0"], ["1"]])
    assert "mean absolute error" not in task.signature()
    assert "mean_absolute_error" not in task.score([Prediction("2"), Prediction("3")], [["0"]] * 2)


def test_a_predicted_label_that_is_not_a_number_leaves_out_the_scores_of_ratings():
    task = TASKS["classify"].with_metrics_for([["1"], ["2"], ["3"]])
    scores = task.score([Prediction("1"), Prediction("many")], [["1"], ["2"]])
    assert scores.keys() == {"accuracy", "macro_f1"}


def test_every_system_of_a_table_gets_the_scores_of_ratings(llmkit, tmp_path):
    """Two of five ratings are in the test rows, and the majority baseline says one of them."""
    train = [{"id": f"t{i}", "text": f"Row {i}.", "label": i % 5} for i in range(20)]
    test = [{"id": f"r{i}", "text": f"New {i}.", "label": i % 2} for i in range(12)]
    said = [{"id": row["id"], "prediction": "3"} for row in test]
    for name, rows in (("train", train), ("test", test), ("said", said)):
        write_jsonl(tmp_path / f"{name}.jsonl", rows)
    arguments = ("--recipe", "classify", "--predictions", "said.jsonl", "data.train=train.jsonl",
                 "data.validation=test.jsonl", "data.test=test.jsonl")  # fmt: skip
    result = llmkit("evaluate", *arguments, "--json")
    assert result.exit_code == 0, result.output
    scores = json.loads(result.stdout)["scores"]
    assert {name: made["mean_absolute_error"] for name, made in scores.items()} == {
        "these predictions": 2.5, "majority label": 0.5,
    }  # fmt: skip
    write_jsonl(tmp_path / "said.jsonl", [{**row, "prediction": "unsure"} for row in said])
    result = llmkit("evaluate", *arguments)
    assert "not a number, mean absolute error and quadratic kappa are left out" in result.stderr


@pytest.mark.parametrize("labels", [["0", "1"], ["1", "2", "many"], ["a", "b", "c"]])
def test_other_labels_have_no_scores_of_ratings(labels):
    scores = score(list(map(Prediction, labels)), [[label] for label in labels])
    assert scores["accuracy"] == 100
    assert "mean_absolute_error" not in scores
    assert "quadratic_kappa" not in scores


def test_labels_that_are_left_out_have_unknown_probabilities():
    some = Prediction("a", {"a": 0.6, "b": 0.3})
    whole = Prediction("b", {"a": 0.2, "b": 0.5, "c": 0.3})
    certain = Prediction("c", {"c": 1.0})  # leaves nothing for the others
    references = [["a"], ["b"], ["c"]]
    assert not {"auc", "calibration_error"} & score([some, whole, certain], references).keys()
    assert score([whole, whole, certain], references)["auc"] > 0


def test_labels_alone_have_no_probabilities_to_score():
    scores = score([Prediction("a"), Prediction("b")], [["a"], ["a"]])
    assert scores["accuracy"] == 50
    assert "auc" not in scores
    assert "calibration_error" not in scores


def test_memory_does_not_grow_with_the_square_of_the_number_of_labels():
    num_rows, num_labels = 2000, 500
    references = [[f"label {i % num_labels}"] for i in range(num_rows)]
    said = [Prediction(accepted[0]) for accepted in references]
    tracemalloc.start()
    made = score(said, references)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert made == {"accuracy": 100, "macro_f1": 100}
    assert peak < 8 * num_rows * num_labels * 10  # bytes; a cell a pair of labels takes 50 times it
