"""Versions of a model: what counts as a weight, and which prompts are timed."""

from types import SimpleNamespace

import pytest
import torch
from runs import forget_accelerator
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM

from llmkit.config.generation import Generation
from llmkit.config.schema import Evaluation
from llmkit.evaluation.evaluator import Evaluator
from llmkit.model.int8 import WEIGHTS_FILE, save_int8
from llmkit.model.load import load_model
from llmkit.runtime.devices import start_accelerator
from llmkit.workflows.compression import Scorer, num_weights, weight_bytes


def test_weights_that_are_not_zero_are_counted_once(tiny_gpt2):
    model, _ = load_model(tiny_gpt2)
    stored = load_file(tiny_gpt2 / "model.safetensors")
    assert "lm_head.weight" not in stored  # the matrix of the embedding
    assert num_weights(model) == sum(int(each.count_nonzero()) for each in stored.values())
    before = num_weights(model)
    with torch.no_grad():
        model.get_output_embeddings().weight[:10] = 0
    assert num_weights(model) == before - 10 * 32


def test_only_weight_files_have_a_size(tiny_gpt2, tmp_path):
    assert weight_bytes(tiny_gpt2) == (tiny_gpt2 / "model.safetensors").stat().st_size
    save_int8(*load_model(tiny_gpt2), tmp_path)
    assert weight_bytes(tmp_path) == (tmp_path / WEIGHTS_FILE).stat().st_size


@pytest.mark.parametrize("num_positions", [2, 64])
def test_a_model_with_a_short_context_is_timed(tiny_gpt2, tmp_path, num_positions):
    _, tokenizer = load_model(tiny_gpt2)
    config = AutoConfig.from_pretrained(tiny_gpt2, n_positions=num_positions)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    model, _ = load_model(tmp_path)
    forget_accelerator()
    accelerator = start_accelerator("cpu", "no", 0)
    evaluator = Evaluator(tokenizer, Evaluation(), Generation(), "padding_free", 0, accelerator)
    test = SimpleNamespace(prompts=[[7] * num_positions] * 3)
    assert Scorer(test, evaluator, "loss").speeds({"tiny": model}, batch_size=2)["tiny"] > 0
