"""Predictions for the rows of a file: labels, probabilities, kept columns, formats."""

import csv
import datetime
import json
import shutil

import pyarrow
import pytest
from click.testing import CliRunner
from pyarrow import parquet
from rows import TEXT, write_jsonl
from runs import SHORT, forget_accelerator

from llmkit import api, cli
from llmkit.errors import UserError
from llmkit.generation.prompts import PromptReader
from llmkit.io import row_files
from llmkit.io.row_writer import gather, write_rows
from llmkit.scoring.predictions import read_predictions
from llmkit.tasks import get_task

LABELS = ("bad", "good, really", "Größe")
REVIEWS = [
    {"id": f"n{i}", "review": f"{TEXT[i % 3]} Number {i}.", "stars": i, "note": 'a "quoted"\nnote'}
    for i in range(7)
]


def run_quietly(*arguments):
    result = CliRunner().invoke(cli.main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    forget_accelerator()
    return result


def write_csv(path, rows):
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture(scope="module")
def classifier(tiny_gpt2, tmp_path_factory):
    """A run of `classify` on a csv of labelled rows."""
    folder = tmp_path_factory.mktemp("classifier")
    rows = [{"id": i, "text": f"{TEXT[i % 3]} Row {i}.", "label": LABELS[i % 3]} for i in range(60)]
    write_csv(folder / "rows.csv", rows)
    run_quietly(
        "finetune", "classify", f"model={tiny_gpt2}", f"data.train={folder / 'rows.csv'}",
        "train.mixed_precision=no", *SHORT, "--run-dir", folder / "run",
    )  # fmt: skip
    return folder / "run"


def read_any(path):
    """Rows of a file that was written, by a reader that is not llmkit's."""
    if path.suffix == ".parquet":
        return parquet.read_table(path).to_pylist()
    text = path.read_text("utf-8")
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in text.splitlines()]
    if path.suffix == ".json":
        return json.loads(text)
    delimiter = {".csv": ",", ".tsv": "\t"}[path.suffix]
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file, delimiter=delimiter))


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".json", ".parquet"])
def test_a_classifier_writes_the_label_and_every_probability(llmkit, classifier, tmp_path, suffix):
    write_csv(tmp_path / "new.csv", REVIEWS)
    output = tmp_path / f"out{suffix}"
    result = llmkit(
        "generate", "--model", classifier, "--input", "new.csv", "--output", output.name,
        "data.columns.text=review",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert result.stdout == ""
    rows = read_any(output)
    for row, review in zip(rows, REVIEWS, strict=True):
        assert {name: row[name] for name in review} == {k: str(v) for k, v in review.items()}
        if suffix in (".csv", ".tsv"):
            probabilities = {label: float(row[f"probability_{label}"]) for label in LABELS}
            assert list(row) == [
                *review,
                "prediction",
                *(f"probability_{n}" for n in sorted(LABELS)),
            ]
        else:
            probabilities = row["probabilities"]
            assert list(row) == [*review, "prompt", "prediction", "probabilities"]
        assert probabilities.keys() == set(LABELS)
        assert sum(probabilities.values()) == pytest.approx(1)
        assert row["prediction"] == max(probabilities, key=probabilities.get)
    assert not list(tmp_path.glob("*.partial"))


def test_a_csv_is_utf_8_that_excel_recognizes(llmkit, classifier, tmp_path):
    write_csv(tmp_path / "new.csv", [{"text": "Überall Möwen."}])
    run = ("generate", "--model", classifier, "--input", "new.csv", "--output")
    for name in ("out.csv", "out.tsv"):
        assert llmkit(*run, name).exit_code == 0
    assert (tmp_path / "out.csv").read_bytes().startswith(b"\xef\xbb\xbfid,text,prediction,")
    assert (tmp_path / "out.tsv").read_bytes().startswith(b"id\ttext\tprediction\t")


def test_new_rows_get_the_probabilities_of_the_runs_own_evaluation(llmkit, classifier, tmp_path):
    tested = read_any(classifier / "predictions.jsonl")
    ids = {row["id"] for row in tested}
    rows = [row for row in read_any(classifier.parent / "rows.csv") if row["id"] in ids]
    write_jsonl(tmp_path / "new.jsonl", [{"id": r["id"], "text": r["text"]} for r in rows])
    for model in (classifier, classifier / "model"):
        run = ("generate", "--model", model, "--input", "new.jsonl", "--output", "out.jsonl")
        assert llmkit(*run).exit_code == 0
        forget_accelerator()
        made = {row["id"]: row for row in read_any(tmp_path / "out.jsonl")}
        for row in tested:
            assert made[row["id"]]["prediction"] == row["prediction"]
            assert made[row["id"]]["probabilities"] == pytest.approx(row["probabilities"], rel=1e-4)


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".json", ".parquet"])
def test_evaluate_and_compare_read_every_format(llmkit, classifier, tmp_path, suffix):
    tested = {row["id"]: row for row in read_any(classifier / "predictions.jsonl")}
    rows = [row for row in read_any(classifier.parent / "rows.csv") if row["id"] in tested]
    write_csv(tmp_path / "new.csv", rows)
    run = ("generate", "--model", classifier, "--input", "new.csv", "--output", f"out{suffix}")
    assert llmkit(*run).exit_code == 0
    written = read_predictions(tmp_path / f"out{suffix}", "--predictions", get_task("classify"))
    assert written.keys() == tested.keys()
    for name, row in tested.items():
        prediction = written[name].prediction
        assert prediction.text == row["prediction"]
        assert prediction.probabilities == pytest.approx(row["probabilities"], rel=1e-4)
    result = llmkit("compare", classifier, f"out{suffix}", "--json")
    assert result.exit_code == 0, result.output
    compared = json.loads(result.stdout)
    assert "auc" in compared["first"]
    assert compared["second"] == pytest.approx(compared["first"], rel=1e-4)


