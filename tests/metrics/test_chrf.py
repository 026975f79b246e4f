"""chrF equals sacreBLEU's."""

import pytest
import sacrebleu

from llmkit.metrics import compute, describe

PREDICTIONS = ["the ferry left at noon", "a red dog sleeps here now", ""]
REFERENCES = [["the ferry left the port at noon", "at noon the ferry left"], ["a red dog"], ["no"]]


def test_chrf_equals_sacrebleu_with_several_references():
    streams = [[row[i] if i < len(row) else None for row in REFERENCES] for i in range(2)]
    expected = sacrebleu.corpus_chrf(PREDICTIONS, streams).score
    assert compute("chrf", PREDICTIONS, REFERENCES) == {"chrf": pytest.approx(expected, abs=1e-12)}
    assert describe("chrf").startswith("chrF nrefs:var|")
