"""`quantize`: the folder of int8 weights, and the comparison with the model of the run."""

import json
import shutil
import signal

import pytest
from rows import write_csv
from runs import SHORT, forget_accelerator, spoil_weights

from llmkit.errors import UserError
from llmkit.model.int8 import WEIGHTS_FILE, is_int8
from llmkit.model.load import load_model
from llmkit.runs.find import resolve_model
from llmkit.runtime.console import make_console
from llmkit.workflows import compression
from llmkit.workflows.quantize import quantize_run


@pytest.fixture
def run(classifier, tmp_path, monkeypatch):
    monkeypatch.setattr(compression, "NUM_TOKENS", 4)
    monkeypatch.setattr(compression, "ROUNDS", 1)
    return shutil.copytree(classifier, tmp_path / "run")


def test_commands_open_the_int8_folder_like_the_run(run, llmkit, tmp_path):
    result = llmkit("quantize", run, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    float32, int8 = found["models"]
    assert (float32["name"], int8["name"]) == ("float32", "int8")
    assert 0.2 < int8["num_bytes"] / float32["num_bytes"] < 0.6
    assert int8["change"]["difference"] == pytest.approx(int8["score"] - float32["score"])
    assert min(each["tokens_per_second"] for each in (float32, int8)) > 0
    assert (
        float32["score"]
        == json.loads((run / "metrics.json").read_text())["scores"]["fine-tuned"][found["metric"]]
    )

    assert resolve_model(f"{run}/int8") == (f"{run}/int8", run)
    assert "## Int8 weights" in (run / "int8" / "README.md").read_text("utf-8")
    forget_accelerator()
    result = llmkit("evaluate", run / "int8", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["scores"]["this model"][found["metric"]] == int8["score"]
    forget_accelerator()
    rows = write_csv(tmp_path / "new.csv", [{"text": "The ferry left."}])
    result = llmkit("generate", "--model", run / "int8", "--input", rows)
    assert result.exit_code == 0, result.output
    assert result.stdout.split("\t")[0] in {"bad", "good, really", "Größe"}


def test_int8_weights_cannot_be_trained(run, llmkit):
    quantize_run(str(run), (), make_console(quiet=True))
    for command in ("finetune", "check"):
        forget_accelerator()
        result = llmkit(command, "classify", f"model={run}/int8", *SHORT)
        assert result.exit_code == 2
        assert "its int8 weights cannot be trained" in result.stderr


def test_existing_int8_weights_are_replaced_only_by_force(run):
    console = make_console(quiet=True)
    quantize_run(str(run), (), console)
    forget_accelerator()
    with pytest.raises(UserError, match="add --force"):
        quantize_run(str(run), (), console)
    (run / "int8" / WEIGHTS_FILE).write_bytes(b"")
    quantize_run(str(run), (), console, is_forced=True)
    load_model(run / "int8")
    (run / "int8" / WEIGHTS_FILE).unlink()
    with pytest.raises(UserError, match="did not write it"):
        quantize_run(str(run), (), console, is_forced=True)
    (run / "int8").rename(run / "mine")
    (run / "int8").symlink_to("nowhere")
    with pytest.raises(UserError, match="is a symbolic link"):
        quantize_run(str(run), (), console)


def test_damaged_weights_are_refused(run):
    spoil_weights(run / "model")
    with pytest.raises(FloatingPointError, match="its weights are damaged"):
        quantize_run(str(run), (), make_console(quiet=True))
    assert not list(run.glob("int8*"))


def test_a_stopped_command_leaves_nothing_behind(run, fork_server):
    process = fork_server.start(("quantize", "run"), cwd=run.parent)
    assert process.stdout.readline().startswith("scoring float32")
    assert is_int8(run / "int8.partial")
    process.terminate()
    _, errors = process.communicate()
    assert errors.splitlines()[-1] == "llmkit: stopped by SIGTERM"
    assert process.returncode == 128 + signal.SIGTERM
    assert not list(run.glob("int8*"))