@pytest.mark.parametrize("change", [None, "no labels", "no rows"])
def test_labels_outlive_the_training_rows(llmkit, classifier, tmp_path, change):
    """They are in the run; a run of an earlier version has them in its training rows alone."""
    shutil.copytree(classifier.parent, tmp_path / "moved")
    run, rows = tmp_path / "moved" / "run", tmp_path / "moved" / "rows.csv"
    recipe = (run / "recipe.yaml").read_text("utf-8")
    (run / "recipe.yaml").write_text(
        recipe.replace(str(classifier.parent), str(tmp_path / "moved")), "utf-8"
    )
    facts = json.loads((run / "run.json").read_text("utf-8"))
    assert facts["labels"] == sorted(LABELS)
    if change is not None:
        del facts["labels"]
        (run / "run.json").write_text(json.dumps(facts), "utf-8")
    if change != "no labels":
        rows.unlink()
    result = llmkit("generate", "--model", run, "--prompt", TEXT[0])
    if change == "no rows":
        assert result.exit_code == 2
        assert "no `labels` in it" in result.stderr
        assert "rows.csv: no such file" in result.stderr
        return
    assert result.exit_code == 0, result.output
    lines = [line.split("\t") for line in result.stdout.splitlines()]
    assert {label for label, _ in lines} == set(LABELS)
    probabilities = [float(probability) for _, probability in lines]
    assert probabilities == sorted(probabilities, reverse=True)
    assert sum(probabilities) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("text", ["", " \n"])
def test_a_blank_text_from_python_is_refused_as_a_blank_prompt_is(llmkit, classifier, text):
    result = llmkit("generate", "--model", classifier, "--prompt", text)
    assert result.exit_code == 2
    assert "--prompt: the prompt is empty" in result.stderr
    forget_accelerator()
    with pytest.raises(UserError, match=r"prompts\[1\]: the prompt is empty"):
        api.generate([TEXT[0], text], classifier)


def test_columns_with_the_names_of_results_are_renamed(llmkit, classifier, tmp_path):
    row = {"text": TEXT[0], "prediction": "old", "probability_bad": 0.9, "votes": ["x"], "score": 1}
    write_jsonl(tmp_path / "new.jsonl", [row])
    run = ("generate", "--model", classifier, "--input")
    result = llmkit(*run, "new.jsonl", "--output", "out.jsonl")
    assert result.exit_code == 0, result.output
    (made,) = read_any(tmp_path / "out.jsonl")
    assert made["input_prediction"] == "old"
    assert made["input_probability_bad"] == 0.9
    assert made["input_votes"] == ["x"]
    assert made["score"] == 1
    assert made["prediction"] in LABELS
    assert "the input's column 'prediction' is written as 'input_prediction'" in result.stderr
    forget_accelerator()
    assert llmkit(*run, "out.jsonl", "--output", "again.jsonl").exit_code == 0
    (again,) = read_any(tmp_path / "again.jsonl")
    assert again["input_input_prediction"] == "old"
    assert again["input_prediction"] == again["prediction"] == made["prediction"]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("new.csv", "text\nfine\n\"half", "new.csv:3: unexpected end of data"),
        ("new.csv", "review\nfine\n", "new.csv:2: no column 'text'; the columns are: review"),
        ("new.jsonl", '{"text": "a"}\n{"text": 3}\n', "new.jsonl:2: column text must hold a text"),
        ("new.jsonl", '{"text": "a"}\n{"text": null}', "new.jsonl:2: column text must hold a text"),
        ("new.jsonl", '{"text": "a", "x": "\\ud800"}', "new.jsonl:1: the row holds half"),
        ("new.jsonl", "", "new.jsonl: no rows in it"),
    ],
)  # fmt: skip
def test_a_bad_row_is_named_before_anything_is_written(
    llmkit, classifier, tmp_path, name, content, expected
):
    (tmp_path / name).write_text(content, "utf-8")
    (tmp_path / "out.csv").write_text("precious", "utf-8")
    result = llmkit("generate", "--model", classifier, "--input", name, "--output", "out.csv")
    assert result.exit_code == 2
    assert expected in result.stderr.splitlines()[-1]
    assert (tmp_path / "out.csv").read_text("utf-8") == "precious"
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ("--output", "out.xlsx"),
            "predictions are written as .csv, .tsv, .jsonl, .json, .parquet",
        ),
        (("--output", "new.csv"), "new.csv is the input; name another file"),
        (("train.epochs=3",), "generate takes only data.columns, data.encoding, data.skip_"),
        (("--temperature", "1"), "--temperature: classify chooses a label and generates no text"),
        (("hello",), "'hello' is not an option; did you mean --prompt hello?"),
        (("data.columns.txt=review",), "data.columns.txt: classify has no such column"),
    ],
)
def test_requests_that_cannot_be_met_are_refused(llmkit, classifier, tmp_path, arguments, expected):
    write_csv(tmp_path / "new.csv", REVIEWS)
    result = llmkit("generate", "--model", classifier, "--input", "new.csv", *arguments)
    assert result.exit_code == 2
    assert expected in result.stderr.splitlines()[-1]


