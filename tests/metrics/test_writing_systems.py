"""The script of a text decides how metrics read it."""

import pytest

from llmkit.metrics import compute
from llmkit.metrics.writing_systems import bleu_tokenizer

SENTENCES = {
    "zh": [
        "第7号很好我们都喜欢这个数字",
        "渡轮中午离开了港口。",
        "我在北京的iPhone商店买了两本书。",
    ],
    "ja-mecab": [
        "私は毎日電車で学校へ行きます。",
        "フェリーは正午に港を出た。",
        "コーヒーを2杯飲んだ。",
    ],
    "ko-mecab": [
        "나는 매일 기차로 학교에 갑니다.",
        "여객선은 정오에 떠났다.",
        "커피 2잔을 마셨어요.",
    ],
    "13a": [
        "غادرت العبارة الميناء ظهرا.",
        "Die Fähre verließ den Hafen um 12 Uhr.",
        "Паром ушёл.",
    ],
    "char": [
        "ร้านอาหารเปิดทุกวันจันทร์",
        "ເຮືອອອກຈາກທ່າເຮືອ",
        "សាឡាងបានចាកចេញពីកំពង់ផែ",
    ],
}  # fmt: skip


def needs(tokenizer):
    module = {"ja-mecab": "MeCab", "ko-mecab": "mecab_ko"}.get(tokenizer)
    if module:
        pytest.importorskip(module, reason=f"{tokenizer} is an extra")


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
