"""The wheel holds all it needs, and a set-up that is up to date does nothing."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from llmkit.tasks import TASKS

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def unpacked_wheel(tmp_path_factory) -> Path:
    """The wheel's files, as an installation would lay them."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_the_wheel_holds_recipes_model_and_rows(unpacked_wheel):
    package = unpacked_wheel / "llmkit"
    assert {p.name for p in (package / "recipes").iterdir()} == {
        p.name for p in (ROOT / "recipes").iterdir()
    }
    assert (package / "embedded" / "gpt2" / "model.safetensors").is_file()
    assert len(list((package / "embedded" / "rows").rglob("*.jsonl"))) == 3 * len(TASKS)
    assert not (unpacked_wheel / "tests").exists()


def test_the_wheel_works_outside_the_checkout(unpacked_wheel, tmp_path, fork_server):
    command = (
        "finetune", "summarize", "data.limit=8", "train.epochs=1", "evaluation.test_rows=2",
        "evaluation.validation_rows=2", "--run-dir", "run",
    )  # fmt: skip
    path = f"{unpacked_wheel}:{fork_server.environment['PYTHONPATH']}"
    environment = {**fork_server.environment, "PYTHONPATH": path}
    process = fork_server.start(command, cwd=tmp_path, environment=environment, imports="torch")
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    assert (tmp_path / "run" / "model" / "model.safetensors").is_file()


def test_embedded_assets_stay_small():
    size = sum(p.stat().st_size for p in (ROOT / "llmkit" / "embedded").rglob("*") if p.is_file())
    assert 3_000_000 < size <= 12_000_000


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), "evaluate embedded --recipe summarize"),
        (("RECIPE=qa",), "evaluate embedded --recipe qa"),
        (("MODEL=runs/mine",), "evaluate runs/mine"),
        (("MODEL=runs/mine", "RECIPE=qa"), "evaluate runs/mine --recipe qa"),
    ],
)
def test_make_evaluate_scores_a_run_by_its_own_recipe(arguments, expected):
    command = ["make", "--dry-run", "--assume-old=.venv/installed", "evaluate", *arguments]
    own = {"PATH": os.environ["PATH"]}  # not what a `make test` hands down
    done = subprocess.run(command, cwd=ROOT, env=own, capture_output=True, text=True, check=True)
    assert " ".join(done.stdout.splitlines()[-1].split()) == f".venv/bin/llmkit {expected}"


@pytest.mark.skipif(not (ROOT / ".venv" / "installed").is_file(), reason="not set up by make")
def test_set_up_does_nothing_when_it_is_up_to_date():
    result = subprocess.run(["make", "setup"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "pip" not in result.stdout
