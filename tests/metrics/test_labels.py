"""Labels have one identity, however data, predictions and probabilities write them."""

import json

import pytest
from rows import TEXT, write_jsonl
from runs import SHORT

from llmkit.metrics.labels import folded, label_of, probabilities_of, ratings_of


@pytest.mark.parametrize(
    ("value", "label"),
    [
        ("positive ", "positive"),
        (" positive", "positive"),
        ("negative\n", "negative"),
        ("\r\n\tnegative\u00a0", "negative"),
        ("\ufeffpositive", "positive"),
        ("positive\u200b", "positive"),
        ("\u200b positive\u200b \n", "positive"),
        ("very good", "very good"),
        ("می\u200cشود", "می\u200cشود"),  # the joiner inside a word is part of it
        (["positive "], "positive"),
        (1, "1"),
        (1.0, "1"),
        ("1.0", "1"),
        ("-2.00", "-2"),
        (2.5, "2.5"),
        ("2.50", "2.50"),
        ("1.10", "1.10"),
        ("007", "007"),
        (True, "True"),
        (False, "False"),
        (0, "0"),
        (None, ""),
        (float("nan"), ""),
        (" \u200b\n", ""),
    ],
)
def test_a_label_has_one_form_however_it_is_written(value, label):
    assert label_of(value) == label


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (["positive", "negative"], "must hold one label, not a list of 2"),
        ([], "must hold one label, not a list of 0"),
        ({"name": "positive"}, "must hold a label, not dict"),
        (b"positive", "must hold a label, not bytes"),
    ],
)
def test_a_value_that_is_not_one_label_is_refused(value, expected):
    with pytest.raises(ValueError, match=expected):
        label_of(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"a": 0.5, "b": 0.6}, "must add up to 1, not 1.1"),
        ({"a": -0.1, "b": 1.0}, "numbers from 0 to 1, by label; 'a' has -0.1"),
        ({"a": float("nan"), "b": 1.0}, "'a' has nan"),
        ({"a": float("inf")}, "'a' has inf"),
        ({"a": "0.5", "b": 0.5}, "'a' has '0.5'"),
        ({"a": True}, "'a' has True"),
        ({"a ": 0.5, "a": 0.5}, "must name the label 'a' once"),
        ({}, "numbers from 0 to 1, by label"),
        ([0.5, 0.5], "numbers from 0 to 1, by label"),
    ],
)
def test_values_that_are_not_probabilities_are_refused(value, expected):
    with pytest.raises(ValueError, match=expected):
        probabilities_of(value)


def test_probabilities_use_the_same_form_of_labels():
    assert probabilities_of({" positive": 0.7, "negative\n": 0.3}) == {
        "positive": 0.7,
        "negative": 0.3,
    }
    assert probabilities_of({"1.0": 0.33, "2": 0.33, "3": 0.33, "4": None}) == dict.fromkeys(
        "123", 0.33
    )


def test_ratings_are_three_or_more_numbers():
    assert ratings_of(["1", "2", "10"]) == {"1": 1, "2": 2, "10": 10}
    assert ratings_of(["0.5", "-1", "+2"]) == {"0.5": 0.5, "-1": -1, "+2": 2}
    assert ratings_of(["0", "1"]) is None
    assert ratings_of(["1", "2", "3 stars"]) is None


def test_spellings_that_look_alike_fold_into_one():
    for spelling in ("Pos", "pos\u200b", "p\u00ados", "ｐｏｓ", " POS\n"):
        assert folded(spelling) == "pos"
    assert folded("cafe\u0301") == folded("CAFÉ")
    assert folded("very  good") == "very good"
    assert folded("pos") != folded("post")


def rows_of(labels):
    return [{"text": f"{TEXT[i % 3]} {i}", "label": label} for i, label in enumerate(labels)]


LABELS = ["positive", "negative"] * 8
WRITTEN = {
    "blanks": {"positive": "positive ", "negative": "\tnegative\n"},
    "invisible characters": {"positive": "\ufeffpositive", "negative": "negative\u200b"},
    "integers": {"positive": 1, "negative": 0},
    "floats": {"positive": 1.0, "negative": 0.0},
    "booleans": {"positive": True, "negative": False},
    "lists": {"positive": ["positive"], "negative": ["negative"]},
}


@pytest.fixture
def splits(tmp_path):
    """Write train, validation and test rows; returns the arguments that name them."""

    def write(train, validation=None, test=None):
        files = {"train": train, "validation": validation or train, "test": test or train}
        for split, rows in files.items():
            write_jsonl(tmp_path / f"{split}.jsonl", rows)
        return [f"data.{split}={tmp_path / split}.jsonl" for split in files]

    return write


