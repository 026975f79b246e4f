"""Trackers: their project, and how they continue a resumed run."""

import json

import pytest
from runs import SHORT

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


def test_trackio_and_tensorboard_continue_after_the_checkpoint(tmp_path):
    assert tracker_settings("trackio", tmp_path, step=0)["resume"] == "never"
    assert tracker_settings("trackio", tmp_path, step=7)["resume"] == "allow"
    assert tracker_settings("tensorboard", tmp_path, step=0) == {}
    assert tracker_settings("tensorboard", tmp_path, step=7) == {"purge_step": 8}


def test_a_tracker_has_to_be_installed(llmkit, tiny_gpt2, rows):
    result = llmkit(
        "finetune", "summarize", f"model={tiny_gpt2}", f"data.train={rows}", "trackers=[wandb]"
    )
    assert result.exit_code == 2
    assert result.stderr == "llmkit: trackers: wandb is not installed; pip install wandb\n"


def test_tensorboard_gets_the_figures_of_the_log(llmkit, tiny_gpt2, rows, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    result = llmkit(
        "finetune", "summarize", f"model={tiny_gpt2}", f"data.train={rows}", *SHORT,
        "trackers=tensorboard", "train.log_every=1", "--run-dir", "run",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    events = EventAccumulator(str(tmp_path / "run" / "llmkit")).Reload()
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").open()]
    for name, tag, is_validation in (
        ("loss", "loss", False),
        ("learning_rate", "learning_rate", False),
        ("rougeL", "validation/rougeL", True),
    ):
        wanted = [(x["step"], x[name]) for x in lines if ("split" in x) == is_validation]
        logged = [(event.step, event.value) for event in events.Scalars(tag)]
        assert [step for step, _ in logged] == [step for step, _ in wanted]
        assert [v for _, v in logged] == pytest.approx([v for _, v in wanted], rel=1e-6)
