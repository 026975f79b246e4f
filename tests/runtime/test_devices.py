"""Devices: the precision that suits them, and the arithmetic of an earlier run."""

from dataclasses import replace

import torch

from llmkit.runtime import devices
from llmkit.runtime.devices import Arithmetic, start_accelerator


def test_a_resumed_run_has_the_threads_of_its_checkpoint(two_threads, monkeypatch):
    monkeypatch.setattr(devices, "yield_cores", lambda: None)
    monkeypatch.setattr(devices, "choose_precision", lambda *_: "no")  # which takes seconds
    saved = Arithmetic(threads=1, mixed_precision="no", float32_matmul_precision="highest")
    start_accelerator("auto", "auto", 0, saved)
    assert torch.get_num_threads() == 1
    torch.set_num_threads(2)
    start_accelerator("auto", "auto", 0, replace(saved, threads=64))
    assert torch.get_num_threads() == 2, "no more than this machine has cores for"
