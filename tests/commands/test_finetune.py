"""`finetune`: a run from rows to scores, refused input, Ctrl-C, and runs of a job."""

import io
import json
import shutil
import signal
from pathlib import Path

import pytest
from rich.console import Console
from rows import SHARED_DATA, summary_rows, write_jsonl
from runs import SHORT
from safetensors.torch import load_file, save_file

from llmkit.api import load_recipe
from llmkit.commands.finetune import _suggest_next_run, resume_options
from llmkit.runs.find import resume_hint

ROUNDING = 1e-6  # where weights lie in memory decides which kernels add them up, in which order


def test_finetune_then_generate_then_evaluate(llmkit, finetune, tmp_path):
    result = finetune()
    assert result.exit_code == 0, result.output
    for expected in (
        "train.warmup_steps=20 outlasts the run's 2 steps",
        "fine-tuned",
        "untuned",
        "lead-3",
        "rouge-score",
        "prediction:",
        "--scale full",
    ):
        assert expected in result.output
    (run,) = (tmp_path / "runs").iterdir()

    result = llmkit("generate", "--prompt", "The ferry left.")
    assert result.exit_code == 0, result.output
    assert f"model: runs/{run.name}" in result.stderr
    assert "TL;DR:" in result.stderr
    wrapped = result.stdout
    result = llmkit("generate", "--raw", "--prompt", "The ferry left.\n\nTL;DR:")
    assert result.stdout == wrapped
    result = llmkit("generate", "--input", "rows.jsonl", "--output", "out.jsonl")
    assert result.exit_code == 0, result.output
    predictions = [json.loads(line) for line in (tmp_path / "out.jsonl").open()]
    assert len(predictions) == 60
    assert predictions[0]["prompt"].endswith("\n\nTL;DR:")

    result = llmkit("evaluate", run, "--output", "scores")
    assert result.exit_code == 0, result.output
    scores = json.loads((tmp_path / "scores" / "metrics.json").read_text())["scores"]
    final = json.loads((run / "metrics.json").read_text())["scores"]
    assert scores["this model"] == pytest.approx(final["fine-tuned"], rel=ROUNDING)
    assert scores["untuned"] == pytest.approx(final["untuned"], rel=ROUNDING)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ("train.learning_rat=1",),
            "unknown key train.learning_rat; did you mean train.learning_rate",
        ),
        (("train.learning_rate=fast", "sed=1"), "did you mean seed"),
        (("task=sumarize",), "no task 'sumarize'; did you mean summarize"),
        (("model=./nowhere",), "model: ./nowhere: no such folder"),
        (("model=gpt2",), "HF_HUB_OFFLINE is set"),
        (("data.hub=some/set",), "HF_HUB_OFFLINE is set"),
        (("data.train=missing.jsonl",), "missing.jsonl: no such file"),
        (
            ("data.columns.summary=tldr",),
            "no column 'tldr'; the columns are: id, document, summary",
        ),
        (("data.train=broken.jsonl",), "broken.jsonl:3: broken JSON"),
        (("data.train=empty.jsonl",), "empty.jsonl: the train split has no rows"),
        (("data.test=empty.jsonl",), "empty.jsonl: the test split has no rows"),
        (("data.max_length=20", "generation.max_new_tokens=20"), "leaves no room"),
        (
            ("data.max_length=60", "generation.max_new_tokens=58"),
            "leaves no room for the completion",
        ),
        (("data.max_length=7", "generation.max_new_tokens=6"), "completion too long"),
        (("data.max_length=512",), "exceeds the model's 128 positions"),
        (("model=pickled",), "pickle (pytorch_model.bin)"),
        (("model=llama",), "model_type is 'llama'; llmkit fine-tunes gpt2"),
        (("model=hollow",), "no config.json"),
        (("--run-dir", "used"), "used: already holds a run"),
        (("--run-dir", "rows.jsonl"), "rows.jsonl: not an empty folder"),
        (("--scale", "huge"), "no scale 'huge'; it has sample, full"),
        (("--num-processes", "0"), "--num-processes"),
        (("evaluation.metric=blue",), "summarize has no score 'blue'"),
        (("data.template={document} Sum: ",), "ends in white space"),
        (("train.freeze_layers=9",), "leaves nothing to train"),
        (("train.mixed_precision=fp16", "train.device=cpu"), "fp16 needs a GPU"),
        (("epochs",), "an override is key=value"),
        (("train.betas=[0.9,1.0]",), "train.betas"),
        (("train.learning_rate=.inf",), "train.learning_rate"),
        (("seed=5000000000",), "seed"),
        (("data.train=silent.jsonl", "data.columns.summary=none"), "is an empty list"),
        (("data.train=half.jsonl",), "half.jsonl:1: column document contains half a character"),
        (("model=cut",), "model: cut: damaged"),
        (("model=hole",), "transformer.h.1"),
    ],
)
def test_bad_input_ends_in_one_line_and_writes_nothing(
    finetune, tiny_gpt2, tmp_path, arguments, expected
):
    (tmp_path / "broken.jsonl").write_text(
        '{"document": "d", "summary": "s"}\n\n{"document" "d"}\n'
    )
    (tmp_path / "empty.jsonl").touch()
    config = (tiny_gpt2 / "config.json").read_text()
    for name in ("pickled", "llama", "hollow", "used"):
        (tmp_path / name).mkdir()
    (tmp_path / "pickled" / "config.json").write_text(config)
    (tmp_path / "pickled" / "pytorch_model.bin").write_bytes(b"\x80\x04")
    (tmp_path / "llama" / "config.json").write_text('{"model_type": "llama"}')
    (tmp_path / "used" / "recipe.yaml").write_text("task: qa\n")
    (tmp_path / "silent.jsonl").write_text('{"document": "d", "summary": "s", "none": []}\n')
    (tmp_path / "half.jsonl").write_text('{"document": "\\ud83d", "summary": "s"}\n')
    for name in ("cut", "hole"):
        shutil.copytree(tiny_gpt2, tmp_path / name)
    weights = tmp_path / "cut" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    weights = load_file(tmp_path / "hole" / "model.safetensors")
    kept = {k: v for k, v in weights.items() if not k.startswith("transformer.h.1.")}
    save_file(kept, tmp_path / "hole" / "model.safetensors", metadata={"format": "pt"})
    before = sorted(tmp_path.rglob("*"))

    result = finetune(*arguments)

    assert result.exit_code == 2, result.output
    assert expected in result.stderr
    lines = result.stderr.splitlines()
    assert len(lines) == (2 if "sed=1" in arguments else 1)
    assert all(line.startswith("llmkit: ") for line in lines)
    assert sorted(tmp_path.rglob("*")) == before
    assert "run     " not in result.stdout, "a folder is named that does not exist"


