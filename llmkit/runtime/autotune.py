"""Machine-dependent settings that affect results only by rounding, chosen by benchmarks.

Measurements are cached by processor, number of threads and version of torch.
"""

import ctypes
import json
import mmap
import os
import platform
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
import torch

from llmkit.paths import cache_folder

NUM_TIMINGS = 8  # of each product; the fastest counts, since the first includes planning
ROWS, WIDTH = 256, 768  # of the timed product: the first of a block's MLP in GPT-2
PROBE_FACTOR = 32  # a first, quick timing uses one row in this many
MAX_SLOWDOWN = 4  # products slower than the fastest by this factor are not timed in full
MIN_BF16_GAIN = 1.3  # minimum speed-up over float32 that justifies the lower precision of bf16
MAX_HUGE_PAGE_BYTES = 2**34  # of address space for which huge pages are requested
NUM_CACHED_KERNELS = 64  # in oneDNN's caches: the shapes of a few steps
MAX_FLOAT32_ERROR = 1e-5  # maximum relative error of a product that counts as float32


@dataclass(frozen=True)
class MatmulTimings:
    """Seconds per matrix product, by arithmetic."""

    float32: float
    """float32 with torch's default library."""
    onednn: float | None
    """float32 with oneDNN; None if oneDNN would round to bf16 internally."""
    bf16: float

    @property
    def bf16_gain(self) -> float:
        return min(self.float32, self.onednn or self.float32) / self.bf16

    @property
    def onednn_pays(self) -> bool:
        return self.onednn is not None and self.onednn < self.float32


def autotune_cpu() -> MatmulTimings:
    """Set up memory and float32 products for this machine; returns its cached or new timings.

    Measuring takes less than half a second.
    """
    retain_freed_memory()
    limit_kernel_caches()
    path = cache_folder() / "tuning" / f"{_machine()}.json"
    try:
        tuning = MatmulTimings(**json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        tuning = measure()
        _save(tuning, path)
    torch.set_float32_matmul_precision("medium" if tuning.onednn_pays else "highest")
    return tuning


def measure() -> MatmulTimings:
    """Time the same product in each arithmetic."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(ROWS, WIDTH, generator=generator)
    weight = torch.randn(WIDTH, 4 * WIDTH, generator=generator)
    rounded, rounded_weight = x.bfloat16(), weight.bfloat16()
    products = {
        "float32": ("highest", x, weight),
        "onednn": ("medium", x, weight),  # torch's setting for it
        "bf16": ("highest", rounded, rounded_weight),
    }
    # A CPU without bf16 instructions emulates them, 100 times slower; a few rows show that.
    seconds = {
        name: PROBE_FACTOR * min(_time(*product, ROWS // PROBE_FACTOR) for _ in range(NUM_TIMINGS))
        for name, product in products.items()
    }
    fastest = min(seconds.values())
    # In turns, so that other load affects all of them equally. Load only slows them down, so the
    # minimum counts.
    for _ in range(NUM_TIMINGS):
        for name, product in products.items():
            if seconds[name] < MAX_SLOWDOWN * fastest:
                seconds[name] = min(seconds[name], _time(*product, ROWS))
    torch.set_float32_matmul_precision("medium")
    exact = x.double() @ weight.double()
    error = ((x @ weight).double() - exact).norm() / exact.norm()
    onednn = seconds["onednn"] if error < MAX_FLOAT32_ERROR else None
    return MatmulTimings(seconds["float32"], onednn, seconds["bf16"])


def _time(precision: str, x: torch.Tensor, weight: torch.Tensor, num_rows: int) -> float:
    """Seconds of the product of the first rows of x and the weight."""
    torch.set_float32_matmul_precision(precision)
    started = time.perf_counter()
    x[:num_rows] @ weight
    return time.perf_counter() - started


def _machine() -> str:
    """A file name for the processor, the number of threads and the version of torch."""
    model = platform.processor() or platform.machine()
    if sys.platform == "linux":
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        model = next((line.partition(": ")[2] for line in lines if "model name" in line), model)
    parts = (model, torch.get_num_threads(), "torch", torch.__version__)
    return "".join(c if c.isalnum() or c in ".+" else "-" for c in " ".join(map(str, parts)))


def _save(tuning: MatmulTimings, path: Path) -> None:
    """Cache the timings; if the folder is not writable, the next run measures again."""
    partial = path.with_suffix(f".{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(asdict(tuning)), "utf-8")
        partial.replace(path)
    except OSError:
        return


def retain_freed_memory() -> None:
    """Have glibc retain freed memory, and request it from the system in huge pages.

    Each step frees and allocates the same memory as the last one; requesting it anew page by page
    would take a considerable part of the step.
    """
    if sys.platform != "linux" or platform.libc_ver()[0] != "glibc":
        return
    import resource  # not available on Windows

    libc = ctypes.CDLL("libc.so.6")
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    libc.free.argtypes = [ctypes.c_void_p]
    trim_threshold, mmap_max = -1, -4  # malloc.h: M_TRIM_THRESHOLD, M_MMAP_MAX
    libc.mallopt(mmap_max, 0)
    libc.mallopt(trim_threshold, -1)
    # The advice belongs to the addresses: a large block that is freed unused leaves it to all later
    # allocations there.
    size = min(psutil.virtual_memory().available // 2, MAX_HUGE_PAGE_BYTES)
    is_limited = resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY
    block = None if is_limited else libc.malloc(size)
    if block:
        start = -(-block // mmap.PAGESIZE) * mmap.PAGESIZE
        libc.madvise(start, size - mmap.PAGESIZE, mmap.MADV_HUGEPAGE)
        libc.free(block)


def limit_kernel_caches() -> None:
    """Limit the caches of compiled kernels in oneDNN and in torch's layer above it.

    Both hold kernels for 1,024 shapes by default, up to 1 MB each, and nearly every step of ragged
    rows has its own shapes. Compiling one again takes less than a millisecond.
    """
    for name in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):
        os.environ.setdefault(name, str(NUM_CACHED_KERNELS))
