"""Metrics: equal to the libraries' and the official definitions, offline, several references."""

from pathlib import Path

import pytest
import sacrebleu

from llmkit import metrics
from llmkit.metrics import compute
from llmkit.metrics.prediction import Prediction
from llmkit.tasks import TASKS

NAMES = ("bleu", "chrf", "final_answer", "rouge", "squad", "ter")
PREDICTIONS = ["the ferry left at noon", "a red dog sleeps here now", "nothing at all was said"]
REFERENCES = [
    ["the ferry left the port at noon", "at noon the ferry left"],
    ["a red dog is sleeping here"],
    ["nothing was said", "nobody said a thing", "nothing at all was said"],
]


def test_all_metrics_are_tested_below():
    files = Path(metrics.__path__[0]).glob("*.py")
    names = {path.stem for path in files if "\ndef scores(" in path.read_text("utf-8")}
    assert names == {*NAMES, "bertscore", "classification", "likelihood"}


@pytest.mark.parametrize("references", [[["a"], ["b"]], ["a", "b", "c"], [["a"], [], ["c"]]])
def test_references_of_the_wrong_shape_are_refused(references):
    with pytest.raises(ValueError, match="references"):
        compute("bleu", PREDICTIONS, references)


@pytest.mark.parametrize("name", ["summarize", "translate", "qa", "chat"])
def test_references_score_perfect_and_empty_predictions_worst_in_every_task(name):
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
