"""The command `plan`: output, files and errors."""

import json

import pytest
from rows import write_jsonl

SMALL = (
    "data.max_length=128", "data.limit=40", "train.epochs=1", "train.global_batch_size=8",
    "evaluation.validation_rows=4", "evaluation.test_rows=4", "generation.max_new_tokens=4",
)  # fmt: skip


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--budget", "3x"), "llmkit: --budget: '3x' is not a positive duration in s, m, h or d"),
        (("--budget", "0"), "llmkit: --budget: '0' is not a positive duration in s, m, h or d"),
        (("--budget", "-3h"), "llmkit: --budget: '-3h' is not a positive duration in s, m, h or d"),
        (("--memory", "much"), "llmkit: --memory: 'much' is not a positive size in MB, GB or TB"),
        (("--memory", "0GB"), "llmkit: --memory: '0GB' is not a positive size in MB, GB or TB"),
        (("--device", "a1000"), "llmkit: --device: unknown device 'a1000'; did you mean a100"),
        (("--device", "a100", "--trials"), "llmkit: --trials: trials run on this machine"),
        (("--output", "plan.txt"), "llmkit: --output: plan.txt: name a file that ends in .html"),
        (("--bugdet", "3h"), "llmkit: plan: No such option '--bugdet'. Did you mean '--budget'"),
    ],
)
def test_a_mistake_ends_in_one_line(llmkit, options, message):
    result = llmkit("plan", "summarize", *options)
    assert result.exit_code == 2
    (line,) = result.stderr.strip().splitlines()[-1:]
    assert line.startswith(message)


def test_an_empty_file_is_rejected_as_in_finetune(llmkit, tmp_path):
    path = write_jsonl(tmp_path / "none.jsonl", [])
    result = llmkit("plan", "summarize", f"data.train={path}")
    assert result.exit_code == 2
    assert "none.jsonl" in result.stderr


@pytest.fixture
def quick(monkeypatch):
    from llmkit.workflows import measure

    monkeypatch.setattr(measure, "STEP_SECONDS", 0.2)
    monkeypatch.setattr(measure, "SCORE_SECONDS", 0.1)


def test_a_plan_is_printed_and_written(llmkit, tiny_gpt2, rows, tmp_path, quick):
    """No line is cut in a file or a terminal of 60 columns."""
    recipe = ("summarize", f"model={tiny_gpt2}", f"data.train={rows}", *SMALL)
    result = llmkit("plan", *recipe, "--budget", "2h", "--output", "plan.html")
    assert result.exit_code == 0, result.output
    for part in ("optimizer steps", "validations", "checkpoints", "final scores", "statistics",
                 "memory at the peak", "optimizer state", "encoded rows", "proposals for 2 h",
                 "train.method=lora"):  # fmt: skip
        assert part in result.stdout
    page = (tmp_path / "plan.html").read_text("utf-8")
    assert "train.method=lora" in page
    assert not list(tmp_path.glob(".llmkit-plan-*"))
    assert not (tmp_path / "runs").exists()


def test_a_plan_is_a_json_object(llmkit, tiny_gpt2, rows, quick):
    recipe = ("summarize", f"model={tiny_gpt2}", f"data.train={rows}", *SMALL)
    result = llmkit("plan", *recipe, "--device", "v100", "--memory", "8GB", "--json")
    plan = json.loads(result.stdout)
    assert plan["memory_bytes"] == 8e9
    assert plan["prediction"]["num_steps"] > 0
    assert plan["prediction"]["basis"] == "estimated for v100"
    assert all(proposal["bytes"] <= 8e9 for proposal in plan["proposals"])
