"""`onnx`: a graph with a key-value cache for ONNX Runtime, written by transformers' exporter."""

import contextlib
import importlib.util
import io
import json
import logging
import re
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from llmkit.export.runtime import Runtime, log_softmax
from llmkit.export.source import Source
from llmkit.io.atomic import disk_errors
from llmkit.model.load import evaluating

FILE = "model.onnx"


def unsupported(source: Source, precision: str) -> str | None:
    """The reason why the graph cannot be written; None if it can."""
    if importlib.util.find_spec("transformers.exporters") is None:
        return "this version of transformers has no exporter; install transformers 5.23 or later"
    return None


def write(source: Source, precision: str, folder: Path) -> None:
    """Write the graph, its weights (model.onnx.data), config and tokenizer."""
    from transformers.exporters import OnnxConfig, OnnxExporter
    from transformers.exporters.utils import decompose_for_generation

    ids = torch.zeros(2, 3, dtype=torch.long)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    with evaluating(source.model), quietly():
        stages = decompose_for_generation(source.model, inputs, multi_token_decode=True)
        program, _ = OnnxExporter().export_program(*stages["decode"], OnnxConfig(dynamic=True))
    rename_cache(program.graph)
    with disk_errors(folder / FILE):
        OnnxExporter.save_program(program, folder / FILE)
    source.model.config.save_pretrained(folder)
    source.model.generation_config.save_pretrained(folder)
    source.tokenizer.save_pretrained(folder)


def rename_cache(graph: Any) -> None:
    """Give keys and values the names that other tools expect: past_key_values.0.key, present.0.key.

    graph: onnx_ir.Graph.
    """
    for values, prefix in ((graph.inputs, "past_key_values"), (graph.outputs, "present")):
        for value in values:
            found = re.fullmatch(r".*past_key_values\.layers\.(\d+)\.(key|value)s", value.name)
            if found:
                value.name = f"{prefix}.{found[1]}.{found[2]}"


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Context in which the exporter prints no progress and logs no warnings about versions and
    missing operators."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(level)


def open_folder(folder: Path) -> "OnnxRuntime":
    """Open the graph in ONNX Runtime."""
    return OnnxRuntime(folder)


class OnnxRuntime(Runtime):
    """The graph in ONNX Runtime, on the CPU, one prompt at a time."""

    def __init__(self, folder: Path) -> None:
        import onnxruntime
        from transformers import AutoTokenizer

        self.tool = f"ONNX Runtime {version('onnxruntime')}"
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        self.session = onnxruntime.InferenceSession(
            folder / FILE, options, providers=["CPUExecutionProvider"]
        )
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        settings = json.loads((folder / "generation_config.json").read_text("utf-8"))
        self.end_tokens = sorted({settings["eos_token_id"], self.tokenizer.eos_token_id})
        self.outputs = [output.name for output in self.session.get_outputs()]
        self.empty_cache = {
            each.name: np.zeros((1, int(each.shape[1]), 0, int(each.shape[3])), np.float32)
            for each in self.session.get_inputs()
            if each.name.startswith("past_key_values")
        }

    def _forward(
        self, ids: list[int], cache: dict[str, np.ndarray]
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Logits of `ids` after the cached tokens, (len(ids), vocab_size), and the new cache."""
        start = next(iter(cache.values())).shape[2]
        positions = np.arange(start, start + len(ids), dtype=np.int64)[None]
        inputs = {"input_ids": np.array([ids], np.int64), "position_ids": positions, **cache}
        logits, *present = self.session.run(self.outputs, inputs)
        names = [name.replace("present", "past_key_values") for name in self.outputs[1:]]
        return logits[0], dict(zip(names, present, strict=True))

    def log_probabilities(self, ids: list[int], positions: list[int]) -> np.ndarray:
        logits, _ = self._forward(ids, self.empty_cache)
        return log_softmax(torch.from_numpy(logits[positions]))

    def complete(self, prompts: list[list[int]], max_new_tokens: int) -> list[list[int]]:
        return [self._complete(prompt, max_new_tokens) for prompt in prompts]

    def _complete(self, prompt: list[int], max_new_tokens: int) -> list[int]:
        completion, ids, cache = [], prompt, self.empty_cache
        for _ in range(max_new_tokens):
            logits, cache = self._forward(ids, cache)
            token = int(logits[-1].argmax())
            if token in self.end_tokens:
                break
            completion.append(token)
            ids = [token]
        return completion
