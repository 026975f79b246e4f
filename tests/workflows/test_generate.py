"""The generate command: prompts and files, formats, columns, errors."""

import csv
import json
import shutil

import pytest
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from pyarrow import parquet
from rows import LABELS, TEXT, write_csv, write_jsonl
from runs import SHORT, forget_accelerator

from llmkit import api
from llmkit.config.generation import Generation
from llmkit.data.encode import encode_text
from llmkit.errors import UserError
from llmkit.generation.generate import generate
from llmkit.metrics.prediction import Prediction
from llmkit.model.load import load_model
from llmkit.scoring.predictions import read_predictions
from llmkit.tasks import get_task

REVIEWS = [
    {"id": f"n{i}", "review": f"{TEXT[i % 3]} Number {i}.", "stars": i, "note": 'a "quoted"\nnote'}
    for i in range(7)
]


def read_any(path):
    """Read the rows of an output file with a reader other than llmkit's."""
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
def test_a_run_keeps_its_labels_without_its_training_rows(llmkit, classifier, tmp_path, change):
    """run.json holds them; for a run of an earlier version they come from the training rows."""
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
        assert "has no `labels`" in result.stderr
        assert "rows.csv: no such file" in result.stderr
        return
    assert result.exit_code == 0, result.output
    lines = [line.split("\t") for line in result.stdout.splitlines()]
    assert {label for label, _ in lines} == set(LABELS)
    probabilities = [float(probability) for _, probability in lines]
    assert probabilities == sorted(probabilities, reverse=True)
    assert sum(probabilities) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("text", ["", " \n"])
def test_a_blank_text_from_python_is_rejected_like_a_blank_prompt(llmkit, classifier, text):
    result = llmkit("generate", "--model", classifier, "--prompt", text)
    assert result.exit_code == 2
    assert "--prompt: the prompt is empty" in result.stderr
    forget_accelerator()
    with pytest.raises(UserError, match=r"prompts\[1\]: the prompt is empty"):
        api.generate([TEXT[0], text], classifier)


def test_input_columns_named_like_results_are_renamed(llmkit, classifier, tmp_path):
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
        ("new.jsonl", '{"text": "a", "x": "\\ud800"}', "new.jsonl:1: the row contains half"),
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
    follows_a_valid_row = expected.startswith("new.jsonl:2")
    assert ("skip such rows" in result.stderr) == follows_a_valid_row
    assert (tmp_path / "out.csv").read_text("utf-8") == "precious"
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ("--output", "out.xlsx"),
            "name a file that ends in .csv, .tsv, .jsonl, .json, .parquet",
        ),
        (("--output", "new.csv"), "new.csv is the input file; choose another name"),
        (("train.epochs=3",), "generate takes only data.columns, data.encoding, data.skip_"),
        (("--temperature", "1"), "--temperature: classify predicts labels and generates no text"),
        (("hello",), "'hello' is not an option; did you mean --prompt hello?"),
        (("data.columns.txt=review",), "data.columns.txt: classify has no such column"),
    ],
)
def test_options_that_do_not_apply_to_a_classifier_are_rejected(
    llmkit, classifier, tmp_path, arguments, expected
):
    write_csv(tmp_path / "new.csv", REVIEWS)
    result = llmkit("generate", "--model", classifier, "--input", "new.csv", *arguments)
    assert result.exit_code == 2
    assert expected in result.stderr.splitlines()[-1]


def test_repeated_ids_and_empty_texts_are_reported_on_stderr(llmkit, classifier, tmp_path):
    write_jsonl(
        tmp_path / "new.jsonl",
        [{"id": 7, "text": "a"}, {"id": "7", "text": "b"}, {"id": 8, "text": " "}],
    )
    result = llmkit("generate", "--model", classifier, "--input", "new.jsonl")
    assert result.exit_code == 0, result.output
    assert "1 row has the id of an earlier row" in result.stderr
    assert "new.jsonl:2" in result.stderr
    assert "1 row has no text, so its prediction is meaningless: new.jsonl:3" in (result.stderr)
    assert len(result.stdout.splitlines()) == 3


def test_json_and_quiet_print_json_lines_and_nothing_else(llmkit, classifier, tmp_path):
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
    assert "give either --json, which prints the predictions, or --output FILE" in result.stderr


