"""Pretraining from prepared text."""

import json

import pytest
from runs import SHORT, read_metrics, with_timings
from texts import open_texts, write_texts

from llmkit.data import bpe
from llmkit.workflows import prepare
from llmkit.workflows.prepare import total_of


@pytest.fixture(autouse=True)
def cache_folder(tmp_path, monkeypatch):
    cache = with_timings(tmp_path / "cache")
    monkeypatch.setenv("LLMKIT_CACHE", str(cache))
    return cache


def losses_of(run):
    return [line["loss"] for line in read_metrics(run)[0]]


def test_a_run_prepares_its_documents_and_the_next_run_reuses_them(llmkit, tmp_path, tiny_gpt2):
    path = write_texts(tmp_path / "texts.jsonl")
    assert llmkit(
        "prepare", "pretrain", f"data.train={path}", f"model={tiny_gpt2}", "--output", "tokens"
    ).exit_code == 0  # fmt: skip
    for source, run, note in (
        (path, "first", "tokenized in"),
        ("tokens", "second", "(encoded rows from the cache)"),
    ):
        result = llmkit(
            "finetune", "pretrain", f"data.train={source}", f"model={tiny_gpt2}", *SHORT,
            "data.max_length=16", "--run-dir", run,
        )  # fmt: skip
        assert result.exit_code == 0, result.stderr
        assert note in result.stdout
    runs = [tmp_path / name for name in ("first", "second")]
    records = [json.loads((run / "run.json").read_text()) for run in runs]
    hashes = [
        {split: of["tokens_sha256"] for split, of in record["data"].items()} for record in records
    ]
    assert losses_of(runs[0]) == losses_of(runs[1])
    assert hashes[0] == hashes[1]
    scores = [json.loads((run / "metrics.json").read_text())["scores"] for run in runs]
    assert scores[0] == scores[1]
    assert any("the same as an earlier row" in text for text in records[0]["findings"])


def test_a_warning_names_held_out_documents_of_many_tokens(
    llmkit, tmp_path, tiny_gpt2, monkeypatch
):
    path = write_texts(tmp_path / "texts.jsonl")
    recipe = ("pretrain", f"model={tiny_gpt2}", "data.max_length=16")
    monkeypatch.setattr(prepare, "MANY_TOKENS", 0)
    warned = llmkit("prepare", *recipe, f"data.train={path}", "--output", "tokens").stderr
    counts = json.loads((tmp_path / "tokens" / "manifest.json").read_text())["held_out"]
    for split, of in counts.items():
        assert f"warning: {split}: {of['documents']} documents with" in " ".join(warned.split())
        assert f"evaluation.{split}_rows" in warned
    per_document = max(of["tokens"] // of["documents"] for of in counts.values())
    monkeypatch.setattr(prepare, "MANY_TOKENS", per_document)
    train = ("finetune", *recipe, "data.train=tokens", *SHORT, "data.max_length=16")
    few = ("evaluation.validation_rows=1", "evaluation.test_rows=1")
    assert "set evaluation.test_rows" in llmkit(*train, *few[:1], "evaluation.test_rows=2").stderr
    assert "memory" not in llmkit(*train, *few).stderr


def test_the_tokenizer_of_a_scratch_model_is_trained_once(llmkit, tmp_path, monkeypatch):
    path, trained = write_texts(tmp_path / "texts.jsonl"), []
    train = bpe.train_bpe
    monkeypatch.setattr(
        bpe, "train_bpe", lambda texts, size: trained.append(size) or train(texts, size)
    )
    shape = ("model.scratch.n_layer=1", "model.scratch.n_head=1", "model.scratch.n_embd=8",
             "model.scratch.vocab_size=300", "model.name=scratch")  # fmt: skip
    assert llmkit("prepare", "pretrain", f"data.train={path}", *shape).exit_code == 0
    result = llmkit("finetune", "pretrain", f"data.train={path}", *shape, *SHORT)
    assert result.exit_code == 0, result.stderr
    assert trained == [300]
    assert "tokenized in" not in result.stdout


def test_the_total_comes_from_the_limit_or_the_file_sizes(tmp_path):
    import pandas

    path = write_texts(tmp_path / "texts.jsonl")
    assert total_of(open_texts(path)["train"]) == (path.stat().st_size // prepare.MB, "MB")
    assert total_of(open_texts(path, limit=50)["train"]) == (50, "documents")
    parquet = tmp_path / "texts.parquet"
    pandas.read_json(path, lines=True).to_parquet(parquet)
    assert total_of(open_texts(parquet)["train"]) == (60, "documents")
    compressed = tmp_path / "texts.jsonl.gz"
    import gzip

    compressed.write_bytes(gzip.compress(path.read_bytes()))
    assert total_of(open_texts(compressed)["train"]) == (None, "documents")
