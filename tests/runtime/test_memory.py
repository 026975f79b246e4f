"""Available memory."""

import torch

from llmkit.runtime import memory
from llmkit.runtime.memory import available_bytes


def test_the_file_cache_of_a_container_counts_as_free(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    (tmp_path / "memory.max").write_text(f"{2**30}\n")
    (tmp_path / "memory.current").write_text(f"{2**30 - 2**20}\n")
    (tmp_path / "memory.stat").write_text(f"anon 5\ninactive_file {2**29}\n")
    assert available_bytes(torch.device("cpu")) == 2**29 + 2**20
    (tmp_path / "memory.max").write_text("max\n")
    assert available_bytes(torch.device("cpu")) > 2**30


def test_free_memory_is_plausible():
    assert 2**20 < available_bytes(torch.device("cpu")) < 2**50
