"""Summarization: its baselines."""

from llmkit.tasks import TASKS


def test_random_sentences_are_the_documents_and_depend_on_its_id_alone():
    draw = TASKS["summarize"].baselines["random-3"]
    sentences = [f"Sentence number {number}." for number in range(9)]
    document = " ".join(sentences)
    drawn = [draw({"id": str(number), "document": document}) for number in range(20)]
    assert len(set(drawn)) > 10
    assert drawn[3] == draw({"id": "3", "document": document})
    for text in drawn:
        picked = [sentence for sentence in sentences if sentence in text]
        assert len(picked) == 3
        assert text == " ".join(picked)
    assert draw({"id": "1", "document": "One. Two."}) == "One. Two."
