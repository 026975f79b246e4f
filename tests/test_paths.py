"""Paths: a run finds its data from any working directory; broken links and names that are too
long are refused."""

from pathlib import Path

import pytest
from rows import summary_rows, write_jsonl
from runs import SHORT


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


LONG = "n" * 256  # bytes; most file systems allow 255


@pytest.mark.parametrize(
    "arguments",
    [
        ("finetune", "summarize", "--run-dir", LONG),
        ("finetune", "summarize", "--run-dir", f"runs/{LONG}/a"),
        ("finetune", "summarize", "--run-dir", "a/" * 2030 + "a"),  # its files would be too long
        ("finetune", "summarize", "--resume", LONG),
        ("finetune", "summarize", "--resume", "auto", "--run-dir", LONG),
        ("finetune", f"{LONG}.yaml"),
        ("finetune", f"{'n' * 250}.yaml"),  # the run's default name adds the time
        ("finetune", "summarize", f"model=./{LONG}"),
        ("finetune", "summarize", f"data.train={LONG}.jsonl"),
        ("finetune", "summarize", f"data.train={LONG}*.jsonl"),
        ("finetune", "summarize", f"data.tests.more={LONG}.jsonl", "data.train=rows.jsonl"),
        ("finetune", "summarize", f"data.tests.{LONG}=rows.jsonl", "data.train=rows.jsonl"),
        ("finetune", "summarize", f"evaluation.general_text={LONG}.txt"),
        ("check", "summarize", "--html", f"{LONG}.html"),
        ("check", "summarize", "--html", f"{'n' * 250}.html"),
        ("evaluate", LONG),
        ("evaluate", "embedded", "--recipe", "summarize", "--output", LONG),
        ("evaluate", "--predictions", f"{LONG}.jsonl", "--recipe", "summarize"),
        ("generate", "--prompt", "a", "--model", f"./{LONG}"),
        ("generate", "--prompt", "a", "--output", f"{LONG}.csv"),
        ("generate", "--prompt", "a", "--output", f"{'n' * 250}.csv"),  # so would be `.partial`
        ("generate", "--input", f"{LONG}.csv"),
        ("compare", LONG, "embedded"),
        ("report", LONG),
    ],
)
def test_a_name_that_is_too_long_ends_in_one_line_before_any_work(
    llmkit, tmp_path, monkeypatch, arguments
):
    monkeypatch.chdir(tmp_path)
    write_jsonl(Path("rows.jsonl"), summary_rows(40))
    Path(f"{'n' * 250}.yaml").write_text("task: summarize\ntrain: {max_steps: 1}\n")
    before = sorted(tmp_path.iterdir())
    result = llmkit(*arguments)
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.strip().splitlines()
    assert "nnn" in line or "a/a" in line
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    "arguments",
    [
        ("finetune", "summarize", "--run-dir", "link"),
        ("finetune", "summarize", "--run-dir", "link/run"),
        ("prepare", "pretrain", "--output", "link"),
        ("evaluate", "embedded", "--recipe", "summarize", "--output", "link"),
        ("check", "summarize", "--html", "link.html"),
        ("generate", "--prompt", "a", "--output", "link.csv"),
    ],
)
def test_a_broken_link_is_refused_before_any_work(llmkit, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    for name in ("link", "link.html", "link.csv"):
        Path(name).symlink_to("nowhere")
    result = llmkit(*arguments)
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.strip().splitlines()
    assert " is a broken symbolic link; remove it, or name another f" in line
    assert len(list(tmp_path.iterdir())) == 3
    assert all(path.is_symlink() for path in tmp_path.iterdir())
