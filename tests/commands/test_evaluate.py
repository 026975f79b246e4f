"""`evaluate`: where its scores may be written."""

from pathlib import Path


def test_evaluate_does_not_write_over_a_run(llmkit, finetune):
    assert finetune("--run-dir", "run").exit_code == 0
    result = llmkit("evaluate", "run", "--output", "run")
    assert result.exit_code == 2
    assert "run: is a run or a file; give --output" in result.stderr
    result = llmkit("evaluate", "run", "--output", "run/recipe.yaml/scores")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "recipe.yaml is a file; name another folder" in result.stderr
    assert "a run, not a recipe; did you mean run/recipe.yaml?" in llmkit("check", "./run").stderr
    result = llmkit("evaluate", "run", "data.test=none.jsonl", "--output", "scores")
    assert result.exit_code == 2
    assert not Path("scores").exists()
