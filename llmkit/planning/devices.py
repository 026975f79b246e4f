"""GPUs that a plan can be estimated for, with the specifications from their data sheets.

Rates are peak rates of dense matrix products, without sparsity, in TFLOP/s. Volta and Turing have
no bf16 and train in fp16. No program reaches the peak rate. Training GPT-2 is assumed to reach
`EFFICIENCY` of it, counting only the matrix products of the forward and backward pass: nanoGPT
reports 34 to 50 % on an A100, and PaLM (arXiv 2204.02311) lists 21 to 46 % for large models.
"""

import difflib
from dataclasses import dataclass

from llmkit.errors import UserError, printable

EFFICIENCY = 0.35  # fraction of the peak rate reached in training and in evaluation
BANDWIDTH_EFFICIENCY = 0.6  # fraction of the peak bandwidth reached when generating
SECONDS_PER_BLOCK = 0.0008  # to launch the kernels of one block for one generated token


@dataclass(frozen=True)
class Device:
    """Specifications of a GPU from its data sheet."""

    name: str
    gigabytes: int
    """Memory in GB."""
    bandwidth: float
    """Memory bandwidth in GB/s."""
    rates: dict[str, float]
    """Peak rate in TFLOP/s by mixed precision: no (float32), bf16, fp16."""

    @property
    def num_bytes(self) -> float:
        return self.gigabytes * 1e9

    @property
    def precision(self) -> str:
        """The precision that `train.mixed_precision=auto` selects on this device."""
        return next(name for name in ("bf16", "fp16", "no") if name in self.rates)


# Name, memory in GB, bandwidth in GB/s, and TFLOP/s in float32, bf16 and fp16 (None: unsupported).
DATA_SHEETS = (
    ("t4", 16, 320, 8.1, None, 65),
    ("p100", 16, 732, 9.5, None, None),
    ("v100", 16, 900, 15.7, None, 125),
    ("v100-32gb", 32, 900, 15.7, None, 125),
    ("rtx-2080-ti", 11, 616, 13.4, None, 53.8),
    ("rtx-3060", 12, 360, 12.7, 25.6, 25.6),
    ("rtx-3080", 10, 760, 29.8, 59.5, 59.5),
    ("rtx-3090", 24, 936, 35.6, 71, 71),
    ("rtx-4070", 12, 504, 29.1, 58, 58),
    ("rtx-4090", 24, 1008, 82.6, 165, 165),
    ("rtx-5090", 32, 1792, 104.8, 209, 209),
    ("a10", 24, 600, 31.2, 125, 125),
    ("a10g", 24, 600, 31.2, 70, 70),
    ("a30", 24, 933, 10.3, 165, 165),
    ("a40", 48, 696, 37.4, 150, 150),
    ("a6000", 48, 768, 38.7, 155, 155),
    ("a100", 40, 1555, 19.5, 312, 312),
    ("a100-80gb", 80, 2039, 19.5, 312, 312),
    ("l4", 24, 300, 30.3, 121, 121),
    ("l40s", 48, 864, 91.6, 362, 362),
    ("h100", 80, 3350, 67, 989, 989),
    ("h100-pcie", 80, 2000, 51, 756, 756),
    ("h200", 141, 4800, 67, 989, 989),
    ("b200", 180, 8000, 75, 2250, 2250),
)


def _device(
    name: str, gigabytes: int, bandwidth: float, float32: float, bf16: float | None,
    fp16: float | None,
) -> Device:  # fmt: skip
    rates = {"no": float32, "bf16": bf16, "fp16": fp16}
    known = {precision: rate for precision, rate in rates.items() if rate is not None}
    return Device(name, gigabytes, bandwidth, known)


DEVICES = {sheet[0]: _device(*sheet) for sheet in DATA_SHEETS}


def find_device(name: str, given_by: str = "--device") -> Device:
    """Find a device by name, in any spelling: `RTX 4090`, `rtx4090`, `nvidia-a100`.

    Raises UserError with the closest name if the device is not listed.
    """
    by_key = {_key(known): device for known, device in DEVICES.items()}
    key = _key(name)
    if key in by_key:
        return by_key[key]
    near = difflib.get_close_matches(key, by_key, n=1, cutoff=0.6)
    hint = f"did you mean {by_key[near[0]].name}? " if near else ""
    raise UserError(
        f"{given_by}: unknown device {printable(name, 60)!r}; {hint}"
        f"known devices: {', '.join(DEVICES)}"
    )


def _key(name: str) -> str:
    key = "".join(c for c in name.lower() if c.isalnum())
    for word in ("nvidia", "geforce", "tesla", "quadro"):
        key = key.replace(word, "")
    return key.removesuffix("sxm").removesuffix("sxm4").removesuffix("sxm5")
