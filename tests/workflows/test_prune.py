"""`prune`: pruned models and their recoveries, by the machinery of runs."""

import json
import shutil
import signal

import pytest
import torch
from runs import forget_accelerator, read_metrics, spoil_weights
from stopped_runs import stop_after
from transformers import AutoModelForCausalLM

from llmkit.model.load import load_model
from llmkit.runs.find import resolve_model
from llmkit.workflows import compression

SHARES = ("--share", "0.5", "--share", "0.25")


@pytest.fixture
def run(classifier, tmp_path, monkeypatch):
    monkeypatch.setattr(compression, "NUM_TOKENS", 2)
    monkeypatch.setattr(compression, "ROUNDS", 1)
    return shutil.copytree(classifier, tmp_path / "run")


@pytest.fixture
def prune(llmkit, run):
    def prune(*arguments):
        forget_accelerator()
        return llmkit("prune", run, *arguments)

    return prune


def test_a_structured_run_writes_models_that_transformers_opens(run, prune):
    result = prune(*SHARES, "--recover", 2, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert list(found["pruned"]) == ["0.25", "0.5"]
    whole = found["before"]["num_weights"]
    for share, (pruned, recovered) in found["pruned"].items():
        assert pruned["num_weights"] < whole
        assert pruned["num_bytes"] == recovered["num_bytes"] < found["before"]["num_bytes"]
        assert recovered["change"]["difference"] == pytest.approx(
            recovered["score"] - found["before"]["score"]
        )
        folder = run / "pruned" / f"structured-{100 * float(share):g}"
        ids = torch.arange(5, 45).view(2, 20)
        for model in (folder / "start", folder / "recovered" / "model"):
            with torch.inference_mode():
                expected = AutoModelForCausalLM.from_pretrained(model)(ids).logits
                torch.testing.assert_close(load_model(model)[0](ids).logits, expected)
        scores = json.loads((folder / "recovered" / "metrics.json").read_text())["scores"]
        assert scores["untuned"][found["metric"]] == pruned["score"]
        assert scores["fine-tuned"][found["metric"]] == recovered["score"]
        assert resolve_model(str(folder / "recovered"))[1] == folder / "recovered"
    assert (run / "pruned" / "structured.svg").read_text().startswith("<svg")

    # The same command scores what is there; other settings need --force.
    log = (folder / "recovered" / "metrics.jsonl").read_bytes()
    assert prune(*SHARES, "--recover", 2).exit_code == 0
    assert (folder / "recovered" / "metrics.jsonl").read_bytes() == log
    refused = prune(*SHARES, "--recover", 1)
    assert refused.exit_code == 2
    assert "made with other settings; give --force" in refused.stderr


def test_a_run_that_cannot_be_pruned_is_refused_before_any_work(run, prune):
    record = (run / "run.json").read_text()
    (run / "run.json").unlink()
    refused = prune("--share", "0.5", "--recover", 2)
    assert (refused.exit_code, "num_steps is missing" in refused.stderr) == (2, True)
    (run / "run.json").write_text(record)
    spoil_weights(run / "model")
    refused = prune("--share", "0.5", "--recover", 2)
    assert refused.exit_code == 1
    assert refused.stderr.splitlines()[-1].startswith("llmkit: the model computes NaN")
    assert not (run / "pruned").exists()


def test_only_folders_that_prune_wrote_are_replaced(run, prune):
    mine = run / "pruned" / "structured-50"
    mine.mkdir(parents=True)
    (mine / "notes.txt").write_text("mine")
    (run / "pruned" / "structured-25").symlink_to("nowhere")
    for options in ((), ("--force",)):
        for share, reason in (("0.5", "did not write it"), ("0.25", "is a symbolic link")):
            refused = prune("--share", share, "--recover", "0", *options)
            assert refused.exit_code == 2
            assert reason in refused.stderr
    assert [path.name for path in mine.iterdir()] == ["notes.txt"]

    (mine / "notes.txt").unlink()
    (mine / "start.partial").mkdir()  # as a killed command leaves it
    (run / "pruned" / "structured-25").unlink()
    for name in ("start", "recovered"):
        (run / "pruned" / "structured-25" / name).mkdir(parents=True)
    (run / "pruned" / "structured-25" / "start" / "manifest.json").write_text("{}")
    result = prune(*SHARES, "--recover", "0", "--force")
    assert result.exit_code == 0, result.output
    for share in (25, 50):
        (start,) = (run / "pruned" / f"structured-{share}").iterdir()
        load_model(start)


def test_zeros_stay_through_the_recovery(run, prune):
    result = prune("--share", "0.4", "--method", "magnitude", "--recover", 2)
    assert result.exit_code == 0, result.output
    folder = run / "pruned" / "magnitude-40"
    start = load_model(folder / "start")[0].state_dict()
    recovered = load_model(folder / "recovered" / "model")[0].state_dict()
    for name, weight in start.items():
        if ".h." in name and weight.ndim == 2:
            assert (weight == 0).float().mean().item() == pytest.approx(0.4, abs=0.001)
            assert torch.equal(recovered[name] == 0, weight == 0)
            assert not torch.equal(recovered[name], weight)


def test_a_stopped_command_leaves_no_incomplete_model_and_says_how_to_continue(run, fork_server):
    arguments = ("prune", "run", "--share", "0.5", "--recover", "0")
    process = fork_server.start(arguments, cwd=run.parent)
    assert process.stdout.readline() == "pruning 50% (structured)\n"
    process.terminate()
    _, errors = process.communicate()
    advice = "run the command again to continue"
    assert errors.splitlines()[-1] == f"llmkit: stopped by SIGTERM; {advice}"
    assert process.returncode == 128 + signal.SIGTERM
    assert not list(run.rglob("*.partial"))


@pytest.mark.slow
def test_an_interrupted_recovery_continues_also_after_the_run_is_moved(run, prune, llmkit):
    arguments = ("--share", "0.5", "--recover", "3", "train.log_every=1")
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 2)
        stopped = prune(*arguments)
    assert stopped.exit_code == 143
    assert "run the command again to continue" in stopped.stderr
    recovered = run / "pruned" / "structured-50" / "recovered"
    assert [line["step"] for line in read_metrics(recovered)[0]] == [1, 2]
    log = (recovered / "metrics.jsonl").read_bytes()
    run.rename(run.with_name("moved"))
    recovered = run.with_name("moved") / recovered.relative_to(run)
    forget_accelerator()
    result = llmkit("prune", "moved", *arguments)
    assert result.exit_code == 0, result.output
    assert (recovered / "metrics.jsonl").read_bytes().startswith(log)
    assert [line["step"] for line in read_metrics(recovered)[0]] == [1, 2, 3]
