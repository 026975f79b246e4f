"""Fixtures of the tests of training: a recipe, and a stopped run of it."""

import shutil
from functools import partial

import pytest
from stopped_runs import KEEP_ALL, run_until, six_steps


@pytest.fixture
def recipe(tiny_gpt2, tmp_path):
    return partial(six_steps, tiny_gpt2, tmp_path)


@pytest.fixture(scope="session")
def stopped_at_4(tiny_gpt2, tmp_path_factory):
    folder = tmp_path_factory.mktemp("stopped")
    settings = six_steps(tiny_gpt2, folder, *KEEP_ALL)
    with pytest.MonkeyPatch.context() as patch:
        run_until(settings, folder / "run", patch, 4)
    return folder / "run", settings


@pytest.fixture
def stopped(stopped_at_4, tmp_path):
    """A run with checkpoints of its steps 2, 3 and 4, the last one when it was stopped."""
    run, settings = stopped_at_4
    return shutil.copytree(run, tmp_path / "run"), settings