@pytest.fixture
def evaluate(llmkit, splits, tmp_path):
    """Scores of these predictions for these test rows, and what is said about them."""

    def run(rows, predictions, expected_exit=0):
        write_jsonl(tmp_path / "said.jsonl", predictions)
        recipe = "task: classify\ntrain: {epochs: 1}\n"
        (tmp_path / "recipe.yaml").write_text(recipe)
        result = llmkit(
            "evaluate", "--predictions", "said.jsonl", "--recipe", "recipe.yaml", *splits(rows),
            "--output", "scores",
        )  # fmt: skip
        assert result.exit_code == expected_exit, result.output
        if result.exit_code:
            return None, result.stderr
        results = json.loads((tmp_path / "scores" / "metrics.json").read_text())
        return results["scores"]["these predictions"], result.output

    return run


@pytest.mark.parametrize("written", WRITTEN)
def test_predicted_labels_match_however_data_and_predictions_write_them(evaluate, written):
    spelling = WRITTEN[written]
    label = {name: label_of(value) for name, value in spelling.items()}
    rows = rows_of(spelling[name] for name in LABELS)
    for said in (label, spelling, {name: f" {text}\n" for name, text in label.items()}):
        predictions = [{"id": i, "prediction": said[name]} for i, name in enumerate(LABELS)]
        scores, output = evaluate(rows, predictions)
        assert scores == {"accuracy": 100, "macro_f1": 100}
        assert "warning" not in output


def test_the_predicted_label_counts_even_if_another_is_more_probable(evaluate):
    predictions = [
        {"id": i, "prediction": name, "probabilities": {" positive": p, "negative\n": 1 - p}}
        for i, (name, p) in enumerate((name, 0.4 if name == "positive" else 0.1) for name in LABELS)
    ]
    scores, output = evaluate(rows_of(LABELS), predictions)
    assert (scores["accuracy"], scores["macro_f1"], scores["auc"]) == (100, 100, 100)
    assert scores["calibration_error"] > 0
    assert "warning" not in output


def test_rows_without_a_label_are_left_out_and_named(evaluate, tmp_path):
    rows = rows_of([*LABELS, "", None, float("nan"), " \u200b"])
    predictions = [{"id": i, "prediction": name} for i, name in enumerate([*LABELS, *LABELS[:4]])]
    scores, output = evaluate(rows, predictions)
    assert scores == {"accuracy": 100, "macro_f1": 100}
    assert "16 test rows; 4 without a label left out" in output
    assert "test.jsonl:17" in output
    confusion = json.loads((tmp_path / "scores" / "metrics.json").read_text())["confusion"]
    assert confusion["labels"] == ["negative", "positive"]


def test_a_predicted_label_that_no_row_has_is_reported(evaluate):
    predictions = [{"id": i, "prediction": name} for i, name in enumerate(LABELS)]
    predictions[3]["prediction"] = "negativ"
    scores, output = evaluate(rows_of(LABELS), predictions)
    assert scores["accuracy"] == pytest.approx(100 * 15 / 16)
    assert "said.jsonl:4: no row has the predicted label 'negativ'; it counts as wrong" in output
    assert "did you mean negative?" in output


def test_probabilities_of_some_labels_only_are_reported(evaluate):
    labels = ["a", "b", "c", "d"] * 4
    predictions = [
        {
            "id": i,
            "prediction": name,
            "probabilities": {name: 0.6, "bcda"["abcd".index(name)]: 0.3},
        }
        for i, name in enumerate(labels)
    ]
    scores, output = evaluate(rows_of(labels), predictions)
    assert scores == {"accuracy": 100, "macro_f1": 100}
    assert "said.jsonl:1, said.jsonl:2" in output
    assert "AUC and calibration error are left out" in output


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"probabilities": {"positive": 0.5, "negative": 0.2}}, "must add up to 1, not 0.7"),
        ({"probabilities": {"positive": 0.8, "negative": 0.8}}, "must add up to 1, not 1.6"),
        ({"probabilities": {"positive": -0.2, "negative": 1.2}}, "'positive' has -0.2"),
        ({"probabilities": {"positive": float("nan"), "negative": 1}}, "'positive' has nan"),
        ({"prediction": ["positive", "negative"]}, "prediction must hold one label"),
        ({"prediction": {"label": "positive"}}, "prediction must hold a label, not dict"),
        ({"prediction": None}, "prediction must be a text, not a missing value"),
    ],
)
def test_predictions_that_cannot_be_scored_are_refused(evaluate, change, expected):
    predictions = [{"id": i, "prediction": name} for i, name in enumerate(LABELS)]
    predictions[2] |= change
    _, output = evaluate(rows_of(LABELS), predictions, expected_exit=2)
    assert "said.jsonl:3: " in output
    assert expected in output
    assert len(output.splitlines()) == 1


