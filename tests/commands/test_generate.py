"""`generate`: the default model, and runs of several tasks."""

import json

import pytest
from rows import TEXT, summary_rows, write_jsonl
from runs import SHORT


def test_generate_without_any_run_uses_the_embedded_model(llmkit):
    result = llmkit("generate", "--prompt", "The ferry", "--max-new-tokens", 5)
    assert result.exit_code == 0, result.output
    assert result.stderr.splitlines()[0] == "model: embedded"
    assert result.stdout.strip()


def test_positional_arguments_are_the_prompt(llmkit, tiny_gpt2):
    run = ("generate", "--model", tiny_gpt2, "--max-new-tokens", 5, "--json")
    typed = llmkit(*run, "The", "ferry", "was late")
    assert typed.exit_code == 0, typed.output
    assert json.loads(typed.stdout)["prompt"] == "The ferry was late"
    given = llmkit(*run, "--prompt", "The ferry was late")
    assert typed.stdout == given.stdout


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


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--prompt", ""), "--prompt: the prompt is empty"),
        (("--prompt", "a " * 300), "exceed the model's 128 positions"),
        (("--prompt", "a", "--temperature", "-1"), "--temperature: "),
        (("--prompt", "a", "--top-k", "5"), "require a --temperature above 0"),
        (("--prompt", "a", "--input", "b"), "give either --prompt TEXT or --input FILE"),
        ((), "give either --prompt TEXT or --input FILE"),
        (("--input", "missing.jsonl"), "missing.jsonl: no such file; check --input"),
        (("--input", "rows.jsonl"), "rows.jsonl:1: no text column 'prompt'"),
        (
            ("--prompt", "a", "--output", "no/such/folder/out.jsonl"),
            "there is no folder no/such/folder",
        ),
    ],
)
def test_bad_requests_to_generate_end_in_one_line(llmkit, tiny_gpt2, tmp_path, arguments, expected):
    write_jsonl(tmp_path / "rows.jsonl", summary_rows(2))
    result = llmkit("generate", "--model", tiny_gpt2, *arguments)
    assert result.exit_code == 2
    assert expected in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.output
