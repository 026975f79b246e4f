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


@pytest.fixture(scope="session")
def measured(tiny_gpt2, tmp_path_factory):
    """A recipe of four steps, prepared and measured in a second."""
    from runs import four_steps

    from llmkit.workflows import measure
    from llmkit.workflows.plan import prepare
    from llmkit.workflows.probes import mean_step

    folder = tmp_path_factory.mktemp("planned")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(measure, "STEP_SECONDS", 0.3)
        patch.setattr(measure, "SCORE_SECONDS", 0.1)
        setup, found = prepare(four_steps(tiny_gpt2, folder, "evaluation.every=2"))
        measure.time_parts(setup, found)
    assert list(folder.glob(".llmkit-plan-*")) == []  # nothing is left behind
    return setup, found, mean_step(setup.schedule)


@pytest.fixture
def planned(measured):
    """(setup, measurements, mean step) of a recipe. Its steps were taken, so its model is no longer
    the untuned one."""
    from llmkit.runtime.devices import start_accelerator

    forget_accelerator()
    start_accelerator("cpu", "no", 0)  # accelerate forgets its device after each test
    return measured
