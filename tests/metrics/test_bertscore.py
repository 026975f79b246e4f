"""BERTScore with a small encoder, beside the formula computed pair by pair."""

import json

import numpy as np
import pytest
import torch
from rows import TEXT, summary_rows, write_jsonl
from transformers import AutoModel, AutoTokenizer, BertConfig, BertModel, BertTokenizer

from llmkit.errors import UserError
from llmkit.metrics import bertscore, compute, row_statistics
from llmkit.metrics.prediction import Prediction

WORDS = sorted({word.strip(".,?").lower() for text in TEXT for word in text.split()})


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """A BERT of twelve narrow layers, random weights."""
    folder = tmp_path_factory.mktemp("bert")
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", ",", "?", *WORDS]
    BertTokenizer(vocab={word: i for i, word in enumerate(vocabulary)}).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=16, num_hidden_layers=12, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=40,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    return folder


def by_hand(prediction: str, reference: str, folder, layer: int) -> float:
    """The paper's formulas, of one pair alone."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder).eval()
    vectors, counts = [], []
    for text in (prediction, reference):
        ids = tokenizer(text)["input_ids"][:38]
        with torch.no_grad():
            states = model(torch.tensor([ids]), output_hidden_states=True).hidden_states[layer][0]
        vectors.append((states / states.norm(dim=1, keepdim=True)).numpy())
        special = {tokenizer.cls_token_id, tokenizer.sep_token_id}
        counts.append(np.array([token not in special for token in ids]))
    likeness = vectors[0] @ vectors[1].T
    precision = likeness.max(1)[counts[0]].mean()
    recall = likeness.max(0)[counts[1]].mean()
    return 100 * 2 * precision * recall / (precision + recall)


def test_bertscore_is_the_papers_formula_and_the_best_reference_counts(encoder):
    name = f"bertscore:{bertscore.check(str(encoder), None)}"
    assert name.endswith(":9")
    predictions = ["mara waited on the pier", "the dog slept", TEXT[0]]
    references = [["mara linden waited", "the ferry left"], ["who opened the mill?"], [TEXT[1]]]
    rows = row_statistics(name, list(map(Prediction, predictions)), references)[:, 0]
    expected = [
        max(by_hand(said, text, encoder, 9) for text in accepted)
        for said, accepted in zip(predictions, references, strict=True)
    ]
    assert rows == pytest.approx(expected, rel=1e-5)
    assert compute(name, predictions, references)["bertscore"] == pytest.approx(np.mean(expected))


def test_bertscore_of_the_same_text_is_100_and_of_no_text_0(encoder):
    name = f"bertscore:{encoder}:3"
    long = " ".join(WORDS * 5)  # more than the encoder can read
    predictions = [Prediction(TEXT[0]), Prediction(""), Prediction(long, votes=[long, "a ferry"])]
    rows = row_statistics(name, predictions, [[TEXT[0]], ["the dog"], [long]])[:, 0]
    assert rows == pytest.approx([100, 0, 100])


def test_bertscore_is_added_to_the_scores_of_the_task(llmkit, tiny_gpt2, encoder, tmp_path):
    write_jsonl(tmp_path / "rows.jsonl", summary_rows(40))
    result = llmkit(
        "evaluate", tiny_gpt2, "--recipe", "summarize", "data.train=rows.jsonl",
        f"evaluation.bertscore.model={encoder}", "evaluation.test_rows=3", "data.max_length=128",
        "generation.max_new_tokens=4", "--output", "scores",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "layer 9, no idf, not rescaled" in result.output
    scores = json.loads((tmp_path / "scores" / "metrics.json").read_text())["scores"]
    assert 0 < scores["lead-3"]["bertscore"] < 100


@pytest.mark.parametrize(
    ("task", "settings", "expected"),
    [
        (
            "summarize",
            ("model=nowhere",),
            "evaluation.bertscore.model: nowhere: not a model folder",
        ),
        ("classify", ("model={encoder}",), "evaluation.bertscore: classify generates no texts"),
        ("qa", ("model={encoder}", "layer=13"), "evaluation.bertscore.layer: 13, but"),
        ("qa", ("model={tiny_gpt2}", "layer=1"), "gpt2 cannot be used as an encoder"),
    ],
)
def test_bertscore_settings_that_cannot_work_are_refused(
    llmkit, encoder, tiny_gpt2, task, settings, expected
):
    folders = {"encoder": encoder, "tiny_gpt2": tiny_gpt2}
    given = (f"evaluation.bertscore.{each.format(**folders)}" for each in settings)
    result = llmkit("evaluate", "embedded", "--recipe", task, *given)
    assert result.exit_code == 2
    assert expected in result.stderr


def test_bertscore_needs_a_layer_if_none_is_recommended(encoder, tmp_path):
    BertModel(
        BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=3, num_attention_heads=1)
    ).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(encoder).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="no recommended layer is known for bert"):
        bertscore.check(str(tmp_path), None)
