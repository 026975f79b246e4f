"""Results of a GPU against those of the CPU and of transformers."""

import json
import math

import pytest
import torch
from forward_cases import (
    CASES,
    LABELS,
    PROMPTS,
    assert_both_forward_passes_agree,
    assert_close_to_float32,
    loss_and_gradients,
    small_model,
    trained_model,
)
from rows import write_jsonl
from transformers import GPT2Config, GPT2LMHeadModel

from llmkit.families.padding_free import RowBounds, cuda_attention
from llmkit.generation.label_likelihood import label_probabilities
from llmkit.model.load import load_model

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("trained", ["full", "lora", "frozen"])
def test_padding_free_loss_and_gradients_equal_those_of_transformers(case, trained):
    assert_both_forward_passes_agree(trained_model(trained).cuda(), CASES[case])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_padding_free_in_half_precision_stays_close_to_float32(dtype):
    assert_close_to_float32("cuda", dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_cuda_attention_dropout_keeps_its_probability_and_the_expectation(dtype):
    torch.manual_seed(0)
    rows = RowBounds(
        [64, 3, 200, 64], torch.tensor([0, 64, 67, 267, 331], dtype=torch.int32).cuda()
    )
    qkv = torch.randn(331, 3 * 64, dtype=dtype, device="cuda")
    qkv[:, 128:] = 1.0  # so that what attention gives is the sum of its weights
    whole = cuda_attention(qkv, rows, 4, 0.0)
    torch.testing.assert_close(whole, torch.ones_like(whole))
    dropped = torch.stack([cuda_attention(qkv, rows, 4, 0.3) for _ in range(200)]).float()
    assert dropped.mean().item() == pytest.approx(1, abs=0.01)
    first = dropped[:, 0].view(200, 4, 16)[:, :, 0]  # the first token sees itself alone
    assert (first == 0).float().mean().item() == pytest.approx(0.3, abs=0.06)


def test_head_sizes_that_the_cuda_kernels_reject_are_computed_too():
    torch.manual_seed(1)
    config = GPT2Config(n_layer=2, n_head=4, n_embd=20, vocab_size=320, n_positions=512)
    model = GPT2LMHeadModel(config).cuda().eval()
    expected, _ = loss_and_gradients(model, CASES["ragged"], "transformers")
    assert loss_and_gradients(model, CASES["ragged"], "padding_free")[0] == pytest.approx(
        expected, 1e-6
    )


def kernels_of(rows: list[dict]) -> int:
    """Kernels of one forward and backward pass in bf16."""
    model = small_model().cuda()
    with torch.autocast("cuda", torch.bfloat16):
        loss_and_gradients(model, rows, "padding_free")
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
            loss_and_gradients(model, rows, "padding_free")
    return sum(event.count for event in profile.key_averages() if "Memcpy" not in event.key)


def test_more_rows_launch_no_more_cuda_kernels():
    few, many = (
        kernels_of([{"input_ids": [5] * 40, "labels": [5] * 40}] * count) for count in (2, 16)
    )
    assert many <= few + 10


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_label_probabilities_in_half_precision_are_close_to_float32(tiny_gpt2, dtype):
    model = load_model(str(tiny_gpt2))[0].cuda()
    exact = label_probabilities(model, PROMPTS, LABELS, batch_size=4)
    with torch.autocast("cuda", dtype):
        found = label_probabilities(model, PROMPTS, LABELS, batch_size=4)
    for row, expected in zip(found, exact, strict=True):
        assert row == pytest.approx(expected, abs=0.02)


def test_label_probabilities_on_cuda_equal_those_on_the_cpu(tiny_gpt2):
    model = load_model(str(tiny_gpt2))[0]
    expected = label_probabilities(model, PROMPTS, LABELS, batch_size=4)
    for row, cpu in zip(
        label_probabilities(model.cuda(), PROMPTS, LABELS, batch_size=3), expected, strict=True
    ):
        assert row == pytest.approx(cpu, rel=1e-4)


@pytest.mark.parametrize("precision", ["auto", "bf16", "fp16", "no"])
@pytest.mark.parametrize("recipe", ["summarize", "classify"])
def test_a_run_on_cuda_trains_scores_and_predicts(llmkit, tmp_path, tiny_gpt2, recipe, precision):
    run = tmp_path / "run"
    done = llmkit(
        "finetune", recipe, f"model={tiny_gpt2}", "train.max_steps=6", "data.max_length=128",
        "train.log_every=1", f"train.mixed_precision={precision}", "evaluation.validation_rows=8",
        "evaluation.test_rows=8", "generation.max_new_tokens=4", "--run-dir", run,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert len(losses) >= 4
    assert all(map(math.isfinite, losses))
    field = {"summarize": "document", "classify": "text"}[recipe]
    rows = write_jsonl(tmp_path / "new.jsonl", [{field: "The ferry left at noon."}] * 3)
    done = llmkit("generate", "--model", run, "--input", rows, "--output", tmp_path / "out.jsonl")
    assert done.exit_code == 0, done.output
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 3


def test_deterministic_runs_on_cuda_are_bit_identical(llmkit, tmp_path, tiny_gpt2):
    for name in ("one", "two"):
        done = llmkit(
            "finetune", "summarize", f"model={tiny_gpt2}", "train.max_steps=20",
            "data.max_length=128", "train.deterministic=true", "train.micro_batch_size=8",
            "evaluation.validation_rows=4", "evaluation.test_rows=4",
            "generation.max_new_tokens=4", "--run-dir", tmp_path / name,
        )  # fmt: skip
        assert done.exit_code == 0, done.output
    one, two = (tmp_path / name / "model" / "model.safetensors" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()


def test_compiled_losses_on_cuda_are_those_of_the_same_kernels_uncompiled(
    llmkit, tmp_path, tiny_gpt2
):
    losses = []
    for compiles in ("false", "true"):
        run = tmp_path / compiles
        done = llmkit(
            "finetune", "summarize", f"model={tiny_gpt2}", "train.max_steps=6", "train.dropout=0",
            "data.max_length=128", "train.log_every=1", f"train.compile={compiles}",
            "evaluation.validation_rows=4", "evaluation.test_rows=4",
            "generation.max_new_tokens=4", "--run-dir", run,
        )  # fmt: skip
        assert done.exit_code == 0, done.output
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        losses.append([line["loss"] for line in lines if "loss" in line])
    assert losses[1] == pytest.approx(losses[0], rel=5e-3)
