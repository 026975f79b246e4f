"""Runs whose exports are compared with their models."""

from types import SimpleNamespace

import pytest
from exported import asked_about, tuned_run


@pytest.fixture(scope="session")
def full(tiny_gpt2, tmp_path_factory):
    """A run of `summarize` that trained all weights."""
    return asked_about(tuned_run("summarize", tiny_gpt2, tmp_path_factory.mktemp("full")))


@pytest.fixture(scope="session")
def lora(tiny_gpt2, tmp_path_factory):
    """A run of `summarize` that trained adapters, fast enough to change the model."""
    settings = ("train.method=lora", "train.learning_rate=0.05")
    return asked_about(
        tuned_run("summarize", tiny_gpt2, tmp_path_factory.mktemp("lora"), *settings)
    )


@pytest.fixture(scope="session")
def tuned(tmp_path_factory):
    """A short run of the embedded model, which has learned something."""
    return asked_about(tuned_run("summarize", "embedded", tmp_path_factory.mktemp("tuned")))


@pytest.fixture
def export(tmp_path):
    """Write an export of a run, and ask the program that opens it, in this process."""

    def write_and_open(asked, name):
        from llmkit.export.answers import answers_of_runtime
        from llmkit.export.formats import Target

        target, folder = Target.parse(name), tmp_path / name.replace(":", "-")
        assert target.format.unsupported(asked.source, target.precision) is None
        folder.mkdir()
        target.format.write(asked.source, target.precision, folder)
        answers = answers_of_runtime(target.format.open_folder(folder), asked.reference.questions)
        return SimpleNamespace(
            folder=folder, answers=answers, figures=asked.reference.figures(answers, 1)
        )

    return write_and_open
