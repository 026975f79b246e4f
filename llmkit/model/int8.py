"""Weights as 8-bit integers: the folder that holds them, and the layers that compute with them.

Each output of a linear layer has its own scale: weight[i, j] is about int8[i, j] * scale[i]. All
layers are stored in the layout of torch.nn.Linear, (out, in), including those that are Conv1D in
transformers.
"""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.pytorch_utils import Conv1D

from llmkit.families import Family, family_of
from llmkit.io.atomic import disk_errors

# Not a name that transformers looks for: it would load the integers as if they were the weights.
WEIGHTS_FILE = "model.int8.safetensors"
SCALE = "_scale"  # follows the name of a weight
LARGEST = 127
# Smaller matrices are dequantized: their products take less time than quantizing the input.
MIN_WEIGHTS = 2**18
TINY = torch.finfo(torch.float32).tiny


class Int8Matrix(NamedTuple):
    """A quantized matrix."""

    int8: Tensor
    """(out, in), int8."""
    scale: Tensor
    """(out,), float32."""

    @classmethod
    def of(cls, weight: Tensor) -> "Int8Matrix":
        """Quantize a weight (out, in), each output with the scale of its largest element."""
        scale = (weight.float().abs().amax(1) / LARGEST).clamp_min(TINY)
        return cls((weight / scale[:, None]).round().to(torch.int8), scale)

    def dequantized(self) -> Tensor:
        """(out, in), float32."""
        return self.int8 * self.scale[:, None]


class Int8Linear(nn.Module):
    """A linear layer with an int8 weight, for inference.

    On a CPU, each row of the input is quantized to 7 bits between its own minimum and maximum, so
    that its output does not depend on the other rows of the batch. With 8 bits, the sums of two
    products would overflow on processors without VNNI instructions. Elsewhere, the weight is
    dequantized in each call.
    """

    def __init__(self, matrix: Int8Matrix, bias: Tensor | None) -> None:
        super().__init__()
        self.register_buffer("int8", matrix.int8)
        self.register_buffer("scale", matrix.scale)
        self.register_buffer("bias", bias)
        self.packed = pack(matrix)
        self.row_sums = matrix.int8.sum(1) * matrix.scale

    @property
    def weight(self) -> Tensor:
        """The dequantized weight (out, in)."""
        return Int8Matrix(self.int8, self.scale).dequantized()

    def forward(self, x: Tensor) -> Tensor:
        """x: (..., in); returns (..., out)."""
        if x.device.type != "cpu":
            return F.linear(x, self.weight.to(x.dtype), self.bias)
        rows = x.reshape(-1, x.shape[-1]).float()
        low, high = rows.aminmax(dim=1, keepdim=True)
        span = high - low
        # Now each row extends from 0 to 1, which is the range that the product quantizes; 0 / 0 is
        # a row of equal numbers.
        rows = ((rows - low) / span).nan_to_num_(0)
        product = torch.ops.quantized.linear_dynamic(rows, self.packed, reduce_range=True)
        offset = low * self.row_sums  # what `low` adds to each output
        if self.bias is not None:
            offset += self.bias
        return offset.addcmul_(product, span).view(*x.shape[:-1], -1).to(x.dtype)


class Int8Embedding(nn.Module):
    """An embedding that shares its int8 matrix with the output layer."""

    def __init__(self, matrix: Int8Matrix) -> None:
        super().__init__()
        self.register_buffer("int8", matrix.int8)
        self.register_buffer("scale", matrix.scale)

    def forward(self, ids: Tensor) -> Tensor:
        """ids: (...); returns (..., D), float32."""
        return self.int8[ids] * self.scale[ids, None]


def pack(matrix: Int8Matrix) -> torch.ScriptObject:
    """A copy in the layout that torch's integer products need on this CPU."""
    zeros = torch.zeros(len(matrix.scale), dtype=torch.long)
    with warnings.catch_warnings():
        # torch will drop this dtype some day; its products for CPUs are still the fastest.
        warnings.simplefilter("ignore")
        weight = torch._make_per_channel_quantized_tensor(
            matrix.int8, matrix.scale.double(), zeros, axis=0
        )
        return torch.ops.quantized.linear_prepack(weight, None)


