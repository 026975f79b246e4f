"""Exact match and F1 of SQuAD, by words and by characters."""

import pytest

from llmkit.metrics import compute, squad
from llmkit.metrics.squad import normalize


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
def test_exact_match_and_f1_equal_hand_computed_examples(prediction, references, exact, f1):
    scores = compute("squad", [prediction], [references])
    assert (scores["exact_match"], scores["f1"]) == (exact, pytest.approx(f1))


def test_squad_normalization_is_the_official_scripts():
    assert normalize("  An apple, the PEAR & a  fig. ") == "apple pear fig"


def test_f1_of_words_is_the_official_one_and_f1_of_characters_segments():
    chinese = [["北京市"], ["北京"], ["Mara 住在北京"]], ["北京", "北京。", "mara住在上海"]
    references, said = chinese
    assert compute("squad", said, references)["f1"] == 0
    scores = [compute("squad:characters", [s], [r]) for s, r in zip(said, references, strict=True)]
    assert [each["exact_match"] for each in scores] == [0, 100, 0]
    assert [each["f1"] for each in scores] == pytest.approx([80, 100, 60])
    english = [["The Ferry, at noon!"]], ["a ferry at NOON"]
    for name in ("squad", "squad:characters"):
        assert compute(name, english[1], english[0])["f1"] == 100
    assert squad.signature("characters") != squad.signature()
