"""Short runs to export, and what each export of them is compared with."""

from pathlib import Path
from types import SimpleNamespace

from click.testing import CliRunner
from rich.console import Console
from rows import TEXT, summary_rows, write_jsonl
from runs import SHORT, forget_accelerator

from llmkit import cli

ROWS = {
    "summarize": summary_rows(60),
    "translate": [{"source": text, "target": text.lower()} for text in TEXT * 20],
    "qa": [
        {"context": f"{TEXT[i % 3]} {i}.", "question": "Who?", "answers": [f"{i}"]}
        for i in range(60)
    ],
    "instruct": [
        {"instruction": f"Repeat {i}.", "input": TEXT[i % 3], "output": f"{i}"} for i in range(60)
    ],
    "reason": [
        {"question": f"{TEXT[i % 3]} {i}?", "answer": f"{i} + 1 = {i + 1}\n#### {i + 1}"}
        for i in range(60)
    ],
    "classify": [
        {"text": f"{TEXT[i % 3]} {i}", "label": ("good", "bad", "neither")[i % 3]}
        for i in range(60)
    ],
    "chat": [
        {"messages": [{"role": "user", "content": f"{TEXT[i % 3]} {i}?"},
                      {"role": "assistant", "content": "Mara."}] * (1 + i % 2)}
        for i in range(60)
    ],
    "pretrain": [{"text": f"{TEXT[i % 3]} {TEXT[(i + 1) % 3]} {i}"} for i in range(60)],
}  # fmt: skip


def tuned_run(task: str, model: str | Path, folder: Path, *overrides: str) -> Path:
    """A run of two steps in the folder."""
    write_jsonl(folder / f"{task}.jsonl", ROWS[task])
    arguments = (
        "finetune", task, f"model={model}", f"data.train={folder / task}.jsonl", *SHORT,
        "train.mixed_precision=no", *overrides, "--run-dir", folder / "run",
    )  # fmt: skip
    result = CliRunner().invoke(cli.main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    forget_accelerator()
    return folder / "run"


def asked_about(run: Path) -> SimpleNamespace:
    """The source of a run's exports, and the answers of its model."""
    from llmkit.workflows.export import ask_original, open_source

    source = open_source(run, ())
    return SimpleNamespace(source=source, reference=ask_original(source, Console(quiet=True)))
