"""TER equals sacreBLEU's; characters are words in Chinese and Japanese."""

import pytest
import sacrebleu

from llmkit.metrics import compute, describe, resolve_settings


def test_ter_equals_sacrebleu_and_lower_is_better():
    predictions = ["the ferry left at noon", "nothing in common"]
    references = [["the ferry left the port at noon"], ["a red dog sleeps"]]
    expected = sacrebleu.corpus_ter(predictions, [[row[0] for row in references]]).score
    scores = compute("ter", predictions, references)
    assert scores == {"ter": pytest.approx(expected, abs=1e-12)}
    assert compute("ter", ["a red dog"], [["a red dog"]]) == {"ter": 0}
    assert scores["ter"] > 0


@pytest.mark.parametrize(
    ("references", "setting"),
    [([["the ferry"]], "western"), ([["渡轮中午离开了港口"]], "asian"), ([["ไทย"]], "western")],
)
def test_the_setting_follows_the_script_of_the_references(references, setting):
    assert resolve_settings("ter:auto", references) == f"ter:{setting}"
    assert resolve_settings("ter:asian", references) == "ter:asian"


def test_a_wrong_character_of_a_chinese_text_is_one_edit():
    assert compute("ter:asian", ["渡轮中午"], [["渡轮正午"]]) == {"ter": pytest.approx(25)}
    assert "asian:yes" in describe("ter:asian")
