"""A run finds its data from any working directory."""

from pathlib import Path

from conftest import SHORT, summary_rows, write_jsonl


def test_a_run_is_evaluated_and_resumed_from_another_folder(
    llmkit, tiny_gpt2, tmp_path, monkeypatch
):
    (tmp_path / "work" / "data").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    write_jsonl(Path("data/rows.jsonl"), summary_rows(40))
    write_jsonl(Path("data/more.jsonl"), summary_rows(4))
    data = ("data.train=data/rows.jsonl", "data.tests.more=data/more.jsonl")
    trained = llmkit(
        "finetune", "summarize", f"model={tiny_gpt2}", *data, *SHORT, "checkpoint.every=1",
        "--run-dir", "run",
    )  # fmt: skip
    assert trained.exit_code == 0, trained.output
    run = tmp_path / "work" / "run"

    monkeypatch.chdir(tmp_path / "elsewhere")
    scored = llmkit("evaluate", run)
    assert scored.exit_code == 0, scored.output
    assert "rows of more" in scored.output

    (run / "metrics.json").unlink()  # as if it had been stopped before its end
    resumed = llmkit("finetune", run / "recipe.yaml", "--resume", run)
    assert resumed.exit_code == 0, resumed.output
