"""Choices that depend on the machine and change no result beyond rounding: made by measuring.

What was measured is kept in the cache folder, by processor, threads and library version.
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

NUM_TIMINGS = 8  # that each product is timed; the first plans
ROWS, WIDTH = 256, 768  # of the product that is timed: GPT-2's first in its MLP
FEW = 32  # a first look times one in so many rows
HOPELESS = 4  # products so many times slower than the quickest are not timed in full
BF16_PAYS = 1.3  # times as fast as float32, from which on its coarser numbers are worth it
LARGE_PAGES = 2**34  # bytes of address space, at most, that are to have them
KERNELS = 64  # that oneDNN keeps: those of a few steps' shapes
EXACT = 1e-5  # largest relative error of a product that still counts as float32


@dataclass(frozen=True)
class MatmulTimings:
    """What was measured: seconds of a product, by its arithmetic."""

    float32: float
    """By the library that is its default."""
    onednn: float | None
    """float32 by oneDNN; None where that would round to bf16 in between."""
    bf16: float

    @property
    def bf16_gain(self) -> float:
        return min(self.float32, self.onednn or self.float32) / self.bf16

    @property
    def onednn_pays(self) -> bool:
        return self.onednn is not None and self.onednn < self.float32


def autotune_cpu() -> MatmulTimings:
    """Measure, or look up, this machine's arithmetic and set it up; under half a second."""
    keep_memory()
    keep_few_kernels()
    path = cache_folder() / "tuning" / f"{_machine()}.json"
    try:
        tuning = MatmulTimings(**json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        tuning = measure()
        _keep(tuning, path)
    torch.set_float32_matmul_precision("medium" if tuning.onednn_pays else "highest")
    return tuning


def measure() -> MatmulTimings:
    """Time one product in each arithmetic."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(ROWS, WIDTH, generator=generator)
    weight = torch.randn(WIDTH, 4 * WIDTH, generator=generator)
    rounded, rounded_weight = x.bfloat16(), weight.bfloat16()
    products = {
        "float32": ("highest", x, weight),
        "onednn": ("medium", x, weight),  # the library's word for it
        "bf16": ("highest", rounded, rounded_weight),
    }
    # A CPU without bf16 instructions emulates them, a hundred times slower: few rows show it.
    seconds = {
        name: FEW * min(_time(*product, ROWS // FEW) for _ in range(NUM_TIMINGS))
        for name, product in products.items()
    }
    quickest = min(seconds.values())
    # By turns, so that what else the machine does falls on all; it only ever slows, so the best of
    # a few counts.
    for _ in range(NUM_TIMINGS):
        for name, product in products.items():
            if seconds[name] < HOPELESS * quickest:
                seconds[name] = min(seconds[name], _time(*product, ROWS))
    torch.set_float32_matmul_precision("medium")
    exact = x.double() @ weight.double()
    error = ((x @ weight).double() - exact).norm() / exact.norm()
    onednn = seconds["onednn"] if error < EXACT else None
    return MatmulTimings(seconds["float32"], onednn, seconds["bf16"])


def _time(precision: str, x: torch.Tensor, weight: torch.Tensor, num_rows: int) -> float:
    """Seconds of the product of the first rows of x and the weight."""
    torch.set_float32_matmul_precision(precision)
    started = time.perf_counter()
    x[:num_rows] @ weight
    return time.perf_counter() - started


def _machine() -> str:
    """Name of what the measurement holds for."""
    model = platform.processor() or platform.machine()
    if sys.platform == "linux":
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        model = next((line.partition(": ")[2] for line in lines if "model name" in line), model)
    parts = (model, torch.get_num_threads(), "torch", torch.__version__)
    return "".join(c if c.isalnum() or c in ".+" else "-" for c in " ".join(map(str, parts)))


def _keep(tuning: MatmulTimings, path: Path) -> None:
    """For the next time; where nothing can be written, that measures again."""
    partial = path.with_suffix(f".{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(asdict(tuning)), "utf-8")
        partial.replace(path)
    except OSError:
        return


def keep_memory() -> None:
    """Have glibc keep freed memory, and take it from the system in large pages.

    Each step frees and takes what the last one did; asking for it page by page again takes a good
    part of the step.
    """
    if sys.platform != "linux" or platform.libc_ver()[0] != "glibc":
        return
    import resource  # there on Linux, not everywhere

    libc = ctypes.CDLL("libc.so.6")
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    libc.free.argtypes = [ctypes.c_void_p]
    trim_threshold, mmap_max = -1, -4  # malloc.h: M_TRIM_THRESHOLD, M_MMAP_MAX
    libc.mallopt(mmap_max, 0)
    libc.mallopt(trim_threshold, -1)
    # Advice stays with the addresses: a large block, given back unused, leaves it to all that
    # follows.
    size = min(psutil.virtual_memory().available // 2, LARGE_PAGES)
    is_limited = resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY
    block = None if is_limited else libc.malloc(size)
    if block:
        start = -(-block // mmap.PAGESIZE) * mmap.PAGESIZE
        libc.madvise(start, size - mmap.PAGESIZE, mmap.MADV_HUGEPAGE)
        libc.free(block)


def keep_few_kernels() -> None:
    """Have oneDNN keep its programs for a few shapes only; made again in less than a millisecond.

    It and torch's layer over it keep those of 1,024 shapes each, up to 1 MB apiece, and nearly
    every step of ragged rows has shapes that no other has.
    """
    for name in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):
        os.environ.setdefault(name, str(KERNELS))
