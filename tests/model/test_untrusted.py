"""Model folders from untrusted sources: refused in one line, before anything is run or loaded."""

import ast
import json
import os
import pickle
import shutil
from pathlib import Path

import pytest
from transformers import GPT2Config

import llmkit
from llmkit.errors import UserError
from llmkit.model.load import load_model

CODE_KEYS = ("auto_map", "custom_generate", "custom_pipelines", "trust_remote_code")


@pytest.fixture
def folder(tiny_gpt2, tmp_path):
    copy = tmp_path / "model"
    shutil.copytree(tiny_gpt2, copy)
    return copy


class Canary:
    """A pickle that, opened, makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def edit(path, change):
    content = json.loads(path.read_text("utf-8"))
    change(content)
    path.write_text(json.dumps(content), "utf-8")


@pytest.mark.parametrize("file", ["config.json", "generation_config.json", "tokenizer_config.json"])
@pytest.mark.parametrize("key", CODE_KEYS)
@pytest.mark.parametrize("depth", [0, 2])
def test_a_json_key_that_names_code_is_refused(folder, file, key, depth):
    def plant(content):
        for _ in range(depth):
            content = content.setdefault("more", {})
        content[key] = {"AutoModel": "evil.Model"}

    edit(folder / file, plant)
    with pytest.raises(UserError, match=f"{key} names code to be run"):
        load_model(str(folder))


@pytest.mark.parametrize("name", ["modeling_gpt2.py", "custom.so", "x.pyc", "generate.py"])
def test_a_model_folder_with_a_program_is_refused(folder, name):
    (folder / name).write_text("import os")
    with pytest.raises(UserError, match="it contains a program"):
        load_model(str(folder))


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_pickle_under_another_name_is_never_opened(folder, tmp_path, name):
    canary = tmp_path / "canary"
    (folder / name).write_bytes(pickle.dumps(Canary(canary)))
    with pytest.raises(UserError):
        load_model(str(folder))
    assert not canary.exists()


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "weights.pth", "model.pkl"])
def test_pickled_weights_alone_are_refused(folder, tmp_path, name):
    canary = tmp_path / "canary"
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(pickle.dumps(Canary(canary)))
    with pytest.raises(UserError, match="pickle"):
        load_model(str(folder))
    assert not canary.exists()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", b"[" * 200_000),
        ("config.json", b'{"a":' * 100_000),
        ("tokenizer_config.json", b"[1, 2]"),
        ("generation_config.json", b"\xff\xfe"),
        ("tokenizer.json", b"{" + b" " * 2**20),
        ("vocab.json", b'"word"'),
        ("config.json", b'{"model_type": "gpt2"' + b" " * 2**23 + b"}"),
    ],
)
def test_invalid_or_gigantic_json_of_a_model_is_refused(folder, name, content):
    (folder / name).write_bytes(content)
    with pytest.raises(UserError, match=f"{name}: "):
        load_model(str(folder))


@pytest.mark.parametrize(
    "header",
    [
        (2**63).to_bytes(8, "little") + b"{}",
        (2**40).to_bytes(8, "little") + b"{}",
        (8).to_bytes(8, "little") + b"[[[[[[[[",
        (2).to_bytes(8, "little") + b"{}" + b"x" * 100,
        b"",
        b"\x80\x04",
    ],
)
def test_an_absurd_safetensors_header_is_refused(folder, header):
    (folder / "model.safetensors").write_bytes(header)
    with pytest.raises(UserError, match="model: "):
        load_model(str(folder))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("n_layer", 10**9), ("n_embd", 2**31), ("vocab_size", 10**12), ("n_positions", 10**11),
        ("n_inner", 10**10), ("n_layer", "many"), ("n_embd", -32), ("n_embd", None),
        ("vocab_size", 1e300), ("n_layer", True), ("hidden_size", 10**6), ("num_labels", 10**9),
        ("num_hidden_layers", 10**6), ("max_position_embeddings", 10**12),
    ],
)  # fmt: skip
def test_a_config_that_asks_for_more_weights_than_the_files_hold_is_refused(folder, key, value):
    edit(folder / "config.json", lambda content: content.update({key: value}))
    with pytest.raises(UserError, match=r"damaged \((config.json asks for|invalid sizes)"):
        load_model(str(folder))


@pytest.mark.parametrize("file", ["model.gguf", "model.onnx", "model.bin", "adapter_config.json"])
def test_an_export_for_another_program_is_called_that(folder, file):
    (folder / "model.safetensors").unlink()
    for name in (file, "verification.json"):
        (folder / name).write_text("{}")
    with pytest.raises(UserError, match="an export for another program; name its run"):
        load_model(str(folder))


@pytest.mark.parametrize("weight_map", [[], None, 3, "all", [["a"]]])
def test_a_weight_index_without_file_names_is_refused(folder, weight_map):
    content = {"metadata": {}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="points outside the folder"):
        load_model(str(folder))


def test_config_sizes_under_alias_names_are_accepted(folder):
    def rename(content):
        for other, name in GPT2Config.attribute_map.items():
            content[other] = content.pop(name)

    edit(folder / "config.json", rename)
    assert load_model(str(folder))[0].config.n_embd == 32


def test_a_model_with_cross_attention_is_refused(folder):
    edit(folder / "config.json", lambda content: content.update(add_cross_attention=True))
    with pytest.raises(UserError, match="cross-attention needs an encoder"):
        load_model(str(folder))


@pytest.mark.parametrize("part", ["../secret.safetensors", "/etc/passwd", "a/../../b", 7, []])
def test_a_weight_index_that_leads_out_of_the_folder_is_refused(folder, part):
    content = {"metadata": {}, "weight_map": {"transformer.wte.weight": part}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="points outside the folder"):
        load_model(str(folder))


def test_a_fifo_in_a_model_folder_is_refused_without_reading_it(folder):
    (folder / "vocab.json").unlink(missing_ok=True)
    os.mkfifo(folder / "vocab.json")  # to read it would never end
    with pytest.raises(UserError, match="not a plain file"):
        load_model(str(folder))


def test_the_package_has_no_pickle_and_no_eval():
    banned = {"pickle", "eval", "exec", "shell", "torch.load", "yaml.load"}
    for path in Path(llmkit.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call):
                assert ast.unparse(node.func) not in banned, path
                for keyword in node.keywords:
                    if keyword.arg in ("shell", "trust_remote_code"):
                        assert ast.unparse(keyword.value) == "False", path
            if isinstance(node, ast.Import | ast.ImportFrom):
                assert "pickle" not in ast.unparse(node), path
