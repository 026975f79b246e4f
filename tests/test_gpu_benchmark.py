"""The benchmark for GPUs: its arithmetic, and a run of it on a CPU with a tiny model."""

import math
from pathlib import Path

import pytest
import torch
from runs import forget_accelerator
from transformers import GPT2Config, GPT2LMHeadModel

ROOT = Path(__file__).parents[1]


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    from benchmarks import gpu

    return gpu


@pytest.mark.parametrize(
    ("device", "tflops"),
    [
        ("NVIDIA H100 80GB HBM3", 989), ("NVIDIA H100 PCIe", 756), ("NVIDIA H200", 989),
        ("NVIDIA A100-SXM4-40GB", 312), ("NVIDIA L40S", 362), ("NVIDIA L4", 121),
        ("NVIDIA A10G", 70), ("NVIDIA A10", 125), ("Tesla T4", 65), ("AMD EPYC 7B13", None),
    ],
)  # fmt: skip
def test_peak_flops_are_those_of_the_most_specific_name(gpu, device, tflops):
    assert gpu.peak_flops(device) == (tflops and tflops * 1e12)


def test_flops_of_a_token_are_six_per_weight_of_a_product(gpu):
    with torch.device("meta"):
        model = GPT2LMHeadModel(GPT2Config())
    matrices = sum(p.numel() for p in model.parameters() if p.ndim == 2)
    weights = matrices - model.transformer.wpe.weight.numel()
    assert gpu.flops_per_token(model.config, 0) == 6 * weights
    attention = 3 * 2 * (2 * model.config.n_embd * 240 / 2) * model.config.n_layer
    assert gpu.flops_per_token(model.config, 240) - 6 * weights == attention


def table_of(gpu, monkeypatch, output, *contestants: str, failing: str = "") -> dict[str, list]:
    """The rows of the table by contestant, of a run in this process in which one fails."""
    from benchmarks import gpu_job

    def run_here(job):
        forget_accelerator()
        if job.contestant == failing:
            return {**vars(job), "error": f"no {failing}"}
        return gpu_job.run(job)

    monkeypatch.setattr(gpu, "run_in_process", run_here)
    code = gpu.main(
        ["--device", "cpu", "--tiny", "--rows", "2", "--length", "8", "--rounds", "1",
         "--warmup", "1", "--steps", "2", "--contestants", *contestants, "--output", str(output)]
    )  # fmt: skip
    assert code == bool(failing)
    lines = output.read_text("utf-8").splitlines()
    assert "## 2 rows per step" in lines
    rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")]
    assert [row[0] for row in rows[2:]] == list(contestants)
    return {row[0]: row for row in rows[2:]}


def test_the_benchmark_runs_on_a_cpu_and_writes_its_table(gpu, monkeypatch, tmp_path):
    found = table_of(gpu, monkeypatch, tmp_path / "GPU.md", "llmkit", "TRL", failing="TRL")
    assert found["TRL"][1] == "failed: no TRL"
    assert found["llmkit"][2] == "1.00"
    assert float(found["llmkit"][-1]) == pytest.approx(math.log(100), rel=0.1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("contestant", "library"),
    [("HF Trainer", "transformers"), ("TRL", "trl")],
)
def test_contestants_of_the_benchmark_train_on_the_same_tokens(
    gpu, monkeypatch, tmp_path, contestant, library
):
    pytest.importorskip(library)
    found = table_of(gpu, monkeypatch, tmp_path / "GPU.md", "llmkit", contestant)
    losses = [float(row[-1]) for row in found.values()]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)


@pytest.mark.slow
def test_the_compiled_loop_of_the_benchmark_pads_the_vocabulary(gpu, monkeypatch, tmp_path):
    found = table_of(gpu, monkeypatch, tmp_path / "GPU.md", "compiled loop")
    assert float(found["compiled loop"][-1]) == pytest.approx(math.log(128), rel=0.02)


def test_a_contestant_that_takes_other_steps_is_not_timed(gpu, monkeypatch):
    from benchmarks import gpu_job

    monkeypatch.setitem(gpu_job.CONTESTANTS, "llmkit", lambda job, clock: clock.mark())
    with pytest.raises(RuntimeError, match="llmkit took 1 steps"):
        gpu_job.run(gpu_job.GpuJob("llmkit", "cpu", {}, 2, 8, 1, 2))


def test_without_a_gpu_the_benchmark_says_how_to_try_it(gpu, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit):
        gpu.main([])
    assert "--device cpu --tiny" in capsys.readouterr().err