def test_ctrl_c_during_training_ends_in_one_line(tiny_gpt2, rows, tmp_path, fork_server):
    process = fork_server.start(
        ("finetune", "summarize", f"model={tiny_gpt2}", f"data.train={rows}", *SHORT,
         "train.max_steps=100000", "train.log_every=1"),
        cwd=tmp_path,
    )  # fmt: skip
    for line in process.stdout:
        if line.startswith("step 3/"):
            break
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == 130
    (run,) = (tmp_path / "runs").iterdir()
    run = f"runs/{run.name}"
    advice = f"resume with: llmkit finetune {run}/recipe.yaml --resume {run}"
    assert errors.splitlines() == [f"llmkit: stopped by Ctrl-C; {advice}"]


def test_a_scratch_model_is_pretrained_and_evaluated(llmkit, tmp_path):
    write_jsonl(tmp_path / "texts.jsonl", [{"text": r["document"] * 3} for r in summary_rows(90)])
    # A text without anything in it is left out, wherever it stands.
    write_jsonl(tmp_path / "test.jsonl", [{"text": t} for t in ("", "A man. " * 30, "The dog. ")])
    short = (
        "train.epochs=1",
        "model.scratch.n_embd=32",
        "model.scratch.vocab_size=300",
        "data.max_length=64",
    )
    files = ("data.train=texts.jsonl", "data.test=test.jsonl")
    result = llmkit("finetune", "pretrain", *files, *short, "--run-dir", "run")
    assert result.exit_code == 0, result.output
    for expected in ("bits_per_byte", "xz compressor", "untuned"):
        assert expected in result.output
    result = llmkit("evaluate", "run", "--output", "scores")
    assert result.exit_code == 0, result.output
    run, scores = (
        json.loads((tmp_path / folder / "metrics.json").read_text())["scores"]
        for folder in ("run", "scores")
    )
    assert run["fine-tuned"] == pytest.approx(scores["this model"], rel=ROUNDING)
    assert run["untuned"] == pytest.approx(scores["untuned"], rel=ROUNDING)
    assert not (tmp_path / "run" / "predictions.jsonl").exists()


