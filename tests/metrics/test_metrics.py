"""Metrics: equal to the libraries' and the official definitions, offline, several references."""

from pathlib import Path

import hypothesis
import pytest
import sacrebleu
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from llmkit import metrics
from llmkit.metrics import compute, describe, rouge
from llmkit.metrics.prediction import Prediction
from llmkit.metrics.squad import normalize
from llmkit.tasks import TASKS

NAMES = ("bleu", "chrf", "final_answer", "rouge", "squad", "ter")
PREDICTIONS = ["the ferry left at noon", "a red dog sleeps here now", "nothing at all was said"]
REFERENCES = [
    ["the ferry left the port at noon", "at noon the ferry left"],
    ["a red dog is sleeping here"],
    ["nothing was said", "nobody said a thing", "nothing at all was said"],
]


def test_bleu_and_chrf_are_sacrebleus():
    streams = [[r[i] if i < len(r) else None for r in REFERENCES] for i in range(3)]
    assert compute("bleu", PREDICTIONS, REFERENCES)["bleu"] == (
        sacrebleu.corpus_bleu(PREDICTIONS, streams).score
    )
    assert (
        describe("bleu")
        == f"BLEU nrefs:var|case:mixed|eff:no|tok:13a|smooth:exp|version:{sacrebleu.__version__}"
    )
    assert compute("chrf", PREDICTIONS, REFERENCES)["chrf"] == (
        sacrebleu.corpus_chrf(PREDICTIONS, streams).score
    )
    assert describe("chrf").startswith("chrF nrefs:var|")


def test_rouge_is_rouge_scores_best_reference():
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


@pytest.mark.parametrize(
    ("prediction", "references", "exact", "f1"),
    [
        ("The Ferry!", ["ferry"], 100, 100),
        ("Mara", ["Mara Linden", "Mara"], 100, 100),
        ("Mara Otto", ["Mara Linden"], 0, 50),
        ("", ["Mara"], 0, 0),
        ("a the", ["x"], 0, 0),
    ],
)
def test_squad_scores(prediction, references, exact, f1):
    scores = compute("squad", [prediction], [references])
    assert (scores["exact_match"], scores["f1"]) == (exact, pytest.approx(f1))


def test_squad_normalization_is_the_official_scripts():
    assert normalize("  An apple, the PEAR & a  fig. ") == "apple pear fig"


def test_all_metrics_are_tested_below():
    files = Path(metrics.__path__[0]).glob("*.py")
    names = {path.stem for path in files if "\ndef scores(" in path.read_text("utf-8")}
    assert names == {*NAMES, "bertscore", "classification", "likelihood"}


@pytest.mark.parametrize("references", [[["a"], ["b"]], ["a", "b", "c"], [["a"], [], ["c"]]])
def test_wrong_shapes_are_refused(references):
    with pytest.raises(ValueError, match="references"):
        compute("bleu", PREDICTIONS, references)


@pytest.mark.parametrize("name", ["summarize", "translate", "qa", "chat"])
def test_every_task_scores_its_references_perfect_and_silence_not(name):
    task = TASKS[name]
    references = [["the ferry left the port at noon"], ["a red dog is sleeping here"]]
    perfect = task.score([Prediction(r[0]) for r in references], references)
    silent = task.score([Prediction("")] * 2, references)
    unanswerable = {"HasAns_exact", "HasAns_f1", "NoAns_exact", "NoAns_f1"}
    assert set(perfect) == set(task.scores) - unanswerable
    for metric, higher_is_better in ((name, task.scores[name]) for name in perfect):
        assert perfect[metric] == pytest.approx(100 if higher_is_better else 0)
        assert silent[metric] == (0 if higher_is_better else 100)
    assert task.signature()


def test_sacrebleu_has_the_private_calls_that_make_statistics_of_rows():
    for scorer in (sacrebleu.BLEU(), sacrebleu.CHRF(), sacrebleu.TER()):
        for name in ("_extract_corpus_statistics", "_compute_score_from_stats"):
            assert hasattr(scorer, name), (
                f"sacreBLEU {sacrebleu.__version__} has no {type(scorer).__name__}.{name}: "
                "adapt sacrebleu_statistics and sacrebleu_scores in llmkit/metrics/__init__.py"
            )