def test_what_is_odd_about_rows_is_said_on_stderr(llmkit, classifier, tmp_path):
    write_jsonl(
        tmp_path / "new.jsonl",
        [{"id": 7, "text": "a"}, {"id": "7", "text": "b"}, {"id": 8, "text": " "}],
    )
    result = llmkit("generate", "--model", classifier, "--input", "new.jsonl")
    assert result.exit_code == 0, result.output
    assert "1 row has the id of an earlier row" in result.stderr
    assert "new.jsonl:2" in result.stderr
    assert "1 row has no text, so predictions for them are meaningless: new.jsonl:3" in (
        result.stderr
    )
    assert len(result.stdout.splitlines()) == 3


def test_values_without_a_common_type_are_written_to_parquet(tmp_path):
    rows = [{"a": 1, "b": "x"}, {"a": "two", "b": None}, {"a": [3], "c": 2.5}]
    write_rows(tmp_path / "out.parquet", rows, ["a", "b", "c"])
    table = parquet.read_table(tmp_path / "out.parquet")
    assert table.column("a").to_pylist() == ["1", "two", "[3]"]
    assert table.column("b").to_pylist() == ["x", None, None]
    assert table.schema.field("c").type == pyarrow.float64()
    write_rows(tmp_path / "out.parquet", [{"a": float("nan")}, {"a": [3]}], ["a"])
    assert parquet.read_table(tmp_path / "out.parquet").column("a").to_pylist() == [None, [3]]


def test_values_that_json_lacks_are_written_to_jsonl(tmp_path):
    rows = [{"when": datetime.date(2026, 1, 2), "score": float("nan")}]
    write_rows(tmp_path / "out.jsonl", rows, ["when", "score"])
    assert (tmp_path / "out.jsonl").read_text("utf-8") == '{"when": "2026-01-02", "score": null}\n'


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_any_text_survives_a_table(tmp_path, suffix):
    texts = ['say "hi"', "a,b", "a\tb", "two\nlines", "carriage\rreturn", "\r\n", '"', "=1+1", "é"]
    rows = [{"id": str(i), "text": text} for i, text in enumerate(texts)]
    write_rows(tmp_path / f"out{suffix}", rows, ["id", "text"])
    assert [row["text"] for _, row in row_files.read(tmp_path / f"out{suffix}")] == texts


def test_a_classifiers_predictions_may_have_other_columns_and_empty_cells(tmp_path):
    rows = [
        {"id": 1, "prediction": "a", "votes": 3, "probability_a": 1.0, "probability_b": ""},
        {"id": 2, "prediction": "b", "votes": "", "probability_a": 0.25, "probability_b": 0.75},
    ]
    path = write_csv(tmp_path / "said.csv", rows)
    said = [row.prediction for row in read_predictions(path, "x", get_task("classify")).values()]
    assert [each.probabilities for each in said] == [{"a": 1.0}, {"a": 0.25, "b": 0.75}]
    with pytest.raises(UserError, match="votes must be a list of texts"):
        read_predictions(path, "x", get_task("qa"))


def test_a_prediction_that_no_file_can_hold_is_refused(tmp_path):
    path = tmp_path / "said.jsonl"
    path.write_text('{"id": "1", "prediction": "\\ud800"}\n')
    with pytest.raises(UserError, match=r"said\.jsonl:1: the row holds half a character"):
        read_predictions(path, "x", get_task("qa"))


