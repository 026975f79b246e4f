"""Finding runs, and a run given as a model."""

from pathlib import Path

import pytest

from llmkit.config.recipe import load_recipe, recipe_keys
from llmkit.config.recipe_files import to_yaml
from llmkit.errors import UserError
from llmkit.runs.find import (
    choose_run_dir,
    find_finished_run,
    find_run_to_resume,
    newest_finished_run,
    open_recipe,
    resolve_model,
)
from llmkit.runs.folder import checkpoint_dir, recipe_path, results_path


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


def make_run(folder: Path, *, step: int | None = None, is_finished: bool = False) -> Path:
    recipe = load_recipe("qa")
    folder.mkdir(parents=True)
    recipe_path(folder).write_text(to_yaml(recipe.model_dump(mode="json")), "utf-8")
    if step is not None:
        checkpoint_dir(folder, step).mkdir(parents=True)
    if is_finished:
        results_path(folder).write_text("{}", "utf-8")
    return folder


def test_auto_resumes_the_stopped_run_of_the_recipe(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    keys = recipe_keys(load_recipe("qa"))
    assert find_run_to_resume("auto", None, keys) is None
    make_run(Path("runs/finished"), step=4, is_finished=True)
    make_run(Path("runs/without-checkpoint"))
    stopped = make_run(Path("runs/stopped"), step=2)
    assert find_run_to_resume("auto", None, keys) == stopped
    assert find_run_to_resume("auto", None, keys | {"seed": 7}) is None
    assert newest_finished_run() == Path("runs/finished")


def test_a_finished_run_is_found_by_its_folder(tmp_path):
    finished = make_run(tmp_path / "finished", step=4, is_finished=True)
    stopped = make_run(tmp_path / "stopped", step=2)
    (finished / "model").mkdir()
    (stopped / "model").mkdir()
    assert find_finished_run(str(finished)) == finished
    with pytest.raises(UserError, match="has not finished; resume with: llmkit finetune"):
        find_finished_run(str(stopped))
    with pytest.raises(UserError, match="not a run"):
        find_finished_run(str(tmp_path))
    (finished / "int8").mkdir()
    assert find_finished_run(str(finished / "model")) == finished
    with pytest.raises(UserError, match="int8 weights cannot be converted; name the run, "):
        find_finished_run(str(finished / "int8"))
    export = finished / "exports" / "safetensors-bf16"
    export.mkdir(parents=True)
    with pytest.raises(UserError, match="not a run"):
        find_finished_run(str(export))
    (export / "verification.json").write_text("{}")
    with pytest.raises(UserError, match="an export cannot be converted; name the run, "):
        find_finished_run(str(export))
    assert resolve_model(str(export)) == (str(export), finished)


def test_a_run_to_resume_is_named_once(tmp_path):
    run = make_run(tmp_path / "run", step=2)
    assert find_run_to_resume(str(run), None, {}) == run
    with pytest.raises(UserError, match="--resume continues in"):
        find_run_to_resume(str(run), "elsewhere", {})
    with pytest.raises(UserError, match="is not a run"):
        find_run_to_resume(str(tmp_path), None, {})


def test_only_an_empty_folder_or_a_run_without_a_checkpoint_is_chosen(tmp_path):
    assert choose_run_dir(str(tmp_path / "new"), "qa") == tmp_path / "new"
    run = make_run(tmp_path / "run")
    with pytest.raises(UserError, match="already holds a run"):
        choose_run_dir(str(run), "qa")
    assert choose_run_dir(str(run), "qa", starts_over=True) == run
    checkpoint_dir(run, 1).mkdir(parents=True)
    with pytest.raises(UserError, match="already holds a run"):
        choose_run_dir(str(run), "qa", starts_over=True)
    with pytest.raises(UserError, match="not an empty folder"):
        choose_run_dir(str(tmp_path), "qa")
