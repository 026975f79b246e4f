"""Models from random weights, and folders as they are saved."""

import json
import shutil
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import ByteLevelBPETokenizer
from transformers import PreTrainedTokenizerFast

from llmkit.config.schema import Scratch
from llmkit.data.bpe import train_bpe
from llmkit.errors import UserError
from llmkit.model.load import (
    EMBEDDED_MODEL,
    check_max_length,
    commit_of,
    evaluating,
    find_model,
    load_model,
    save_model,
    scratch_model,
    weights_fingerprint,
)


@pytest.mark.parametrize("initializer_range", [0.02, 0.2])
def test_a_scratch_model_has_the_shape_and_spread_asked_for(initializer_range):
    torch.manual_seed(0)
    shape = Scratch(
        n_layer=2, n_head=2, n_embd=64, n_positions=32, vocab_size=300,
        initializer_range=initializer_range,
    )  # fmt: skip
    texts = [f"the ferry {n} left at noon" for n in range(99)]
    model, tokenizer = scratch_model(shape, partial(train_bpe, texts))
    assert (model.config.n_layer, model.config.n_head, model.config.n_embd) == (2, 2, 64)
    assert model.transformer.wpe.weight.shape == (32, 64)
    assert model.transformer.wte.weight.shape == (len(tokenizer), 64)
    assert 257 < len(tokenizer) <= 300
    spread = model.transformer.wte.weight.std().item()
    assert spread == pytest.approx(initializer_range, rel=0.05)


def no_bpe(vocab_size):
    raise AssertionError("the tokenizer of another model needs no training")


@pytest.mark.parametrize("given", ["folder", "embedded"])
def test_a_scratch_model_takes_the_tokenizer_of_another_model(given, tiny_gpt2, tmp_path):
    folder = tmp_path / "tokenizer alone"
    load_model(tiny_gpt2)[1].save_pretrained(folder)
    name = str(folder) if given == "folder" else given
    shape = Scratch(n_layer=1, n_head=1, n_embd=8, n_positions=16, tokenizer=name)
    model, tokenizer = scratch_model(shape, no_bpe)
    other = load_model(tiny_gpt2 if given == "folder" else given)[1]
    assert tokenizer.get_vocab() == other.get_vocab()
    text = "The ferry left at noon.\n"
    assert tokenizer(text).input_ids == other(text).input_ids
    assert model.config.vocab_size == len(other)
    assert model.config.eos_token_id == other.eos_token_id
    assert tokenizer.model_max_length == 16
    save_model(model, tokenizer, tmp_path / "saved")
    again, tokenizer = load_model(tmp_path / "saved")
    assert tokenizer(text).input_ids == other(text).input_ids
    assert weights_fingerprint(again) == weights_fingerprint(model)


def test_a_tokenizer_without_end_of_text_gets_one_with_an_embedding(tmp_path):
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(["the ferry left"], vocab_size=300, show_progress=False)
    PreTrainedTokenizerFast(tokenizer_object=bpe._tokenizer).save_pretrained(tmp_path)
    shape = Scratch(n_layer=1, n_head=1, n_embd=8, n_positions=16, tokenizer=str(tmp_path))
    model, tokenizer = scratch_model(shape, no_bpe)
    assert tokenizer.eos_token == "<|endoftext|>"
    assert tokenizer.eos_token_id == model.config.vocab_size - 1


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (None, "model.scratch.tokenizer: FOLDER: no such folder"),
        ({}, "model.scratch.tokenizer: FOLDER: no tokenizer in it"),
        ({"tokenizer.json": "{}"}, "model.scratch.tokenizer: FOLDER: damaged"),
        ({"tokenizer.json": '{"auto_map": {"A": "x.X"}}'}, "FOLDER/tokenizer.json: auto_map names"),
        ({"run.py": ""}, "model.scratch.tokenizer: FOLDER: it contains a program"),
    ],
)
def test_a_folder_without_a_plain_tokenizer_is_refused(files, message, tmp_path):
    folder = tmp_path / "words"
    if files is not None:
        folder.mkdir()
    for name, content in (files or {}).items():
        (folder / name).write_text(content)
    with pytest.raises(UserError) as error:
        scratch_model(Scratch(tokenizer=str(folder)), no_bpe)
    assert str(error.value).replace(str(folder), "FOLDER").startswith(message)


def test_a_saved_model_has_the_permissions_of_other_new_files(tiny_gpt2, tmp_path):
    save_model(*load_model(str(tiny_gpt2)), tmp_path / "model")
    (tmp_path / "other").touch()
    permissions = {path.stat().st_mode for path in (tmp_path / "model").iterdir()}
    assert permissions == {(tmp_path / "other").stat().st_mode}


def test_a_fingerprint_changes_with_a_single_weight(tiny_gpt2):
    model, _ = load_model(tiny_gpt2)
    before = weights_fingerprint(model)
    assert weights_fingerprint(load_model(tiny_gpt2)[0]) == before
    with torch.no_grad():
        next(model.parameters())[0, 0] += 1e-3
    assert weights_fingerprint(model) != before


def test_names_of_models_lead_to_their_folders(tiny_gpt2, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("model.gguf").touch()
    assert find_model("embedded") == EMBEDDED_MODEL
    assert find_model(str(tiny_gpt2)) == tiny_gpt2
    with pytest.raises(UserError, match="model: runs/none: no such folder; check the path"):
        find_model("runs/none")
    for name in (tiny_gpt2 / "config.json", str(tiny_gpt2 / "config.json"), "model.gguf"):
        with pytest.raises(UserError, match="is a file; name the folder of a model"):
            find_model(name)
    assert commit_of(Path("cache/snapshots/607a30d")) == "607a30d"
    assert commit_of(tiny_gpt2) is None


def test_rows_longer_than_the_positions_are_refused(tiny_gpt2):
    model, _ = load_model(tiny_gpt2)
    check_max_length(128, model)
    with pytest.raises(UserError, match=r"data\.max_length: 129 exceeds the model's 128 positions"):
        check_max_length(129, model)


@pytest.mark.parametrize("is_training", [True, False])
def test_evaluating_restores_the_mode_of_the_model(is_training):
    model = torch.nn.Dropout().train(is_training)
    with evaluating(model):
        assert not model.training
    assert model.training == is_training


def test_a_folder_that_lacks_a_weight_or_mixes_two_models_is_refused(tiny_gpt2, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(tiny_gpt2, folder)
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in weights if name.endswith("h.1.ln_2.weight"))
    save_file({k: v for k, v in weights.items() if k != name}, folder / "model.safetensors")
    with pytest.raises(UserError, match=r"its weights lack .*h\.1\.ln_2\.weight"):
        load_model(folder)
    save_file(weights, folder / "model.safetensors")
    for file in ("tokenizer.json", "tokenizer_config.json"):
        content = json.loads((EMBEDDED_MODEL / file).read_text("utf-8"))
        (folder / file).write_text(json.dumps(content), "utf-8")
    with pytest.raises(UserError, match="this folder mixes files of two models"):
        load_model(folder)
