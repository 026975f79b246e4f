"""Preparing and checking data and model before training."""

from rich.console import Console
from rows import TEXT, write_jsonl
from runs import SHORT

from llmkit.config.recipe import load_recipe
from llmkit.data import splits
from llmkit.io import row_files
from llmkit.runtime.devices import start_accelerator
from llmkit.workflows.training_setup import setup_training


def test_training_rows_of_a_classifier_are_read_twice(tmp_path, tiny_gpt2, monkeypatch):
    """Once for their tokens, and once for labels and spellings."""
    monkeypatch.setattr(splits, "MAX_SEARCHED", 2)  # a look at the first rows is no pass
    labels = ["positive", "negative", "Positive"]
    rows = [{"text": f"{TEXT[i % 3]} {i}", "label": labels[i % 3]} for i in range(9)]
    train, test = (str(write_jsonl(tmp_path / f"{name}.jsonl", rows)) for name in ("train", "test"))
    passes = []
    read_all = row_files.read_all

    def counted(path, **options):
        yield from read_all(path, **options)
        passes.append(str(path))

    monkeypatch.setattr(row_files, "read_all", counted)
    files = (f"data.train={train}", f"data.validation={test}", f"data.test={test}")
    recipe = load_recipe("classify", overrides=(f"model={tiny_gpt2}", *files, *SHORT))
    prepared = setup_training(
        recipe,
        start_accelerator("cpu", "no", 0),
        Console(quiet=True),
    )
    assert passes.count(train) == 2
    assert any("3 rows: a label that differs" in each for each in prepared.record.findings)
    assert sorted(prepared.rows.validation.labels) == ["Positive", "negative", "positive"]
