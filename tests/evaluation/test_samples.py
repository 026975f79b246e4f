"""evaluation.samples: which validation rows are shown, and that training is unchanged."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rows import TEXT, write_jsonl
from runs import SHORT, four_steps, strict_lines
from stopped_runs import run_to_the_end, traces

from llmkit.evaluation.samples import (
    INCOMPLETE,
    MAX_WORD_TOKENS,
    decode_texts,
    evenly_spaced,
    split_point,
)
from llmkit.model.load import load_model


@given(st.integers(1, 1000), st.integers(1, 50))
def test_samples_are_different_rows_spread_over_all_rows(num_rows, num_samples):
    indices = evenly_spaced(num_rows, num_samples)
    assert len(indices) == min(num_rows, num_samples)
    assert indices[0] == 0
    assert set(indices) <= set(range(num_rows))
    gaps = [end - start for start, end in zip(indices, [*indices[1:], num_rows], strict=True)]
    assert min(gaps) >= 1
    assert max(gaps) - min(gaps) <= 1


def test_samples_are_the_scored_predictions_and_do_not_change_training(tiny_gpt2, tmp_path):
    settings = ("train.dropout=0.3", "evaluation.every=2", "generation.temperature=1.0")
    for count in (0, 3):
        recipe = four_steps(tiny_gpt2, tmp_path, *settings, f"evaluation.samples={count}")
        run_to_the_end(recipe, tmp_path / str(count))
    without, with_samples = traces(tmp_path / "0"), traces(tmp_path / "3")
    samples = [json.loads(line) for line in with_samples.pop("samples").splitlines()]
    assert without.pop("samples") == ""
    assert with_samples == without
    assert [(row["step"], row["id"]) for row in samples] == [
        (step, row) for step in (2, 4) for row in ("r0", "r1", "r2")
    ]
    predictions = {row["id"]: row for row in strict_lines(tmp_path / "3" / "predictions.jsonl")}
    best_step = json.loads((tmp_path / "3" / "metrics.json").read_text())["best_step"]
    for sample in samples:  # the test rows are the validation rows
        row = predictions[sample["id"]]
        assert (sample["prompt"], sample["references"]) == (row["prompt"], row["references"])
        if sample["step"] == best_step:
            assert sample["prediction"] == row["prediction"]


def test_samples_of_a_classifier_have_the_probability_of_their_label(tiny_gpt2, llmkit, tmp_path):
    rows = [{"text": f"{TEXT[i % 3]} {i}", "label": "ab"[i % 2]} for i in range(20)]
    path = write_jsonl(tmp_path / "rows.jsonl", rows)
    shown = llmkit(
        "finetune", "classify", f"model={tiny_gpt2}", f"data.train={path}", *SHORT,
        "evaluation.samples=2", "--run-dir", "run",
    )  # fmt: skip
    assert shown.exit_code == 0, shown.output
    samples = strict_lines(tmp_path / "run" / "samples.jsonl")
    assert len(samples) == 2
    for sample in samples:
        assert sample["prediction"] in "ab"
        assert 0.5 <= sample["probability"] <= 1
        assert f"prediction: {sample['prediction']} ({sample['probability']:.1%})" in shown.stdout


def test_samples_of_plain_text_continue_the_first_half_of_a_block(tiny_gpt2, llmkit, tmp_path):
    rows = [{"text": f"{number}: {TEXT[number % 3]}"} for number in range(30)]
    path = write_jsonl(tmp_path / "rows.jsonl", rows)
    losses = {}
    for count in (0, 3):
        run = tmp_path / f"run{count}"
        shown = llmkit(
            "finetune", "pretrain", f"model={tiny_gpt2}", f"data.train={path}", *SHORT,
            "train.dropout=0.2", "evaluation.every=1", f"evaluation.samples={count}", "--quiet",
            "data.packing=true", "train.warmup_steps=0", "generation.max_new_tokens=16",
            "--run-dir", run,
        )  # fmt: skip
        assert (shown.exit_code, shown.output) == (0, "")
        losses[count] = [line["loss"] for line in strict_lines(run / "metrics.jsonl")]
    assert losses[0] == losses[3]
    samples = strict_lines(run / "samples.jsonl")
    assert [row["step"] for row in samples] == [1, 1, 1, 2, 2, 2]
    texts = ["".join(row["text"].split()) for row in rows]
    for row in samples:
        shown = "".join(f"{row['prompt']}{row['references'][0]}".split())
        assert any(text.startswith(shown) for text in texts)
        assert len(row["prompt"]) > 10 < len(row["references"][0])
        assert row["prediction"]


@pytest.fixture(scope="module")
def tokenizer(tiny_gpt2):
    return load_model(str(tiny_gpt2))[1]


@given(st.text(st.sampled_from("a é船👩🏽‍🌾"), min_size=1), st.integers(2, 60))
def test_a_prompt_of_plain_text_ends_before_a_word_or_with_a_character(tokenizer, text, length):
    block = tokenizer.encode(text)[:length]
    half = max(1, len(block) // 2)
    cut = split_point(block, tokenizer)
    assert max(0, half - MAX_WORD_TOKENS) < cut <= half
    before, after = tokenizer.decode(block[:cut]), tokenizer.decode(block[cut:])
    if half > 4:
        assert not before.endswith(INCOMPLETE)
    if " " in tokenizer.decode(block[max(1, half - MAX_WORD_TOKENS + 1) : half]):
        assert after.startswith(" ")


def test_token_ids_are_split_at_end_of_text(tokenizer):
    end, one, two = tokenizer.eos_token_id, tokenizer.encode("one"), tokenizer.encode(" two")
    assert decode_texts([end, *one, end, *two], tokenizer) == ["", "one", "", "two"]
    assert decode_texts([], tokenizer) == [""]