def test_compare_reads_labels_as_evaluate_does(llmkit, tmp_path):
    good = [
        {"id": i, "prediction": f"{name} ", "references": [f" {name}"]}
        for i, name in enumerate(LABELS)
    ]
    bad = [{"id": i, "prediction": "negative\n"} for i in range(len(LABELS))]
    write_jsonl(tmp_path / "good.jsonl", good)
    write_jsonl(tmp_path / "bad.jsonl", bad)
    result = llmkit("compare", "bad.jsonl", "good.jsonl", "--task", "classify", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["differences"]["accuracy"]["difference"] == 50
    write_jsonl(tmp_path / "bad.jsonl", [*bad[:-1], {**bad[-1], "references": ["", "negative"]}])
    result = llmkit("compare", "bad.jsonl", "good.jsonl", "--task", "classify")
    assert result.exit_code == 2
    assert "bad.jsonl:16: references must hold one label, not a list of 2" in result.stderr


def test_ratings_are_compared_by_their_distance(llmkit, tmp_path):
    stars = [1, 2, 3, 4, 5] * 6
    near = [{"id": i, "prediction": min(5, s + 1), "references": s} for i, s in enumerate(stars)]
    far = [{"id": i, "prediction": 6.0 - s, "references": str(s)} for i, s in enumerate(stars)]
    write_jsonl(tmp_path / "near.jsonl", near)
    write_jsonl(tmp_path / "far.jsonl", far)
    result = llmkit("compare", "far.jsonl", "near.jsonl", "--task", "classify", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    error, kappa = (
        found["differences"][name] for name in ("mean_absolute_error", "quadratic_kappa")
    )
    assert error["difference"] == pytest.approx(0.8 - 2.4)
    assert error["high"] < 0 < kappa["low"]


def test_a_run_scores_labels_with_spaces_as_without(llmkit, splits, tiny_gpt2, tmp_path):
    """Training, the choice of the best weights, scoring and the report all take 1.0 for "1"."""
    written = {"1": " 1", "2": 2, "3": 3.0}
    labels = ["1", "2", "3"] * 6
    results = {}
    for name, rows in {
        "plain": rows_of(labels),
        "written": rows_of([written[label] for label in labels] + [""]),
    }.items():
        result = llmkit(
            "finetune", "classify", f"model={tiny_gpt2}", *splits(rows), *SHORT,
            "data.template=null", "evaluation.metric=mean_absolute_error", "--run-dir", name,
        )  # fmt: skip
        assert result.exit_code == 0, result.output
        results[name] = json.loads((tmp_path / name / "metrics.json").read_text())
    assert "train.jsonl:19" in result.output
    assert results["plain"]["scores"] == results["written"]["scores"]
    scores = results["plain"]["scores"]["fine-tuned"]
    assert 0 <= scores["mean_absolute_error"] <= 2
    assert results["plain"]["confusion"]["labels"] == ["1", "2", "3"]
    shown = llmkit("report", "written", "--output", "report.html")
    assert shown.exit_code == 0, shown.output
    assert "mean_absolute_error" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
    ("train", "validation", "arguments", "expected"),
    [
        (LABELS, ["positive"] * 4, ["evaluation.metric=auc"], "auc is undefined where all rows ha"),
        (LABELS, None, ["evaluation.metric=quadratic_kappa"], "three or more labels, all of them"),
        (["1", "2", "3"] * 4, [2] * 4, ["evaluation.metric=quadratic_kappa"], "rows have '2'"),
        (LABELS, ["negativ", *LABELS], [], "with the label to data.train; did you mean negative?"),
        (LABELS, [0, 1], [], "labels '0', '1'; training rows have 'negative', 'positive'"),
        (["", None] * 8, LABELS, [], "no row "),
        (LABELS, ["", None], [], "validation.jsonl:1: no row from here on has a label"),
        ([["positive", "negative"]] * 8, None, [], "train.jsonl:1: column label must hold one lab"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("command", ["finetune", "check"])
def test_labels_that_cannot_be_trained_on_are_refused_before_training(
    llmkit, splits, tiny_gpt2, command, train, validation, arguments, expected
):
    rows = splits(rows_of(train), validation and rows_of(validation))
    result = llmkit(command, "classify", f"model={tiny_gpt2}", *rows, *SHORT, *arguments)
    assert result.exit_code == 2
    assert expected in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_check_names_labels_that_look_alike(llmkit, splits, tiny_gpt2):
    labels = [*["pos", "neg"] * 8, "Pos", "pos\u200b", "pos ", "", "cafe\u0301", "café"]
    rows = splits(rows_of(labels))
    result = llmkit("check", "classify", f"model={tiny_gpt2}", *rows, *SHORT, "--json")
    assert result.exit_code == 0, result.output
    (finding,) = (
        f for f in json.loads(result.stdout)["findings"] if f["kind"] == "label spelled differently"
    )
    places = [row.rpartition("/")[2] for row in finding["rows"]]
    assert places == [
        "train.jsonl:17 'Pos'", r"train.jsonl:18 'pos\u200b'", "train.jsonl:22 'café'",
    ]  # fmt: skip
    assert finding["severity"] == "warning"


def test_numbers_as_pandas_writes_them_are_the_same_labels(evaluate):
    """Where a value is missing, pandas writes integers as 1.0."""
    labels = ["1.0", "2.0", "3.0"] * 4
    predictions = [{"id": i, "prediction": int(float(label))} for i, label in enumerate(labels)]
    scores, _ = evaluate(rows_of([*labels, ""]), [*predictions, {"id": 12, "prediction": 1}])
    assert scores["accuracy"] == 100
    assert scores["mean_absolute_error"] == 0
