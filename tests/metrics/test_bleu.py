"""BLEU equals sacreBLEU's, with a tokenizer for each language."""

import pytest
import sacrebleu
import sacrebleu.sacrebleu
from sacrebleu.tokenizers import tokenizer_spm

from llmkit.errors import UserError
from llmkit.metrics import bleu, compute, describe
from llmkit.tasks import TASKS

PREDICTIONS = ["the ferry left at noon", "a red dog sleeps here now", "nothing at all was said"]


REFERENCES = [
    ["the ferry left the port at noon", "at noon the ferry left"],
    ["a red dog is sleeping here"],
    ["nothing was said", "nobody said a thing", "nothing at all was said"],
]


def test_bleu_and_chrf_equal_sacrebleu():
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


def test_a_tokenizer_that_is_not_installed_is_named(monkeypatch):
    from sacrebleu.tokenizers import tokenizer_ja_mecab

    monkeypatch.setattr(tokenizer_ja_mecab, "MeCab", None)
    bleu.scorer.cache_clear()
    with pytest.raises(UserError, match=r"ja-mecab needs MeCab .* pip install 'sacrebleu\[ja\]'"):
        TASKS["translate"].with_metrics_for([["私は毎日電車で学校へ行きます。"]])


def test_a_tokenizer_that_cannot_be_downloaded_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(tokenizer_spm, "SACREBLEU_DIR", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # where nobody answers
    with pytest.raises(UserError, match="flores200 needs sentencepiece") as error:
        bleu.scorer("flores200")
    assert "\n" not in str(error.value)
