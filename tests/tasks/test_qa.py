"""Questions without an answer: trained as silence, scored as SQuAD 2.0's official script does."""

import collections
import json
import random
import re
import string

import pytest
from rows import SHARED_DATA, TEXT, write_jsonl
from runs import SHORT

from llmkit.metrics import compute
from llmkit.metrics.prediction import Prediction
from llmkit.tasks import TASKS

# ------------------------------------------------ evaluate-v2.0.py of SQuAD, in its own names


def normalize_answer(s):
    s = "".join(ch for ch in s.lower() if ch not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", s).split())


def get_tokens(s):
    return normalize_answer(s).split() if s else []


def compute_exact(a_gold, a_pred):
    return int(normalize_answer(a_gold) == normalize_answer(a_pred))


def compute_f1(a_gold, a_pred):
    gold_toks, pred_toks = get_tokens(a_gold), get_tokens(a_pred)
    num_same = sum((collections.Counter(gold_toks) & collections.Counter(pred_toks)).values())
    if len(gold_toks) == 0 or len(pred_toks) == 0:
        return int(gold_toks == pred_toks)
    if num_same == 0:
        return 0
    precision, recall = num_same / len(pred_toks), num_same / len(gold_toks)
    return (2 * precision * recall) / (precision + recall)


def official_scores(predictions, references):
    exact, f1 = [], []
    for prediction, answers in zip(predictions, references, strict=True):
        gold_answers = [text for text in answers if normalize_answer(text)] or [""]
        exact.append(max(compute_exact(a, prediction) for a in gold_answers))
        f1.append(max(compute_f1(a, prediction) for a in gold_answers))
    has_answer = [bool(answers) for answers in references]

    def mean(values, kind=None):
        kept = [v for v, has in zip(values, has_answer, strict=True) if kind in (None, has)]
        return 100.0 * sum(kept) / len(kept)

    return {
        "exact_match": mean(exact), "f1": mean(f1),
        "HasAns_exact": mean(exact, True), "HasAns_f1": mean(f1, True),
        "NoAns_exact": mean(exact, False), "NoAns_f1": mean(f1, False),
    }  # fmt: skip


def spoilt(text, generator):
    words = text.split()
    return generator.choice(
        [text, "", f"The {text}.", " ".join(words[1:]), " ".join([*words, "an", "owl"]), "the"]
    )


@pytest.mark.skipif(not SHARED_DATA.is_dir(), reason="the shared data are not here")
def test_scores_are_those_of_the_official_script_on_500_rows_a_third_unanswerable():
    generator = random.Random(0)
    with (SHARED_DATA / "xquad-en" / "train.jsonl").open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file][:500]
    references = [[] if i % 3 == 0 else row["answers"] for i, row in enumerate(rows)]
    predictions = [spoilt((answers or ["x"])[0], generator) for answers in references]
    ours = compute("squad", predictions, [answers or [""] for answers in references])
    theirs = official_scores(predictions, references)
    assert {name: f"{value:.10f}" for name, value in ours.items()} == {
        name: f"{value:.10f}" for name, value in theirs.items()
    }
    assert 0 < theirs["NoAns_exact"] < theirs["f1"] < 100


@pytest.mark.parametrize(
    ("prediction", "references", "exact", "f1"),
    [
        ("A", ["A"], 100, 100),
        ("a.", ["The A"], 0, 0),
        ("", ["A"], 0, 0),
        ("the", ["The"], 100, 100),
        ("", ["?!"], 0, 0),
        ("?!", ["?!"], 100, 100),
        ("", [""], 100, 100),
        ("Mara", [""], 0, 0),
        ("", ["", "Mara"], 0, 0),
        ("Mara", ["", "Mara"], 100, 100),
    ],
)
@pytest.mark.parametrize("segmentation", ["words", "characters"])
def test_normalization_never_empties_a_reference(prediction, references, exact, f1, segmentation):
    scores = compute(f"squad:{segmentation}", [prediction], [references])
    assert (scores["exact_match"], scores["f1"]) == (exact, f1)


def test_correct_answers_and_correct_silence_score_100_in_every_score_of_qa():
    references = [["Mara"], [""], ["A"], [""]]
    scores = TASKS["qa"].score([Prediction(r[0]) for r in references], references)
    assert scores == {name: pytest.approx(100) for name in TASKS["qa"].scores}
    answerable = TASKS["qa"].score([Prediction("Mara")], [["Mara"]])
    assert set(answerable) == {"exact_match", "f1", "bleu", "rougeL"}


def unanswerable_rows(count):
    """Every third without an answer, in each of the forms that data sets have for it."""
    empty = ("", [], {"text": [], "answer_start": []}, None)
    return [
        {"id": f"q{i}", "context": f"{TEXT[i % 3]} {i}", "question": f"Who saw row {i}?",
         "answers": empty[i // 3 % 4] if i % 3 == 0 else {"text": ["Mara"], "answer_start": [0]}}
        for i in range(count)
    ]  # fmt: skip


def test_only_end_of_text_is_supervised_without_an_answer(llmkit, tiny_gpt2, tmp_path):
    write_jsonl(tmp_path / "rows.jsonl", unanswerable_rows(60))
    settings = (
        f"model={tiny_gpt2}", "data.train=rows.jsonl", *SHORT, "evaluation.test_rows=30",
        "evaluation.metric=NoAns_exact", "evaluation.validation_rows=null", "data.template=null",
    )  # fmt: skip
    result = llmkit("check", "qa", *settings, "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    (finding,) = (f for f in report["findings"] if f["kind"] == "unanswerable" and
                  f["split"] == "train")  # fmt: skip
    assert finding["severity"] == "note"
    assert not report["splits"]["train"]["rows"].get("empty")
    result = llmkit("finetune", "qa", *settings, "--run-dir", "run")
    assert result.exit_code == 0, result.output
    scores = json.loads((tmp_path / "run" / "metrics.json").read_text())["scores"]["fine-tuned"]
    assert {"HasAns_f1", "NoAns_f1", "HasAns_exact", "NoAns_exact"} <= set(scores)
    rows = [json.loads(line) for line in (tmp_path / "run" / "predictions.jsonl").open()]
    silent = [row for row in rows if row["references"] == [""]]
    assert silent
    for row in silent:
        assert [text for text, _ in row["expected_tokens"]] == ["<|endoftext|>"]

    answers = {row["id"]: row["references"][0] for row in rows}
    (tmp_path / "official.json").write_text(json.dumps(answers))
    recipe = ("--recipe", "run/recipe.yaml")
    result = llmkit("evaluate", "--predictions", "official.json", *recipe, "--output", "right")
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "right" / "metrics.json").read_text())["scores"]
    assert found["these predictions"]["NoAns_exact"] == 100
    result = llmkit("compare", "run", "official.json", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["second"]["exact_match"] == 100
