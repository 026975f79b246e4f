"""`ctranslate2`: a folder for CTranslate2, a fast engine for CPUs and GPUs."""

import json
import struct
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch

from llmkit.export.runtime import BATCH_SIZE, Runtime, log_softmax
from llmkit.export.source import Source
from llmkit.export.weights import largest_error
from llmkit.families import family_of
from llmkit.io.atomic import disk_errors

FILE = "model.bin"
DTYPES = (np.float32, np.int8, np.int16, np.int32, np.float16)  # by number in model.bin
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")


def unsupported(source: Source, precision: str) -> str | None:
    """The reason why CTranslate2 cannot hold the model; None if it can."""
    settings = family_of(source.model.config).unusual_settings(source.model.config)
    if settings:
        return f"CTranslate2 does not know the model's {' and '.join(settings)}; export safetensors"
    return None


def write(source: Source, precision: str, folder: Path) -> None:
    """Write the files of CTranslate2's converter, and the tokenizer."""
    from ctranslate2.converters import TransformersConverter

    converter = TransformersConverter(str(source.folder), copy_files=list(TOKENIZER_FILES))
    with disk_errors(folder / FILE):
        converter.convert(str(folder), quantization=precision, force=True)


def weight_error(source: Source, folder: Path) -> float:
    """The error of the worst tensor; see Bounds.weight_error."""
    with tempfile.TemporaryDirectory(prefix="llmkit-export-") as name:
        write(source, "float32", Path(name))
        expected = read_weights(Path(name))
    found = read_weights(folder)
    return largest_error({name: found[name] for name in expected if name in found}, expected)


def read_weights(folder: Path) -> dict[str, np.ndarray]:
    """The weights in model.bin by name, in the format that CTranslate2's converter writes; integers
    are divided by their scales."""
    with (folder / FILE).open("rb") as file:
        read_numbers(file, "I")
        read_text(file)
        _, count = read_numbers(file, "II")
        tensors = dict(read_tensor(file) for _ in range(count))
    scales = {name: tensors.pop(name) for name in list(tensors) if name.endswith("_scale")}
    return {
        name: values / scales[f"{name}_scale"][:, None] if f"{name}_scale" in scales else values
        for name, values in tensors.items()
        if values.dtype == np.float32 or f"{name}_scale" in scales
    }


def read_tensor(file: BinaryIO) -> tuple[str, np.ndarray]:
    """The name and the values of the next tensor."""
    name = read_text(file)
    (rank,) = read_numbers(file, "B")
    shape = read_numbers(file, rank * "I")
    kind, num_bytes = read_numbers(file, "<BI")
    return name, np.frombuffer(file.read(num_bytes), DTYPES[kind]).reshape(shape)


def read_text(file: BinaryIO) -> str:
    """The next string: its length, then its bytes, of which the last is 0."""
    (length,) = read_numbers(file, "H")
    return file.read(length)[:-1].decode("utf-8")


def read_numbers(file: BinaryIO, kinds: str) -> tuple[int, ...]:
    """The next numbers. kinds: Their format string, see `struct`."""
    return struct.unpack(kinds, file.read(struct.calcsize(kinds)))


def open_folder(folder: Path) -> "CTranslate2":
    """Open the folder in CTranslate2."""
    return CTranslate2(folder)


class CTranslate2(Runtime):
    """The folder in CTranslate2, on the CPU."""

    def __init__(self, folder: Path) -> None:
        import ctranslate2
        from transformers import AutoTokenizer

        self.tool = f"CTranslate2 {version('ctranslate2')}"
        self.generator = ctranslate2.Generator(
            str(folder), device="cpu", intra_threads=torch.get_num_threads()
        )
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.names: list[str] = json.loads((folder / "vocabulary.json").read_text("utf-8"))
        settings = json.loads((folder / "config.json").read_text("utf-8"))
        ends = {self.names.index(settings["eos_token"]), self.tokenizer.eos_token_id}
        self.end_tokens = sorted(ends)

    def log_probabilities(self, ids: list[int], positions: list[int]) -> np.ndarray:
        logits = np.array(self.generator.forward_batch([ids]), dtype=np.float32)
        return log_softmax(torch.from_numpy(logits[0, positions]))

    def complete(self, prompts: list[list[int]], max_new_tokens: int) -> list[list[int]]:
        results = self.generator.generate_batch(
            [[self.names[token] for token in prompt] for prompt in prompts],
            max_batch_size=BATCH_SIZE,
            max_length=max_new_tokens,
            beam_size=1,
            sampling_topk=1,
            include_prompt_in_result=False,
        )
        return [result.sequences_ids[0] for result in results]
