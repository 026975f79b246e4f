"""Available memory of a device, and the memory that this process has taken."""

import sys
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


def resident_bytes() -> int:
    """The memory of the machine that this process has now, its libraries included."""
    return psutil.Process().memory_info().rss


def peak_bytes(device: torch.device) -> int:
    """The most memory that this process has had at once: on the GPU what its tensors took, on a CPU
    all of the process, its libraries included."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device)
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset
    import resource  # not available on Windows

    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
