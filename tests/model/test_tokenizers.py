"""Tokenizers of other kinds than GPT-2's: bytes per token, and the end-of-text token."""

from collections import Counter
from functools import partial

import hypothesis
import pytest
import torch
from hypothesis import strategies as st
from rows import TEXT, write_jsonl
from runs import SHORT
from tokenizers import (
    BertWordPieceTokenizer,
    ByteLevelBPETokenizer,
    SentencePieceBPETokenizer,
    SentencePieceUnigramTokenizer,
)
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from llmkit.config.schema import Scratch
from llmkit.constants import END_OF_TEXT
from llmkit.data.bpe import MAX_WORD_BYTES, train_bpe
from llmkit.data.encode import EncodingOptions, encode_text
from llmkit.data.encoded_rows import encode_with_bytes
from llmkit.evaluation.evaluation_set import encode_test_set
from llmkit.model.load import load_model, save_model, scratch_model
from llmkit.scoring import testset
from llmkit.tasks import TASKS

TEXTS = [*TEXT, "北京市 第7号很好", "Größe: 3 €\n\n\tfür alle  ", "👍🏽 ok"]


def trained(kind, **settings):
    tokenizer = kind()
    tokenizer.train_from_iterator(TEXTS, vocab_size=300, show_progress=False, **settings)
    return tokenizer._tokenizer


@pytest.fixture(scope="module")
def tokenizers():
    return {
        "byte-level": trained(ByteLevelBPETokenizer),
        "WordPiece": trained(BertWordPieceTokenizer),
        "Unigram": trained(SentencePieceUnigramTokenizer, unk_token="<unk>"),
        "SentencePiece BPE": trained(SentencePieceBPETokenizer),
    }


KINDS = ("byte-level", "WordPiece", "Unigram", "SentencePiece BPE")


@pytest.mark.parametrize("kind", KINDS)
@hypothesis.settings(max_examples=60)
@hypothesis.given(st.one_of(st.sampled_from(TEXTS), st.text(max_size=40)))
def test_the_bytes_of_all_tokens_add_up_to_those_of_the_text(tokenizers, kind, text):
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokenizers[kind])
    num_tokens = len(tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids)
    (ids,), (sizes,) = encode_with_bytes([text], tokenizer)
    assert [ids] == encode_text([text], tokenizer)
    assert len(sizes) == num_tokens + 1  # end-of-text
    assert sizes.sum() == len(text.encode())
    assert (sizes >= 0).all()


def make_folder(tokenizer, folder, **special):
    """A GPT-2 with random weights for the tokenizer."""
    torch.manual_seed(0)
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)
    shape = {"n_layer": 1, "n_head": 2, "n_embd": 16, "n_positions": 128}
    GPT2LMHeadModel(GPT2Config(**shape, vocab_size=len(wrapped))).save_pretrained(folder)
    wrapped.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("packing", [False, True])
def test_bits_per_byte_count_every_byte_of_the_texts_once(tokenizers, kind, packing, tmp_path):
    _, tokenizer = load_model(str(make_folder(tokenizers[kind], tmp_path / "model")))
    rows = [{"id": str(i), "text": text, "where": str(i)} for i, text in enumerate([*TEXTS, " "])]
    test = testset.TestSet.of(rows, TASKS["pretrain"], Counter())
    options = EncodingOptions(max_length=16, packing=packing)
    evaluation_set = encode_test_set(test, tokenizer, options, max_new_tokens=1)
    sizes = evaluation_set.num_bytes
    assert len(sizes) == len(evaluation_set.encoded) > len(TEXTS)
    assert sizes.sum() == sum(len(text.encode()) for text in TEXTS)


@pytest.mark.parametrize(
    ("kind", "special", "end", "is_new"),
    [
        ("WordPiece", {"unk_token": "[UNK]", "sep_token": "[SEP]"}, "[SEP]", False),
        ("WordPiece", {"unk_token": "[UNK]"}, "[SEP]", False),
        ("Unigram", {"unk_token": "<unk>"}, END_OF_TEXT, True),
        ("Unigram", {"unk_token": "<unk>", "eos_token": "</s>"}, "</s>", True),
        ("byte-level", {}, END_OF_TEXT, True),
    ],
)
def test_a_tokenizer_without_end_of_text_gets_one_that_a_saved_model_keeps(
    tokenizers, kind, special, end, is_new, tmp_path
):
    folder = make_folder(tokenizers[kind], tmp_path / "model", **special)
    if "eos_token" in special:  # named, but not in the model's vocabulary
        GPT2LMHeadModel(
            GPT2Config(n_layer=1, n_head=2, n_embd=16, vocab_size=tokenizers[kind].get_vocab_size())
        ).save_pretrained(folder)
    num_before = GPT2Config.from_pretrained(folder).vocab_size
    model, tokenizer = load_model(str(folder))
    assert tokenizer.eos_token == end
    assert tokenizer.eos_token_id not in (None, tokenizer.unk_token_id)
    assert model.config.vocab_size == num_before + is_new == len(tokenizer)
    if is_new:
        weights = model.transformer.wte.weight.data
        torch.testing.assert_close(weights[-1], weights[:-1].mean(0))
    save_model(model, tokenizer, tmp_path / "saved")
    again, its_tokenizer = load_model(str(tmp_path / "saved"))
    assert its_tokenizer.eos_token_id == tokenizer.eos_token_id
    torch.testing.assert_close(again.state_dict(), model.state_dict(), rtol=0, atol=0)


def test_a_wordpiece_model_is_trained_scored_and_loaded(llmkit, tokenizers, tmp_path):
    make_folder(tokenizers["WordPiece"], tmp_path / "model", unk_token="[UNK]")
    write_jsonl(tmp_path / "rows.jsonl", [{"text": f"{TEXT[i % 3]} {i}"} for i in range(40)])
    result = llmkit(
        "finetune", "pretrain", "model=model", "data.train=rows.jsonl", *SHORT, "--run-dir", "run"
    )
    assert result.exit_code == 0, result.output
    assert "end with the tokenizer's [SEP]" in result.output
    result = llmkit("evaluate", "run")
    assert result.exit_code == 0, result.output
    result = llmkit("generate", "--model", "run", "--prompt", "The", "--max-new-tokens", 2)
    assert result.exit_code == 0, result.output


def test_a_bpe_for_text_without_spaces_has_no_overlong_tokens():
    shape = Scratch(n_layer=1, n_head=1, n_embd=8, vocab_size=300)
    _, tokenizer = scratch_model(shape, partial(train_bpe, ["ab" * 3_000, "北京" * 1_000]))
    tokens = tokenizer.get_vocab()
    assert 16 < max(map(len, tokens.keys() - {END_OF_TEXT})) <= MAX_WORD_BYTES
    assert tokenizer.decode(tokenizer("ab" * 3_000).input_ids) == "ab" * 3_000
