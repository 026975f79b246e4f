"""Available memory of a device."""

from pathlib import Path

import psutil
import torch

CGROUP = Path("/sys/fs/cgroup")


def available_bytes(device: torch.device) -> int:
    """Available memory in bytes: of the GPU, or of the machine within its container's limit
    (cgroup v2)."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    available = psutil.virtual_memory().available
    try:
        limit = int((CGROUP / "memory.max").read_text("ascii"))
        used = int((CGROUP / "memory.current").read_text("ascii"))
        counts = dict(
            line.split() for line in (CGROUP / "memory.stat").read_text("ascii").splitlines()
        )
        used -= int(counts["inactive_file"])  # file cache, which the system frees on demand
    except (OSError, ValueError, KeyError):  # not in a container, or no limit ("max")
        return available
    return min(available, limit - used)
