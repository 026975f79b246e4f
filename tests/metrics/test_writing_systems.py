"""The script of a text decides how metrics read it."""

import pytest

from llmkit.metrics import compute
from llmkit.metrics.writing_systems import bleu_tokenizer
from scripts import SENTENCES, needs


@pytest.mark.parametrize("tokenizer", SENTENCES)
def test_an_exact_prediction_has_a_bleu_of_100_in_every_script(tokenizer):
    needs(tokenizer)
    for text in SENTENCES[tokenizer]:
        assert bleu_tokenizer([text]) == tokenizer
    long_enough = [text for text in SENTENCES[tokenizer] if len(text) > 15 or tokenizer == "zh"]
    for text in long_enough:
        assert compute("bleu", [text], [[text]])["bleu"] == pytest.approx(100)


def test_a_few_foreign_words_do_not_change_the_tokenizer():
    assert (
        bleu_tokenizer(["The ferry to 北京 left at noon, said Mara Linden on the pier."]) == "13a"
    )
    assert (
        bleu_tokenizer(["他说「さようなら」然后离开了港口去北京找他的朋友们一起吃晚饭喝茶聊天"])
        == "zh"
    )
    assert bleu_tokenizer([""]) == "13a"
