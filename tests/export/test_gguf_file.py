"""GGUF files: read back by the gguf package, and run by llama.cpp."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

gguf = pytest.importorskip("gguf")
pytest.importorskip("xllamacpp")

from dataclasses import replace  # noqa: E402

from exported import original_of, tuned_run  # noqa: E402

from llmkit.export.formats import FORMATS  # noqa: E402
from llmkit.export.gguf_file import FILE, command, unsupported  # noqa: E402
from llmkit.export.verification import exceeded, problems  # noqa: E402


def value_of(reader, key):
    return reader.fields[key].contents()


@pytest.mark.parametrize("kind", ["full", "lora"])
@pytest.mark.parametrize("precision", FORMATS["gguf"].precisions)
def test_llama_cpp_computes_the_same(request, export, kind, precision):
    of_run = request.getfixturevalue(kind)
    written = export(of_run, f"gguf:{precision}")
    assert problems(written.outputs, of_run.original.outputs) == []
    assert exceeded(written.figures, FORMATS["gguf"].precisions[precision]) == []
    assert written.outputs.tool.startswith("llama.cpp ")


def test_the_file_holds_the_weights_in_the_names_and_layout_of_llama_cpp(full, export):
    reader = gguf.GGUFReader(export(full, "gguf:f32").folder / FILE)
    tensors = {tensor.name: tensor.data for tensor in reader.tensors}
    weights = {name: w.numpy() for name, w in full.source.model.state_dict().items()}
    for index in range(2):
        for name, of_model in (
            ("attn_qkv", "attn.c_attn"), ("attn_output", "attn.c_proj"),
            ("ffn_up", "mlp.c_fc"), ("ffn_down", "mlp.c_proj"),
        ):  # fmt: skip
            expected = weights[f"transformer.h.{index}.{of_model}.weight"].T
            assert np.array_equal(tensors[f"blk.{index}.{name}.weight"], expected)
    assert np.array_equal(tensors["token_embd.weight"], weights["transformer.wte.weight"])
    assert np.array_equal(tensors["position_embd.weight"], weights["transformer.wpe.weight"])
    assert "output.weight" not in tensors  # it is the embedding
    assert value_of(reader, "gpt2.context_length") == 128
    assert value_of(reader, "tokenizer.ggml.pre") == "gpt-2"
    assert value_of(reader, "tokenizer.ggml.eos_token_id") == full.source.tokenizer.eos_token_id


@pytest.mark.parametrize(("precision", "most"), [("q8_0", 0.01), ("q4_0", 0.12)])
def test_quantized_weights_are_close_to_the_weights(full, export, precision, most):
    reader = gguf.GGUFReader(export(full, f"gguf:{precision}").folder / FILE)
    (found,) = (each for each in reader.tensors if each.name == "blk.1.ffn_up.weight")
    assert found.tensor_type.name == precision.upper()
    weights = full.source.model.state_dict()["transformer.h.1.mlp.c_fc.weight"].numpy().T
    difference = gguf.quants.dequantize(found.data, found.tensor_type) - weights
    assert 0 < np.sqrt(np.square(difference).mean() / np.square(weights).mean()) < most


def test_a_model_that_llama_cpp_does_not_know_is_refused(full):
    model = full.source.model
    for key, value in (
        ("scale_attn_by_inverse_layer_idx", True), ("scale_attn_weights", False),
        ("activation_function", "relu"),
    ):  # fmt: skip
        before = getattr(model.config, key)
        setattr(model.config, key, value)
        try:
            assert key in unsupported(full.source, "f16")
        finally:
            setattr(model.config, key, before)
    assert unsupported(full.source, "f16") is None


def test_another_tokenizer_is_refused(full):
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"<|endoftext|>": 0, "a": 1}, unk_token="a"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<|endoftext|>")
    assert "WordLevel" in unsupported(replace(full.source, tokenizer=tokenizer), "f16")


def test_widths_that_blocks_do_not_fit_are_refused_for_quantized_files(full):
    config = full.source.model.config
    before, config.n_inner = config.n_inner, 100
    try:
        assert "not multiples" in unsupported(full.source, "q4_0")
        assert unsupported(full.source, "f16") is None
    finally:
        config.n_inner = before


def test_the_printed_command_completes_a_prompt_with_the_file(full, export, tmp_path):
    written = export(full, "gguf:f32")
    prompt = f'It\'s "{full.original.test.examples[0].prompt_text}" \\n $HOME 🙂'
    server = FORMATS["gguf"].open_folder(written.folder)
    (expected,) = server.complete([server.tokenize(prompt)], 4)
    shell_command = command(written.folder, prompt, 4, ["\n'"])
    assert r'"stop": ["\n\u0027"]' in shell_command
    assert shell_command.startswith("python -c 'import xllamacpp\n")
    python = Path(sys.executable).parent
    completed = subprocess.run(
        shell_command, shell=True, capture_output=True, text=True, cwd=tmp_path,
        env={**os.environ, "PATH": f"{python}{os.pathsep}{os.environ['PATH']}"},
    )  # fmt: skip
    assert completed.returncode == 0, completed.stderr
    assert completed.stdout == f"{server.decode(expected)}\n"
    assert '"stop"' not in command(written.folder, prompt, 4, [])


def test_llama_cpp_renders_the_prompts_of_a_chat(tiny_gpt2, tmp_path):
    of_run = original_of(tuned_run("chat", tiny_gpt2, tmp_path))
    folder = tmp_path / "export"
    folder.mkdir()
    FORMATS["gguf"].write(of_run.source, "f16", folder)
    server = FORMATS["gguf"].open_folder(folder)
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": " Who keeps a goat? "},
        {"role": "assistant", "content": "Mara."},
        {"role": "user", "content": "Where?"},
    ]
    for of_chat in (messages, messages[1:], messages[:2]):
        expected = of_run.source.tokenizer.apply_chat_template(of_chat, tokenize=False)
        assert server._request("/apply-template", messages=of_chat)["prompt"] == expected
