"""Devices: the precision that suits them, and the arithmetic of an earlier run."""

from dataclasses import replace

import pytest
import torch
from runs import SHORT, start_ranks

from llmkit.runtime import devices
from llmkit.runtime.devices import Arithmetic, start_accelerator
from llmkit.runtime.launch import free_port


@pytest.mark.slow
def test_machines_that_do_not_share_the_runs_folder_are_refused_before_training(
    tiny_gpt2, rows, tmp_path, subprocess_env
):
    port = str(free_port())
    environments = [
        {**subprocess_env, "OMP_NUM_THREADS": "1", "RANK": rank, "WORLD_SIZE": "2",
         "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1",
         "MASTER_PORT": port}
        for rank in ("0", "1")
    ]  # fmt: skip
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    arguments = ("finetune", "summarize", f"model={tiny_gpt2}", f"data.train={rows}", *SHORT,
                 "--run-dir", "shared/run")  # fmt: skip
    results = start_ranks(arguments, environments, folders)
    assert [code for code, _, _ in results] == [2, 2]
    for _, _, errors in results:
        assert len(errors.splitlines()) == 1
        assert "shared/run: 1 of 2 processes" in errors
        assert "give a --run-dir in a folder that all machines share" in errors
    assert "step 1/" not in results[0][1]
    assert not (folders[0] / "shared" / "run" / "recipe.yaml").exists()


def test_a_resumed_run_has_the_threads_of_its_checkpoint(two_threads, monkeypatch):
    monkeypatch.setattr(devices, "yield_cores", lambda: None)
    monkeypatch.setattr(devices, "choose_precision", lambda *_: "no")  # which takes seconds
    saved = Arithmetic(threads=1, mixed_precision="no", float32_matmul_precision="highest")
    start_accelerator("auto", "auto", 0, saved)
    assert torch.get_num_threads() == 1
    torch.set_num_threads(2)
    start_accelerator("auto", "auto", 0, replace(saved, threads=64))
    assert torch.get_num_threads() == 2, "no more than this machine has cores for"