@pytest.mark.skipif(not SHARED_DATA.is_dir(), reason="no real data sets beside the checkout")
@pytest.mark.parametrize(
    ("recipe", "folder"), [("summarize", "scitldr"), ("translate", "multi30k-en-de")]
)
def test_real_rows_with_the_embedded_model(llmkit, recipe, folder, tmp_path):
    splits = [f"data.{s}={SHARED_DATA / folder / s}.jsonl" for s in ("train", "validation", "test")]
    result = llmkit("finetune", recipe, *splits, "data.limit=24", *SHORT, "data.max_length=256")
    assert result.exit_code == 0, result.output
    (run,) = (tmp_path / "runs").iterdir()
    assert load_file(run / "model" / "model.safetensors")
    row = json.loads((run / "predictions.jsonl").read_text().splitlines()[0])
    assert row["references"]


def test_a_job_reads_json_and_fails_under_a_limit(llmkit, tiny_gpt2, rows):
    run = ("finetune", "summarize", f"model={tiny_gpt2}", f"data.train={rows}", *SHORT)
    result = llmkit(*run, "--run-dir", "run", "--json", "--fail-under", "loss=0.5")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith("llmkit: --fail-under loss=0.5: it is ")
    trained = json.loads(result.stdout)
    assert trained.pop("run") == "run"
    assert trained == json.loads(Path("run/metrics.json").read_text())

    result = llmkit("evaluate", "run", "--json", "--quiet")
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    scored = json.loads(result.stdout)
    assert scored["scores"]["lead-3"] == trained["scores"]["lead-3"]
    assert scored["num_rows"] == 4

    result = llmkit("generate", "--model", "run", "--prompt", "The ferry.", "--json", "--quiet")
    assert result.exit_code == 0, result.output
    assert {"id", "prompt", "prediction"} <= json.loads(result.stdout).keys()
    assert result.stderr == ""

    result = llmkit(*run, "--run-dir", "silent", "--quiet")
    assert result.exit_code == 0
    assert result.stdout == ""
    assert result.stderr.startswith("warning: train.warmup_steps=20 outlasts")
    assert Path("silent/metrics.json").is_file()


@pytest.mark.parametrize(
    ("trouble", "num_processes", "expected"),
    [
        (RuntimeError("[gloo/transport/tcp/pair.cc:547] Connection closed by peer"), 1, ""),
        (RuntimeError("[gloo] Connection closed by peer"), 2, "--num-processes 2"),
        (MemoryError(), 1, "evaluation.batch_size=FEWER --allow-change evaluation.batch_size"),
        (
            FloatingPointError(),
            2,
            "train.learning_rate=LOWER --num-processes 2 --allow-change train.learning_rate",
        ),
    ],
)
def test_the_advice_fits_the_trouble(trouble, num_processes, expected):
    assert " ".join(resume_options(trouble, (), num_processes)) == expected


def test_the_advice_under_another_launcher_says_so(tmp_path):
    (tmp_path / "checkpoints" / "step-00000002").mkdir(parents=True)
    assert "; resume with: llmkit finetune" in resume_hint(tmp_path, [])
    assert "; resume under the same launcher with: llmkit" in resume_hint(tmp_path, [], True)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({}, "--scale full"),
        ({"data.train": "rows.csv"}, "for real text, add model=gpt2"),
        ({"data.train": "rows.csv", "model": "gpt2"}, "--scale full"),
    ],
)
def test_the_next_run_is_suggested(overrides, expected):
    console = Console(file=io.StringIO(), width=200)
    _suggest_next_run("summarize", None, load_recipe("summarize", overrides), console)
    (line,) = console.file.getvalue().splitlines()
    assert expected in line
