"""The devices of a run, and the precision that suits them."""

import os
from dataclasses import dataclass

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import broadcast_object_list, set_seed

from llmkit.errors import UserError
from llmkit.runtime.autotune import MIN_BF16_GAIN, autotune_cpu
from llmkit.runtime.cores import yield_cores
from llmkit.runtime.cuda import cuda_precision, set_up_cuda
from llmkit.runtime.ranks import (
    join_launcher,
    num_local_processes,
    num_processes,
    whole_number,
)
from llmkit.runtime.rendezvous import PROCESS_TIMEOUT, meet


@dataclass(frozen=True)
class Arithmetic:
    """Settings that, in addition to the device, decide how the numbers of a run are rounded."""

    threads: int
    mixed_precision: str
    float32_matmul_precision: str


def start_accelerator(
    device: str,
    mixed_precision: str,
    seed: int,
    like: Arithmetic | None = None,
    *,
    deterministic: bool = False,
) -> Accelerator:
    """Set up the devices of this run and seed the random number generators.

    Args:
        device: `cpu`, or `auto` for an accelerator if the machine has one.
        mixed_precision: `no`, `bf16`, `fp16`, or `auto` for the fastest suitable one.
        seed: Seeds Python, NumPy and torch.
        like: The arithmetic of an earlier run that this one continues.
        deterministic: Whether training will use `deterministic_algorithms`.
    """
    join_launcher()
    if device != "cpu":
        set_up_cuda(mixed_precision, deterministic=deterministic)
    use_cpu = device == "cpu" or not torch.accelerator.is_available()
    if mixed_precision == "fp16" and use_cpu:
        raise UserError("train.mixed_precision: fp16 needs a GPU; use bf16 or no")
    num_local, num_devices = num_local_processes(), torch.accelerator.device_count()
    if not use_cpu and num_local > num_devices:
        raise UserError(
            f"--num-processes: {num_local} exceeds the {num_devices} accelerators that a process "
            "sees on this machine; start one process for each (with Slurm, give --gpus-per-node, "
            "so that each task sees all of them), or set train.device=cpu"
        )
    join_processes(use_cpu)

    if like is not None and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(min(like.threads, torch.get_num_threads()))
    if use_cpu:
        yield_cores()
    precision = choose_precision(mixed_precision, use_cpu)
    if like is not None:
        if mixed_precision == "auto":
            precision = like.mixed_precision
        torch.set_float32_matmul_precision(like.float32_matmul_precision)
    (precision,) = broadcast_object_list([precision])
    accelerator = Accelerator(cpu=use_cpu, mixed_precision=precision)
    accelerator.gradient_accumulation_steps = 1  # the loop accumulates; ignore the environment
    set_seed(seed)
    return accelerator


def join_processes(use_cpu: bool) -> None:
    """Create the process group of this run."""
    group = {}
    if num_processes() > 1:
        group["store"] = torch.distributed.PrefixStore("tensors", meet())
        group["rank"], group["world_size"] = whole_number("RANK"), num_processes()
    PartialState(cpu=use_cpu, timeout=PROCESS_TIMEOUT, **group)


def wait_for_all(accelerator: Accelerator) -> None:
    """Wait until every process has reached this call.

    accelerate's `wait_for_everyone` passes a device of the machine's accelerator even if the
    processes train on CPUs, which fails with fewer accelerators than processes.
    """
    if accelerator.num_processes > 1 and accelerator.device.type == "cpu":
        torch.distributed.barrier()
    else:
        accelerator.wait_for_everyone()


def choose_precision(mixed_precision: str, use_cpu: bool) -> str:
    """The mixed precision as given; for `auto`, the fastest suitable one on this device."""
    if use_cpu:
        tuning = autotune_cpu()
    if mixed_precision != "auto":
        return mixed_precision
    if use_cpu:
        return "bf16" if tuning.bf16_gain >= MIN_BF16_GAIN else "no"
    if torch.accelerator.current_accelerator().type != "cuda":
        return "bf16"
    has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    return cuda_precision(torch.cuda.get_device_capability(), has_bf16)
