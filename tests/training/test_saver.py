"""The files that a run saves, and the time at which it saves them."""

import itertools
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from stopped_runs import run_to_the_end, six_steps

from llmkit.training import saver


@pytest.fixture
def recipe(tiny_gpt2, tmp_path):
    return partial(six_steps, tiny_gpt2, tmp_path)


@pytest.mark.parametrize(("seconds", "saved"), [(61, [5, 6]), (1, [6])])
def test_checkpoint_is_written_once_the_minutes_have_passed(
    recipe, tmp_path, monkeypatch, seconds, saved
):
    """The clock moves by this many seconds whenever it is read, which is at least once per step;
    the newest two checkpoints are kept."""
    clock = SimpleNamespace(monotonic=itertools.count(step=seconds).__next__)
    monkeypatch.setattr(saver, "time", clock)
    run_to_the_end(recipe("checkpoint.minutes=1", "evaluation.every=100"), tmp_path / "run")
    names = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert names == [f"step-{step:08d}" for step in saved]


@pytest.mark.parametrize(
    ("every", "due", "follows"), [("null", [], True), ("1", [1, 2, 3, 4], False), ("3", [3], False)]
)
def test_checkpoint_every_decides_after_which_steps_one_is_due(recipe, every, due, follows):
    settings = recipe(f"checkpoint.every={every}")
    run_saver = saver.RunSaver(Path("run"), None, settings, None, {})
    assert [step for step in range(1, 5) if run_saver.is_due(step)] == due
    assert run_saver.follows_validations is follows


def test_without_minutes_no_checkpoint_is_ever_overdue(recipe):
    settings = recipe("checkpoint.minutes=null")
    assert not saver.RunSaver(Path("run"), None, settings, None, {}, saved_at=-1e12).is_overdue()