def is_int8(folder: Path) -> bool:
    """Whether a model folder holds int8 weights."""
    return (folder / WEIGHTS_FILE).is_file()


def linear_layers(model: PreTrainedModel) -> Iterator[tuple[str, nn.Module, str]]:
    """Iterate over (name, layer, name of its weight) of the linear layers. An output layer that
    shares the matrix of the embedding has the name of the embedding's weight."""
    embedding, output = model.get_input_embeddings(), model.get_output_embeddings()
    names = {module: name for name, module in model.named_modules()}
    for module, name in names.items():
        if isinstance(module, (nn.Linear, Conv1D)):
            is_tied = module is output and module.weight is embedding.weight
            yield name, module, f"{names[embedding] if is_tied else name}.weight"


def save_int8(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write config, tokenizer and int8 weights into an existing folder."""
    family_of(model.config).before_saving(model.config)
    model.config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    tensors = model.state_dict()
    for name, layer, weight_name in linear_layers(model):
        weight = layer.weight.detach()
        matrix = Int8Matrix.of(weight.t() if isinstance(layer, Conv1D) else weight)
        tensors.pop(f"{name}.weight")
        tensors[weight_name], tensors[weight_name + SCALE] = matrix
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    with disk_errors(folder):
        save_file(tensors, folder / WEIGHTS_FILE, {"format": "pt"})
    # safetensors creates a file that only its owner can read.
    (folder / WEIGHTS_FILE).chmod((folder / "config.json").stat().st_mode)


def load_int8(folder: Path, family: Family) -> tuple[PreTrainedModel, list[str]]:
    """The model in a folder with int8 weights, and the names of the weights that are missing there.

    Raises ValueError for a damaged matrix.
    """
    config = family.model_class.config_class.from_pretrained(folder)
    with torch.device("meta"):
        model = family.model_class(config)
    layers = list(linear_layers(model))
    tensors = load_file(folder / WEIGHTS_FILE)
    quantized = {name: (tensors.pop(name, None), tensors.pop(name + SCALE, None))
                 for _, _, name in layers}  # fmt: skip
    model.load_state_dict(tensors, strict=False, assign=True)
    for name, layer, weight_name in layers:
        if any(tensor is None for tensor in quantized[weight_name]):
            continue
        matrix = Int8Matrix(*quantized[weight_name])
        check_matrix(matrix, layer, weight_name)
        set_matrix(model, name, layer, matrix)
    missing = sorted(name for name, tensor in model.state_dict().items() if tensor.is_meta)
    model.name_or_path = str(folder)
    return model.requires_grad_(False).eval(), missing


def set_matrix(model: PreTrainedModel, name: str, layer: nn.Module, matrix: Int8Matrix) -> None:
    """Give a linear layer its matrix, and the embedding if it shares it. The matrix of a small
    layer is dequantized."""
    embedding = model.get_input_embeddings()
    is_tied = layer.weight is embedding.weight
    if matrix.int8.numel() > MIN_WEIGHTS:
        bias = None if layer.bias is None else layer.bias.detach()
        model.set_submodule(name, Int8Linear(matrix, bias))
        if is_tied:
            model.set_input_embeddings(Int8Embedding(matrix))
        return
    weight = matrix.dequantized()
    weight = weight.t().contiguous() if isinstance(layer, Conv1D) else weight
    layer.weight = nn.Parameter(weight)
    if is_tied:
        embedding.weight = layer.weight


def check_matrix(matrix: Int8Matrix, layer: nn.Module, name: str) -> None:
    """Raise ValueError unless the matrix fits the layer."""
    shape = tuple(layer.weight.shape)
    shape = shape[::-1] if isinstance(layer, Conv1D) else shape
    types = (matrix.int8.dtype, matrix.scale.dtype)
    if tuple(matrix.int8.shape) != shape or matrix.scale.shape != shape[:1]:
        raise ValueError(f"{name} has another shape than config.json says")
    if types != (torch.int8, torch.float32) or not matrix.scale.isfinite().all():
        raise ValueError(f"{name} is not an int8 matrix with finite scales")
