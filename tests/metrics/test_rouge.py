"""ROUGE equals the scores of the rouge-score library."""

import hypothesis
import pytest
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from llmkit.metrics import compute, rouge
from llmkit.metrics.prediction import Prediction

PREDICTIONS = ["the ferry left at noon", "a red dog sleeps here now", "nothing at all was said"]


REFERENCES = [
    ["the ferry left the port at noon", "at noon the ferry left"],
    ["a red dog is sleeping here"],
    ["nothing was said", "nobody said a thing", "nothing at all was said"],
]


def test_rouge_equals_rouge_score_with_the_best_reference():
    scorer = RougeScorer(["rouge1", "rouge2", "rougeL", "rougeLsum"], use_stemmer=True)
    ours = compute("rouge", PREDICTIONS, REFERENCES)
    for name in ("rouge1", "rouge2", "rougeL", "rougeLsum"):
        theirs = [
            max(scorer.score(reference, prediction)[name].fmeasure for reference in references)
            for prediction, references in zip(PREDICTIONS, REFERENCES, strict=True)
        ]
        assert ours[name] == pytest.approx(100 * sum(theirs) / 3)


WORDS = st.lists(
    st.sampled_from(
        ["the", "cat", "cats", "Running", "runs", "a", "stop.", "Go!", "é", "x\ny", "7"]
    ),
    max_size=40,
).map(" ".join)


@hypothesis.settings(max_examples=300)
@hypothesis.given(WORDS, st.lists(WORDS, min_size=1, max_size=3))
def test_rouge_equals_rouge_score_to_the_last_digit(prediction, references):
    hypothesis.assume(any(text.strip() for text in references))
    scorer = RougeScorer(list(rouge.ROUGE_TYPES), use_stemmer=True)
    best = scorer.score_multi(
        ["\n".join(rouge.split_lines(text)) for text in references],
        "\n".join(rouge.split_lines(prediction)),
    )
    theirs = [100 * best[name].fmeasure for name in rouge.ROUGE_TYPES]
    assert rouge.row_statistics([Prediction(prediction)], [references])[0].tolist() == theirs


def test_rouge_lsum_takes_sentences_apart():
    text = "The ferry left. The dog slept."
    scores = compute("rouge", ["The dog slept. The ferry left."], [[text]])
    assert scores["rougeLsum"] == pytest.approx(100)
    assert scores["rougeL"] < 60