def test_generate_prints_nothing_but_the_completion_on_stdout(llmkit, tiny_gpt2):
    result = llmkit("generate", "--model", tiny_gpt2, "--prompt", TEXT[0], "--max-new-tokens", 5)
    assert result.exit_code == 0, result.output
    model, tokenizer = load_model(str(tiny_gpt2))
    prompt = encode_text([TEXT[0]], tokenizer)
    # The precision follows from a measurement, so it is that of the command.
    with Accelerator(mixed_precision=AcceleratorState().mixed_precision).autocast():
        ((completion,),) = generate(model, tokenizer, prompt, Generation(max_new_tokens=5), 1)
    assert result.stdout == f"{completion.text.strip()}\n"
    assert str(tiny_gpt2) in result.stderr


def test_several_samples_are_written_with_the_first_as_the_prediction(llmkit, tiny_gpt2, tmp_path):
    rows = [{"id": "x", "prompt": TEXT[0]}, {"prompt": TEXT[1], "id": None}]
    write_jsonl(tmp_path / "in.jsonl", rows)
    run = (
        "generate", "--model", tiny_gpt2, "--max-new-tokens", 4, "--num-return-sequences", 2,
        "--temperature", 1,
    )  # fmt: skip
    result = llmkit(*run, "--input", "in.jsonl", "--output", "out.jsonl")
    assert result.exit_code == 0, result.output
    first, second = [json.loads(line) for line in (tmp_path / "out.jsonl").open()]
    assert (first["id"], second["id"]) == ("x", "1")
    assert list(first) == ["id", "prompt", "prediction", "predictions"]
    assert first["prompt"] == TEXT[0]
    assert first["prediction"] == first["predictions"][0]
    assert len(first["predictions"]) == 2
    result = llmkit(*run, "--input", "in.jsonl", "--output", "out.csv")
    assert result.exit_code == 0, result.output
    for name in ("out.jsonl", "out.csv"):
        made = read_predictions(tmp_path / name, "--predictions", get_task("summarize"))
        assert made["x"].prediction == Prediction(first["prediction"], None, first["predictions"])


def test_several_samples_are_printed_with_numbers(llmkit, tiny_gpt2):
    run = ("generate", "--model", tiny_gpt2, "--max-new-tokens", 4, "--prompt", TEXT[0])
    result = llmkit(*run, "--num-return-sequences", 3, "--temperature", 1)
    assert [line[:4] for line in result.stdout.splitlines() if line[:1] == "["] == [
        "[1] ", "[2] ", "[3] "
    ]  # fmt: skip


def test_a_long_source_is_truncated_but_a_long_raw_prompt_is_rejected(
    llmkit, tiny_gpt2, tmp_path, rows
):
    llmkit("finetune", "summarize", f"model={tiny_gpt2}", f"data.train={rows}", *SHORT,
           "--run-dir", "run")  # fmt: skip
    forget_accelerator()
    write_jsonl(tmp_path / "in.jsonl", [{"document": "a b " * 200}, {"document": "c"}])
    run = ("generate", "--model", "run", "--input", "in.jsonl")
    result = llmkit(*run, "--output", "out.jsonl")
    assert result.exit_code == 0, result.output
    assert "1 of 2 inputs truncated to fit 128 tokens" in result.stderr
    assert r'prompt template: "{document}\n\nTL;DR:"' in result.stderr
    forget_accelerator()
    write_jsonl(tmp_path / "in.jsonl", [{"prompt": "c"}, {"prompt": "a b " * 200}])
    result = llmkit(*run, "--raw")
    assert result.exit_code == 2
    assert "in.jsonl:2: " in result.stderr
    assert "exceed the model's 128 positions" in result.stderr


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_skip_invalid_skips_and_reports_invalid_input_rows(llmkit, tiny_gpt2, tmp_path, suffix):
    """The id of a row without one is its position in the input."""
    path, long = tmp_path / f"in.{suffix}", "a b " * 200
    if suffix == "jsonl":
        rows = [{"prompt": "a"}, {"prompt": 5}, {"prompt": long}, {"prompt": "\ud83d"},
                {"id": "x", "prompt": "b"}, {"text": "c"}]  # fmt: skip
        lines = ["{broken", *map(json.dumps, rows)]
        kept, invalid = {"1": "a", "x": "b", "6": "c"}, (1, 3, 4, 5)
    else:
        lines = ["prompt,id", "a,b,c", "a,", f"{long},", "two\rlines,", "b,x", "c,"]
        kept, invalid = {"1": "a", "x": "b", "5": "c"}, (2, 4, 5)
    path.write_text("\n".join(lines))
    run = ("generate", "--model", tiny_gpt2, "--max-new-tokens", 2, "--input", path)
    refused = llmkit(*run, "--output", "out.jsonl")
    assert refused.exit_code == 2
    (line,) = refused.stderr.splitlines()[1:]
    assert line.startswith(f"llmkit: {path}:{invalid[0]}: ")
    assert line.endswith("; or skip such rows with data.skip_invalid=true")
    assert not (tmp_path / "out.jsonl").exists()

    forget_accelerator()
    result = llmkit(*run, "--output", "out.jsonl", "data.skip_invalid=true")
    assert result.exit_code == 0, result.output
    written = [json.loads(line) for line in (tmp_path / "out.jsonl").open()]
    assert {row["id"]: row["prompt"] for row in written} == kept
    assert f"warning: {len(invalid)} rows have no prediction" in result.stderr
    assert all(f"{path}:{number}: " in result.stderr for number in invalid)
    assert f"{path}:7: " not in result.stderr
    for number in sorted(invalid)[::-1]:  # what is kept is predicted as if it stood alone
        del lines[number - 1]
    path.write_text("\n".join(lines))
    forget_accelerator()
    alone = llmkit(*run, "--json")
    made = [json.loads(line)["prediction"] for line in alone.stdout.splitlines()]
    assert made == [row["prediction"] for row in written]


