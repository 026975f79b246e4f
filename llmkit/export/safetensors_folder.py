"""`safetensors`: a folder for Hugging Face's transformers, in any floating-point precision."""

import copy
from importlib.metadata import version
from pathlib import Path

import torch
from safetensors.torch import load_file

from llmkit.export.hugging_face import HuggingFaceRuntime
from llmkit.export.source import Source
from llmkit.export.weights import largest_error
from llmkit.model.load import write_model

DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def unsupported(source: Source, precision: str) -> None:
    """None: the format can hold every model."""
    return


def write(source: Source, precision: str, folder: Path) -> None:
    """Write config, weights and tokenizer."""
    model, dtype = source.model, DTYPES[precision]
    if dtype is not torch.float32:
        model = copy.deepcopy(model).to(dtype)
    write_model(model, source.tokenizer, folder)


def weight_error(source: Source, folder: Path) -> float:
    """The error of the worst tensor in the folder; see Bounds.weight_error."""
    found = {
        name: weight.float().numpy()
        for path in folder.glob("*.safetensors")
        for name, weight in load_file(path).items()
    }
    expected = {name: weight.detach().numpy() for name, weight in source.model.named_parameters()}
    return largest_error(found, expected)


def open_folder(folder: Path) -> HuggingFaceRuntime:
    """Open the folder in transformers, in float32, since many CPUs are slow in half precision."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    return HuggingFaceRuntime(f"transformers {version('transformers')}", model, tokenizer)