def test_a_row_with_nan_for_an_id_is_known_by_its_number(tmp_path):
    path = tmp_path / "new.jsonl"
    path.write_text('{"id": 7, "text": "A."}\n{"id": NaN, "text": "B."}\n')
    prompts = PromptReader(get_task("classify"), {}).read(path)
    assert [prompt.id for prompt in prompts] == [7, "1"]


def test_an_interrupted_write_leaves_the_old_file(tmp_path):
    def rows():
        yield {"id": "0"}
        raise RuntimeError

    for name in ("out.csv", "out.jsonl", "out.json", "out.parquet"):
        (tmp_path / name).write_text("old", "utf-8")
        with pytest.raises(RuntimeError):
            write_rows(tmp_path / name, rows(), ["id"])
        assert (tmp_path / name).read_text("utf-8") == "old"
    assert len(list(tmp_path.iterdir())) == 4


def test_json_lines_on_stdout_and_nothing_else_with_quiet(llmkit, classifier, tmp_path):
    write_csv(tmp_path / "new.csv", [{"id": 4, "text": TEXT[0], "stars": 2}])
    run = ("generate", "--model", classifier, "--json", "--quiet")
    result = llmkit(*run, "--input", "new.csv")
    assert result.exit_code == 0, result.output
    (row,) = map(json.loads, result.stdout.splitlines())
    assert (row["id"], row["stars"]) == ("4", "2")
    assert row["probabilities"].keys() == set(LABELS)
    assert result.stderr == ""
    result = llmkit(*run, "--prompt", TEXT[0])
    assert json.loads(result.stdout)["probabilities"] == pytest.approx(row["probabilities"])
    result = llmkit(*run, "--prompt", "a", "--output", "out.csv")
    assert result.exit_code == 2
    assert "give either --json, which prints predictions, or --output FILE" in result.stderr


def test_probabilities_may_have_decimal_commas():
    """As a spreadsheet in German or French writes them, between semicolons."""
    assert gather({"id": "1", "probability_a": "0,75", "probability_b": "1e-3"}) == {
        "probabilities": {"a": 0.75, "b": 0.001},
        "id": "1", "probability_a": "0,75", "probability_b": "1e-3",
    }  # fmt: skip


def test_votes_in_some_rows_only_are_told_of(llmkit, tmp_path):
    rows = [{"id": i, "question": f"{i} + 1?", "answer": f"#### {i + 1}"} for i in range(12)]
    train = [{**row, "id": f"t{row['id']}", "question": f"{row['id']} + 2?"} for row in rows]
    said = [
        {"id": i, "prediction": f"#### {i}", "references": [f"#### {i + 1}"],
         "votes": [f"#### {i + 1}"] * 3}
        for i in range(12)
    ]  # fmt: skip
    some = [row if row["id"] not in (2, 3) else row | {"votes": None} for row in said]
    none = [row | {"votes": None} for row in said]
    files = {"rows": rows, "train": train, "all": said, "some": some, "none": none}
    for name, content in files.items():
        write_jsonl(tmp_path / f"{name}.jsonl", content)
    warning = ".jsonl:4: no votes in 2 of {} rows, so majority_vote is left out"
    for name, is_told in (("all", False), ("some", True), ("none", False)):
        result = llmkit(
            "evaluate", "--recipe", "reason", "--predictions", f"{name}.jsonl",
            "data.train=train.jsonl", "data.validation=rows.jsonl", "data.test=rows.jsonl",
        )  # fmt: skip
        assert result.exit_code == 0, result.output
        assert (warning.format(12) in result.stderr) is is_told
        assert ("majority_vote" in result.stdout) is (name == "all")
    result = llmkit("compare", "all.jsonl", "some.jsonl", "--task", "reason")
    assert warning.format(24) in result.stderr


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"1": "pos", "b": "neg"}, {"1": "pos", "b": "neg"}),
        ({"1": 1, "2": 0}, {"1": "1", "2": "0"}),  # labels that are numbers
        ({"id": "7", "prediction": "pos"}, {"7": "pos"}),  # one row
        ({"id": 7, "prediction": 1, "probabilities": {"0": 0.2, "1": 0.8}}, {"7": "1"}),
        ({"data": [{"id": 7, "prediction": "pos"}]}, {"7": "pos"}),
    ],
)
@pytest.mark.parametrize("indent", [None, 1])
def test_predictions_by_id_and_a_single_row_are_told_apart(tmp_path, content, expected, indent):
    path = tmp_path / "predictions.json"
    path.write_text(json.dumps(content, indent=indent))
    made = read_predictions(path, "--predictions", get_task("classify"))
    assert {name: said.prediction.text for name, said in made.items()} == expected