def test_an_input_without_valid_rows_is_rejected_even_with_skip_invalid(
    llmkit, tiny_gpt2, tmp_path
):
    write_jsonl(tmp_path / "in.jsonl", [{"prompt": 5}, {"prompt": 6}])
    run = ("generate", "--model", tiny_gpt2, "--input", "in.jsonl")
    result = llmkit(*run, "data.skip_invalid=true")
    assert result.exit_code == 2
    assert "in.jsonl:1: no text column 'prompt'" in result.stderr


@pytest.mark.parametrize("prompt", ["The ferry ", "The ferry\t"])
def test_a_prompt_that_ends_with_a_space_or_tab_causes_a_warning(
    llmkit, tiny_gpt2, tmp_path, prompt
):
    run = ("generate", "--model", tiny_gpt2, "--max-new-tokens", 2)
    result = llmkit(*run, "--prompt", prompt)
    assert result.exit_code == 0, result.output
    assert "warning: 1 prompt ends with a space or tab" in result.stderr
    forget_accelerator()
    write_jsonl(tmp_path / "in.jsonl", [{"prompt": p} for p in ("a", prompt, "b\n", prompt)])
    result = llmkit(*run, "--input", "in.jsonl")
    assert "warning: 2 prompts end with a space or tab" in result.stderr
    assert "in.jsonl:2, in.jsonl:4" in result.stderr


def test_completions_truncated_before_meeting_a_constraint_are_counted(llmkit, tiny_gpt2, tmp_path):
    (tmp_path / "prompts.txt").write_text("The ferry\nThe harbour\n")
    given = ("generate", "--model", tiny_gpt2, "--regex", "[a-c]{9}", "--max-new-tokens")
    warning = "{} truncated after 3 tokens, before regex was met; raise --max-new-tokens"
    for source, count in (
        (("--prompt", "The ferry"), "1 of 1 completion"),
        (("--input", "prompts.txt"), "2 of 2 completions"),
        (("--input", "prompts.txt", "--output", "out.jsonl"), "2 of 2 completions"),
    ):
        result = llmkit(*given, 3, *source)
        assert result.exit_code == 0, result.output
        assert warning.format(count) in " ".join(result.stderr.split())
    assert "cut off" not in llmkit(*given, 20, "--prompt", "The ferry").output


def test_white_space_of_a_constrained_completion_is_kept(llmkit, tiny_gpt2):
    result = llmkit(
        "generate", "--model", tiny_gpt2, "--choices", "\n x ", "--prompt", "The ferry", "--json"
    )
    assert json.loads(result.stdout)["prediction"] == "\n x "
