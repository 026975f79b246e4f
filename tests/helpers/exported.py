"""Short runs to export, with the outputs of their models."""

from pathlib import Path
from types import SimpleNamespace

from click.testing import CliRunner
from rich.console import Console
from rows import TEXT, summary_rows, write_jsonl
from runs import SHORT, forget_accelerator

from llmkit import cli

ROWS = {
    "summarize": summary_rows(60),
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


def original_of(run: Path) -> SimpleNamespace:
    """The source of a run's exports, and the outputs of its model."""
    from llmkit.workflows.original_model import load_source, run_original_model

    source = load_source(run, ())
    return SimpleNamespace(source=source, original=run_original_model(source, Console(quiet=True)))


def compute_in_this_process(format_name: str, folder: Path, inputs):
    """See llmkit.export.fresh_process.compute_in_fresh_process."""
    from llmkit.export.formats import FORMATS
    from llmkit.export.fresh_process import CannotOpen
    from llmkit.export.outputs import compute_outputs

    try:
        return compute_outputs(FORMATS[format_name].open_folder(folder), inputs)
    except Exception as error:
        raise CannotOpen(str(error)) from None
