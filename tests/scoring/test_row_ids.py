"""Rows are told apart by their ids: one row an id, and one id however a tool writes it."""

import json

import pandas
import pytest
from rows import summary_rows, write_jsonl
from runs import SHORT

from llmkit.data.columns import row_id


@pytest.mark.parametrize(
    ("value", "expected"),
    [("r7", "r7"), (7, "7"), (7.0, "7"), (7.5, "7.5"), ("007", "007"), (0, "0"), (-0.0, "0"),
     (None, "3"), ("", "3"), (float("nan"), "3")],
)  # fmt: skip
def test_an_id_is_the_same_as_number_and_as_text(value, expected):
    assert row_id({"id": value}, 3) == expected
    assert row_id({}, 3) == "3"


@pytest.fixture
def settings(tiny_gpt2, tmp_path):
    write_jsonl(tmp_path / "train.jsonl", summary_rows(60))
    return (f"model={tiny_gpt2}", "data.train=train.jsonl", "data.test=test.jsonl", *SHORT)


def test_rows_of_one_id_are_refused_by_every_command(llmkit, settings, tmp_path):
    rows = [{**row, "id": i} for i, row in enumerate(summary_rows(4))]
    rows[2]["id"] = 0.0
    del rows[3]["id"]  # which makes it 3
    rows.append({**rows[1], "id": "3"})
    write_jsonl(tmp_path / "test.jsonl", rows)
    settings = (*settings, "evaluation.test_rows=null")
    result = llmkit("check", "summarize", *settings, "--json")
    assert result.exit_code == 2
    (finding,) = (f for f in json.loads(result.stdout)["findings"] if f["kind"] == "same id")
    assert [row.rpartition("/")[2] for row in finding["rows"]] == ["test.jsonl:3", "test.jsonl:5"]
    assert [o.rpartition("/")[2] for o in finding["originals"]] == ["test.jsonl:1", "test.jsonl:4"]
    write_jsonl(tmp_path / "said.jsonl", [{"id": i, "prediction": "x"} for i in range(4)])
    for command in (
        ("finetune", "summarize", *settings, "--run-dir", "run"),
        ("evaluate", "embedded", "--recipe", "summarize", *settings),
        ("evaluate", "--predictions", "said.jsonl", "--recipe", "summarize", *settings),
    ):
        result = llmkit(*command)
        assert result.exit_code == 2, command
        assert "test: 2 rows: the same id as another row" in result.stderr
        assert "test.jsonl:3 like " in result.stderr
    assert not (tmp_path / "run" / "model").exists()


def test_predictions_are_matched_or_the_ids_are_named(llmkit, settings, tmp_path):
    rows = [{**row, "id": i} for i, row in enumerate(summary_rows(12))]
    write_jsonl(tmp_path / "test.jsonl", rows)
    settings = ("--recipe", "summarize", *settings, "evaluation.test_rows=null")
    said = [{"id": float(i), "prediction": row["summary"]} for i, row in enumerate(rows)]
    write_jsonl(tmp_path / "floats.jsonl", said)
    pandas.DataFrame(said).to_parquet(tmp_path / "floats.parquet")
    several = [{"id": i, "prediction": [row["summary"], "x"]} for i, row in enumerate(rows)]
    write_jsonl(tmp_path / "several.jsonl", several)
    by_id = {str(i): row["summary"] for i, row in enumerate(rows)}
    (tmp_path / "by-id.json").write_text(json.dumps(by_id))
    for name in ("floats.jsonl", "floats.parquet", "several.jsonl", "by-id.json"):
        result = llmkit("evaluate", "--predictions", name, *settings, "--output", f"of-{name}")
        assert result.exit_code == 0, result.output
        scores = json.loads((tmp_path / f"of-{name}" / "metrics.json").read_text())["scores"]
        assert scores["these predictions"]["rougeL"] == pytest.approx(100)
    pandas.DataFrame([{**row, "id": f"{row['id']}"} for row in said]).to_csv(
        tmp_path / "texts.csv", index=False
    )
    result = llmkit("evaluate", "--predictions", "texts.csv", *settings)
    assert result.exit_code == 2
    assert "expected ids: '0', '1', '2'" in result.stderr
    assert "found ids: '0.0', '1.0', '2.0'" in result.stderr
    (tmp_path / "twice.json").write_text('{"0": "x", "0": "y"}')
    result = llmkit("evaluate", "--predictions", "twice.json", *settings)
    assert result.exit_code == 2
    assert "id 0 was used before" in result.stderr
