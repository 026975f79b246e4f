"""The formats of exports, their precisions, and how far an export may differ from its model."""

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from llmkit.errors import UserError, did_you_mean
from llmkit.export import (
    adapter_folder,
    ctranslate2_folder,
    gguf_file,
    onnx_folder,
    safetensors_folder,
)
from llmkit.export.runtime import Runtime
from llmkit.export.source import Source


@dataclass(frozen=True)
class Bounds:
    """How far an export may differ from the original model."""

    logit_error: float
    """Root mean square of the differences of logits relative to their standard deviation."""
    kl: float
    """Mean Kullback-Leibler divergence of the next-token distributions, in nats."""
    logit_difference: float | None = None
    """Largest difference of a normalized logit; None: any."""
    identical_texts: float | None = None
    """Minimum percentage of greedy completions or labels that are identical; None: any."""
    weight_error: float | None = None
    """Root mean square error of the weights in any tensor, relative to their own root mean square;
    None: not compared, since the logits suffice."""


# Two programs add up in different orders, so that a near tie can change a greedy text.
EXACT = Bounds(logit_error=1e-4, kl=1e-6, logit_difference=1e-3, identical_texts=95)
EXACT_WEIGHTS = replace(EXACT, weight_error=1e-6)
BF16 = Bounds(logit_error=0.1, kl=0.01, weight_error=0.005)
FP16 = Bounds(logit_error=0.02, kl=0.001, weight_error=0.001)
# llama.cpp looks up GELU in a table in half precision.
F32 = Bounds(logit_error=0.01, kl=0.001, weight_error=1e-6)
# Rounding to few bits changes the logits of unlikely tokens a lot, but hardly the distribution.
EIGHT_BIT = Bounds(logit_error=0.5, kl=0.25, weight_error=0.02)
FOUR_BIT = Bounds(logit_error=1, kl=1, weight_error=0.15)


@dataclass(frozen=True)
class Format:
    """A format and the program that opens it."""

    precisions: Mapping[str, Bounds]
    """By name, the default one first."""
    unsupported: Callable[[Source, str], str | None]
    """Returns the reason why the format cannot hold a model in a precision; None if it can."""
    write: Callable[[Source, str, Path], None]
    """Writes the model in a precision into a folder."""
    open_folder: Callable[[Path], Runtime]
    """Opens an exported folder in the program that runs it."""
    library: str
    """The library that opens the format, as the hub names it in the metadata of a model card."""
    packages: tuple[str, ...] = ()
    """Packages that the format needs; the extra of the same name installs them."""
    weight_error: Callable[[Source, Path], float] | None = None
    """Reads the weights back; returns the error of the worst tensor, see Bounds.weight_error."""
    command: Callable[[Path, str, int, Sequence[str]], str] | None = None
    """Returns a shell command that completes a prompt with the export, given its folder, the
    prompt, the maximum number of new tokens and the stop strings."""


FORMATS = {
    "safetensors": Format(
        precisions={"float32": EXACT_WEIGHTS, "bf16": BF16, "fp16": FP16},
        unsupported=safetensors_folder.unsupported,
        write=safetensors_folder.write,
        open_folder=safetensors_folder.open_folder,
        library="transformers",
        weight_error=safetensors_folder.weight_error,
    ),
    "adapter": Format(
        precisions={"float32": EXACT},
        unsupported=adapter_folder.unsupported,
        write=adapter_folder.write,
        open_folder=adapter_folder.open_folder,
        library="peft",
    ),
    "gguf": Format(
        precisions={"f16": FP16, "f32": F32, "q8_0": EIGHT_BIT, "q4_0": FOUR_BIT},
        unsupported=gguf_file.unsupported,
        write=gguf_file.write,
        open_folder=gguf_file.open_folder,
        library="gguf",
        packages=("gguf", "xllamacpp"),
        weight_error=gguf_file.weight_error,
        command=gguf_file.command,
    ),
    "onnx": Format(
        precisions={"float32": EXACT},
        unsupported=onnx_folder.unsupported,
        write=onnx_folder.write,
        open_folder=onnx_folder.open_folder,
        library="onnx",
        packages=("onnxscript", "onnxruntime"),
    ),
    "ctranslate2": Format(
        precisions={"float32": EXACT_WEIGHTS, "int8": EIGHT_BIT},
        unsupported=ctranslate2_folder.unsupported,
        write=ctranslate2_folder.write,
        open_folder=ctranslate2_folder.open_folder,
        library="ctranslate2",
        packages=("ctranslate2",),
        weight_error=ctranslate2_folder.weight_error,
    ),
}


@dataclass(frozen=True)
class Target:
    """A format in one precision."""

    format_name: str
    precision: str

    def __str__(self) -> str:
        return f"{self.format_name}:{self.precision}"

    @property
    def folder_name(self) -> str:
        return f"{self.format_name}-{self.precision}"

    @property
    def format(self) -> Format:
        return FORMATS[self.format_name]

    @property
    def bounds(self) -> Bounds:
        return self.format.precisions[self.precision]

    @classmethod
    def parse(cls, text: str) -> "Target":
        """The target written as FORMAT or FORMAT:PRECISION.

        Raises UserError for an unknown format or precision, and for a format whose packages are
        not installed.
        """
        name, _, precision = text.partition(":")
        if name not in FORMATS:
            raise UserError(
                f"--to: unknown format {name!r}; known formats: {', '.join(FORMATS)}"
                f"{did_you_mean(name, list(FORMATS))}"
            )
        target = cls(name, precision or next(iter(FORMATS[name].precisions)))
        precisions = target.format.precisions
        if target.precision not in precisions:
            raise UserError(
                f"--to: {name} has no precision {precision!r}; it has {', '.join(precisions)}"
                f"{did_you_mean(precision, list(precisions))}"
            )
        missing = [each for each in target.format.packages if not importlib.util.find_spec(each)]
        if missing:
            raise UserError(
                f"--to: {name} needs the package {missing[0].replace('_', '-')}; install it with "
                f"pip install 'llmkit[{name}]'"
            )
        return target
