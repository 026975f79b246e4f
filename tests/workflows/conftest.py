"""A run that several tests of workflows use."""

import pytest
from click.testing import CliRunner
from rows import LABELS, TEXT, write_csv
from runs import SHORT, forget_accelerator

from llmkit import cli


def run_quietly(*arguments):
    result = CliRunner().invoke(cli.main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    forget_accelerator()
    return result


@pytest.fixture(scope="session")
def classifier(tiny_gpt2, tmp_path_factory):
    """A run of `classify` on a csv of labelled rows."""
    folder = tmp_path_factory.mktemp("classifier")
    rows = [{"id": i, "text": f"{TEXT[i % 3]} Row {i}.", "label": LABELS[i % 3]} for i in range(60)]
    write_csv(folder / "rows.csv", rows)
    run_quietly(
        "finetune", "classify", f"model={tiny_gpt2}", f"data.train={folder / 'rows.csv'}",
        "train.mixed_precision=no", *SHORT, "--run-dir", folder / "run",
    )  # fmt: skip
    return folder / "run"
