"""`gguf`: one file with weights, tokenizer and template, for llama.cpp, Ollama and LM Studio.

The gguf package writes it, with the names and the layout of llama.cpp's own converter.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import torch
from transformers.pytorch_utils import Conv1D

from llmkit.export.byte_level import difference_from_byte_level, tokenizer_json
from llmkit.export.llama_server import LlamaServer
from llmkit.export.modelfile import write_modelfile
from llmkit.export.source import Source
from llmkit.export.weights import largest_error
from llmkit.families import family_of
from llmkit.io.atomic import disk_errors
from llmkit.model.load import check_finite

FILE = "model.gguf"
BLOCK_SIZE = 32  # numbers that share a scale in q8_0 and q4_0
QUANTIZED = ("q8_0", "q4_0")


def unsupported(source: Source, precision: str) -> str | None:
    """The reason why llama.cpp cannot hold the model; None if it can."""
    config, family = source.model.config, family_of(source.model.config)
    settings = family.unusual_settings(config)
    if settings:
        return f"llama.cpp does not know the model's {' and '.join(settings)}; export safetensors"
    difference = difference_from_byte_level(source.tokenizer)
    if difference:
        return (
            f"llama.cpp has no tokenizer with {difference}, and the file would split texts "
            "differently; export safetensors"
        )
    widths = (config.hidden_size, family.inner_size(config))
    if precision in QUANTIZED and any(width % BLOCK_SIZE for width in widths):
        return (
            f"{precision} stores {BLOCK_SIZE} numbers together, and the widths {widths[0]} and "
            f"{widths[1]} are not multiples of that; export gguf:f16"
        )
    return None


def write(source: Source, precision: str, folder: Path) -> None:
    """Write model.gguf and Ollama's Modelfile."""
    import gguf

    writer = gguf.GGUFWriter(folder / FILE, source.model.config.model_type)
    add_settings(writer, source, precision)
    add_tokenizer(writer, source)
    for name, weight in iter_tensors(source):
        check_finite(weight)
        kind = tensor_type(name, weight, precision)
        data = gguf.quants.quantize(weight.contiguous().numpy(), kind)
        writer.add_tensor(name, data, raw_dtype=kind)
    with disk_errors(folder / FILE), closing(writer):
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    write_modelfile(source, FILE, folder)


def add_settings(writer: Any, source: Source, precision: str) -> None:
    """Add the keys that describe the shape of the model. writer: gguf.GGUFWriter."""
    import gguf

    config, family = source.model.config, family_of(source.model.config)
    kinds = gguf.LlamaFileType
    writer.add_name(source.run.resolve().name)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(family.inner_size(config))
    writer.add_head_count(config.num_attention_heads)
    writer.add_layer_norm_eps(family.norm_epsilon(config))
    writer.add_file_type(
        kinds.ALL_F32 if precision == "f32" else kinds[f"MOSTLY_{precision.upper()}"]
    )
    if precision in QUANTIZED:
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)


def add_tokenizer(writer: Any, source: Source) -> None:
    """Add vocabulary, merges, end-of-text and chat template. writer: gguf.GGUFWriter."""
    import gguf

    tokenizer, kinds = source.tokenizer, gguf.TokenType
    parts = tokenizer_json(tokenizer)
    ids = {**parts["model"]["vocab"], **{a["content"]: a["id"] for a in parts["added_tokens"]}}
    added = {token["id"] for token in parts["added_tokens"]}
    text_of = {number: text for text, number in ids.items()}
    numbers = range(source.model.config.vocab_size)  # which may exceed the tokenizer's
    writer.add_tokenizer_model("gpt2")  # llama.cpp's name of byte-level BPE
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([text_of.get(number, f"[PAD{number}]") for number in numbers])
    writer.add_token_types(
        [
            kinds.UNUSED if number not in text_of
            else kinds.CONTROL if number in added
            else kinds.NORMAL
            for number in numbers
        ]
    )  # fmt: skip
    merges = parts["model"]["merges"]
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in merges])
    writer.add_bos_token_id(tokenizer.eos_token_id)
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(False)
    if tokenizer.chat_template:
        writer.add_chat_template(tokenizer.chat_template)


def iter_tensors(source: Source) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield each weight once under its name in the file, matrices as (out, in)."""
    import gguf

    config, seen = source.model.config, set()
    (architecture,) = (
        number for number, name in gguf.MODEL_ARCH_NAMES.items() if name == config.model_type
    )
    names = gguf.get_tensor_name_map(architecture, config.num_hidden_layers)
    for prefix, layer in source.model.named_modules():
        for name, weight in layer.named_parameters(recurse=False):
            if id(weight) in seen:  # the output embedding is the input's
                continue
            seen.add(id(weight))
            is_transposed = isinstance(layer, Conv1D) and weight.dim() == 2
            values = weight.detach().t() if is_transposed else weight.detach()
            yield names.get_name(f"{prefix}.{name}", (".weight", ".bias")), values


def tensor_type(name: str, weight: torch.Tensor, precision: str) -> Any:
    """The gguf.GGMLQuantizationType in which a weight is stored.

    As in llama.cpp, vectors and position embeddings are in float32. In 4-bit files the token
    embedding, which is also the output layer, has 8 bits.
    """
    import gguf

    kinds = gguf.GGMLQuantizationType
    if weight.dim() == 1 or name.startswith("position_embd"):
        return kinds.F32
    if precision == "q4_0" and name.startswith(("token_embd", "output")):
        return kinds.Q8_0
    return kinds[precision.upper()]


def weight_error(source: Source, folder: Path) -> float:
    """The error of the worst tensor in the file; see Bounds.weight_error."""
    import gguf

    found = {
        tensor.name: gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        for tensor in gguf.GGUFReader(folder / FILE).tensors
    }
    return largest_error(found, {name: values.numpy() for name, values in iter_tensors(source)})


def open_folder(folder: Path) -> LlamaServer:
    """Open the file in llama.cpp."""
    return LlamaServer(folder / FILE)


def command(folder: Path, prompt: str, max_new_tokens: int, stop: Sequence[str]) -> str:
    """A shell command that completes a prompt with the exported file. stop: Stop strings."""
    request = {"prompt": prompt, "max_tokens": max_new_tokens, "temperature": 0}
    if stop:
        request["stop"] = list(stop)
    code = (
        "import xllamacpp\n"
        "settings = xllamacpp.CommonParams()\n"
        f"settings.model.path = {python_literal(str(folder / FILE))}\n"
        "settings.verbosity = 0\n"
        "server = xllamacpp.Server(settings)\n"
        f"response = server.handle_completions({python_literal(request)})\n"
        'print(response["choices"][0]["text"])'
    )
    return f"python -c '{code}'"


def python_literal(value: Any) -> str:
    """A value as a Python literal without apostrophes, which would end the shell's string."""
    return json.dumps(value, ensure_ascii=False).replace("'", r"\u0027")
