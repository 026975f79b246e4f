"""The command line: runs, evaluation, and the list of bad inputs, each one line and exit code 2."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from rows import SHARED_DATA, TEXT, summary_rows, write_jsonl
from runs import SHORT
from safetensors.torch import load_file, save_file

from llmkit.config.recipe_files import list_recipes

ROUNDING = 1e-6  # where weights lie in memory decides which kernels add them up, in which order


@pytest.fixture
def finetune(llmkit, tiny_gpt2, rows):
    def run(*arguments):
        return llmkit(
            "finetune", "summarize", f"model={tiny_gpt2}", f"data.train={rows}", *SHORT, *arguments
        )

    return run


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


def test_generate_without_any_run_uses_the_embedded_model(llmkit):
    result = llmkit("generate", "--prompt", "The ferry", "--max-new-tokens", 5)
    assert result.exit_code == 0, result.output
    assert result.stderr.splitlines()[0] == "model: embedded"
    assert result.stdout.strip()


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
        (("model=gpt2",), "HF_HUB_OFFLINE=1"),
        (("data.hub=some/set",), "HF_HUB_OFFLINE=1"),
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
        (("data.train=half.jsonl",), "half.jsonl:1: column document holds half a character"),
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


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("finetune", "sumarize"), "did you mean summarize"),
        (("finetune", "nowhere.yaml"), "no such recipe file"),
        (("finetune", "classify", "data.train="), "data.train: no name of a file; name one"),
        (("compare", "no", "no", "--task", "qa"), "no: no such file"),
        (("finetune", "classify", "data.train=reviews"), "reviews: no such file; check data.train"),
        (("finetune",), "Missing argument 'RECIPE'"),
        (("finetun", "qa"), "No such command"),
        (("evaluate", "embedded"), "--recipe RECIPE"),
        (("evaluate", "runs/none", "--recipe", "qa", "--scale", "x"), "no scale 'x'"),
        (("generate", "--model", "./none", "--prompt", "a"), "no such folder"),
        (("generate", "--prompt", "a", "--seed", "-1"), "--seed"),
        (("generate", "--prompt", "a", "--output", "."), "is a folder; name a file"),
        (("generate", "--prompt", "a", "--temperature", "1e-40"), "below 0.001 overflows"),
        (
            ("generate", "--prompt", "a", "--num-beams", "2", "--num-return-sequences", "4"),
            "--num-beams of at least as many",
        ),
    ],
)
def test_bad_commands_end_in_one_line(llmkit, arguments, expected):
    result = llmkit(*arguments)
    assert result.exit_code == 2
    assert expected in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.output


def test_recipes_are_listed_and_every_key_documented(llmkit):
    result = llmkit("recipes")
    assert [line.split()[0] for line in result.output.splitlines()] == [
        path.stem for path in list_recipes()
    ]
    fields = llmkit("recipes", "--fields").output
    assert "train.learning_rate = 5e-05\n    Peak learning rate.\n" in fields
    for expected in ("betas = [0.9, 0.999]", "optimizer = adamw", "decay_steps = null"):
        assert f"\ntrain.{expected}\n" in fields
    assert "packing = false\n" in fields


def test_help_needs_no_heavy_import(subprocess_env):
    code = (
        "import sys\nfrom llmkit.cli import main\n"
        "try: main(['finetune', '--help'])\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'transformers', 'datasets', 'pydantic', 'numpy'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], env=subprocess_env, capture_output=True, text=True, check=True
    )
    assert shown.stdout.splitlines()[-1] == "[]"


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


def test_evaluate_does_not_write_over_a_run(llmkit, finetune):
    assert finetune("--run-dir", "run").exit_code == 0
    result = llmkit("evaluate", "run", "--output", "run")
    assert result.exit_code == 2
    assert "run: is a run or a file; give --output" in result.stderr
    result = llmkit("evaluate", "run", "--output", "run/recipe.yaml/scores")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "recipe.yaml is a file; name another folder" in result.stderr
    assert "a run, not a recipe; did you mean run/recipe.yaml?" in llmkit("check", "./run").stderr
    result = llmkit("evaluate", "run", "data.test=none.jsonl", "--output", "scores")
    assert result.exit_code == 2
    assert not Path("scores").exists()


@pytest.mark.parametrize("task", ["qa", "translate"])
def test_generate_for_runs_of_other_tasks(llmkit, tiny_gpt2, tmp_path, task):
    rows = {
        "qa": [{"c": {"t": TEXT[i % 3]}, "question": "Who?", "answers": ["Mara", "M"]}
               for i in range(60)],
        "translate": [{"c": {"t": f"{TEXT[i % 3]} {i}"}, "de": "Ja."} for i in range(60)],
    }[task]  # fmt: skip
    for i, row in enumerate(rows):
        row["c"]["t"] += f" {i}"
    write_jsonl(tmp_path / "rows.jsonl", rows)
    column = {"qa": "context", "translate": "source"}[task]
    result = llmkit(
        "finetune", task, f"model={tiny_gpt2}", "data.train=rows.jsonl",
        f"data.columns.{column}=c.t", *SHORT, "--run-dir", "run",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    result = llmkit("generate", "--model", "run", "--input", "rows.jsonl", "--output", "out.jsonl")
    assert result.exit_code == 0, result.output
    row = json.loads((tmp_path / "out.jsonl").read_text().splitlines()[0])
    assert rows[0]["c"]["t"] in row["prompt"]


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


def test_python_m_llmkit_is_the_command(subprocess_env):
    shown = subprocess.run(
        [sys.executable, "-m", "llmkit", "--version"],
        env=subprocess_env,
        capture_output=True,
        text=True,
    )
    assert shown.returncode == 0
    assert shown.stdout.startswith("llmkit, version ")
    assert os.linesep in shown.stdout
