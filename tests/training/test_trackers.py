"""Trackers: the project, and a resumed run that continues where it was tracked."""

import json

from llmkit.training.trackers import project_of, tracker_settings, wandb_id


def test_the_environment_names_the_project(monkeypatch):
    for variable in ("WANDB_PROJECT", "TRACKIO_PROJECT"):
        monkeypatch.delenv(variable, raising=False)
    assert [project_of(name) for name in ("wandb", "trackio", "tensorboard")] == ["llmkit"] * 3
    monkeypatch.setenv("WANDB_PROJECT", "ferries")
    monkeypatch.setenv("TRACKIO_PROJECT", "")
    assert project_of("wandb") == "ferries"
    assert project_of("trackio") == project_of("tensorboard") == "llmkit"


def test_a_resumed_run_continues_the_same_wandb_run(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    started = tracker_settings("wandb", first, step=0)
    assert started == {"name": "first", "id": wandb_id(first), "resume": "allow"}
    assert tracker_settings("wandb", first, step=7) == started
    assert wandb_id(second) != wandb_id(first)


def test_a_damaged_wandb_id_is_replaced(tmp_path):
    for content in ("", "{", "[]", '{"wandb": 5}', "{}"):
        (tmp_path / "trackers.json").write_text(content)
        name = wandb_id(tmp_path)
        assert json.loads((tmp_path / "trackers.json").read_text()) == {"wandb": name}


def test_trackio_and_tensorboard_continue_behind_the_checkpoint(tmp_path):
    assert tracker_settings("trackio", tmp_path, step=0)["resume"] == "never"
    assert tracker_settings("trackio", tmp_path, step=7)["resume"] == "allow"
    assert tracker_settings("tensorboard", tmp_path, step=0) == {}
    assert tracker_settings("tensorboard", tmp_path, step=7) == {"purge_step": 8}
