"""Sentences in several scripts, by the BLEU tokenizer that fits them."""

import pytest

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
