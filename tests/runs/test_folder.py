"""The run folder: its name, and a run given as a model."""

from pathlib import Path

import pytest

from llmkit.errors import UserError
from llmkit.runs.find import open_recipe
from llmkit.runs.start import claim_run_dir


def test_default_names_do_not_collide(tmp_path):
    run = tmp_path / "runs" / "qa-20260101-120000"
    claimed = [claim_run_dir(run) for _ in range(3)]
    assert [path.name for path in claimed] == [run.name, f"{run.name}-2", f"{run.name}-3"]
    assert all(path.is_dir() for path in claimed)


def test_a_run_is_given_as_a_model(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "my run"
    (run / "model").mkdir(parents=True)
    (run / "recipe.yaml").write_text("task: qa\ntrain: {epochs: 1}\n")
    for name in ("my run", str(run)):
        recipe = open_recipe("qa", overrides=(f"model={name}",))
        assert Path(recipe.model.name).resolve() == run / "model"
    assert open_recipe("qa", overrides=("model=gpt2",)).model.name == "gpt2"
    beside = run / "gpt2"
    beside.mkdir()
    assert open_recipe("qa", overrides=(f"model={beside}",)).model.name == str(beside)
    (run / "model").rmdir()
    assert open_recipe("qa", overrides=(f"model={beside}",)).model.name == str(beside)
    with pytest.raises(UserError, match="this run has no model yet"):
        open_recipe("qa", overrides=(f"model={run}",))
