"""`generate`: the model that it takes, and runs of several tasks."""

import json

import pytest
from rows import TEXT, write_jsonl
from runs import SHORT


def test_generate_without_any_run_uses_the_embedded_model(llmkit):
    result = llmkit("generate", "--prompt", "The ferry", "--max-new-tokens", 5)
    assert result.exit_code == 0, result.output
    assert result.stderr.splitlines()[0] == "model: embedded"
    assert result.stdout.strip()


@pytest.mark.parametrize("task", ["qa", "translate"])
def test_generate_for_runs_of_other_tasks(llmkit, tiny_gpt2, tmp_path, task):
    rows = {
        "qa": [{"c": {"t": TEXT[i % 3]}, "question": "Who?", "answers": ["Mara", "M"]}
               for i in range(60)],
        "translate": [{"c": {"t": f"{TEXT[i % 3]} {i}"}, "de": "Ja."} for i in range(60)],
    }[task]  # fmt: skip
    for i, row in enumerate(rows):
        row["c"]["t"] += f" {i}"
    write_jsonl(tmp_path / "rows.jsonl", rows)
    column = {"qa": "context", "translate": "source"}[task]
    result = llmkit(
        "finetune", task, f"model={tiny_gpt2}", "data.train=rows.jsonl",
        f"data.columns.{column}=c.t", *SHORT, "--run-dir", "run",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    result = llmkit("generate", "--model", "run", "--input", "rows.jsonl", "--output", "out.jsonl")
    assert result.exit_code == 0, result.output
    row = json.loads((tmp_path / "out.jsonl").read_text().splitlines()[0])
    assert rows[0]["c"]["t"] in row["prompt"]
