"""Folders for transformers."""

import json

import pytest
import torch
from safetensors.torch import load_file

from llmkit.export.safetensors_folder import weight_error
from llmkit.export.verification import problems


@pytest.mark.parametrize("kind", ["full", "lora"])
def test_a_float32_folder_is_bit_identical_to_the_model(request, export, kind):
    of_run = request.getfixturevalue(kind)
    written = export(of_run, "safetensors:float32")
    weights = load_file(written.folder / "model.safetensors")
    for name, weight in load_file(of_run.source.folder / "model.safetensors").items():
        assert torch.equal(weights[name], weight)
    assert problems(written.outputs, of_run.original.outputs) == []
    assert written.figures.identical_texts == 100
    assert written.figures.logit_difference < 1e-4
    assert weight_error(of_run.source, written.folder) == 0
    assert written.figures.score == pytest.approx(of_run.original.compare(
        of_run.original.outputs, 1).score)  # fmt: skip
    config = json.loads((written.folder / "config.json").read_text())
    assert config["n_ctx"] == config["n_positions"] == 128


@pytest.mark.parametrize(("precision", "dtype"), [("bf16", torch.bfloat16), ("fp16", torch.half)])
def test_half_precision_is_rounded_once(full, export, precision, dtype):
    written = export(full, f"safetensors:{precision}")
    weights = load_file(written.folder / "model.safetensors")
    for name, weight in load_file(full.source.folder / "model.safetensors").items():
        assert torch.equal(weights[name], weight.to(dtype))
    assert next(full.source.model.parameters()).dtype == torch.float32
    assert problems(written.outputs, full.original.outputs) == []
    assert 0 < written.figures.logit_error < 0.1
    assert 0 < weight_error(full.source, written.folder) < 0.003
