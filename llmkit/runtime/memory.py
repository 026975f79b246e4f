"""How much memory is free."""

from pathlib import Path

import psutil
import torch

CGROUP = Path("/sys/fs/cgroup")


def available_bytes(device: torch.device) -> int:
    """Free memory of a GPU, or of the machine within its container's limit (cgroup v2); bytes."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    available = psutil.virtual_memory().available
    try:
        limit = int((CGROUP / "memory.max").read_text("ascii"))
        used = int((CGROUP / "memory.current").read_text("ascii"))
        counts = dict(
            line.split() for line in (CGROUP / "memory.stat").read_text("ascii").splitlines()
        )
        used -= int(counts["inactive_file"])  # cached files, which the system drops on demand
    except (OSError, ValueError, KeyError):  # no container, or no limit ("max")
        return available
    return min(available, limit - used)
