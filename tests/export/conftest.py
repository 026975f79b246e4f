"""Runs whose exports are compared with their models."""

from types import SimpleNamespace

import pytest
from exported import original_of, tuned_run


@pytest.fixture(scope="session")
def full(finished):
    """A run of `summarize` that trained all weights."""
    return original_of(finished)


@pytest.fixture(scope="session")
def lora(tiny_gpt2, tmp_path_factory):
    """A run of `summarize` that trained adapters, fast enough to change the model."""
    settings = ("train.method=lora", "train.learning_rate=0.05")
    return original_of(
        tuned_run("summarize", tiny_gpt2, tmp_path_factory.mktemp("lora"), *settings)
    )


@pytest.fixture(scope="session")
def tuned(tmp_path_factory):
    """A short run of the embedded model, which has learned something."""
    return original_of(tuned_run("summarize", "embedded", tmp_path_factory.mktemp("tuned")))


@pytest.fixture
def export(tmp_path):
    """Write an export of a run, and ask the program that opens it, in this process."""

    def write_and_open(of_run, name):
        from llmkit.export.formats import Target
        from llmkit.export.outputs import compute_outputs

        target, folder = Target.parse(name), tmp_path / name.replace(":", "-")
        assert target.format.unsupported(of_run.source, target.precision) is None
        folder.mkdir()
        target.format.write(of_run.source, target.precision, folder)
        outputs = compute_outputs(target.format.open_folder(folder), of_run.original.inputs)
        return SimpleNamespace(
            folder=folder, outputs=outputs, figures=of_run.original.compare(outputs, 1)
        )

    return write_and_open
