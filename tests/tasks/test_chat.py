"""Chat: which parts of a conversation are supervised."""

from task_rows import TALK

from llmkit.tasks import TASKS, to_example


def test_only_the_answers_of_the_assistant_are_supervised():
    example = to_example({"id": "1", "messages": TALK}, TASKS["chat"])
    assert example.prompt_text == (
        "Be brief.\nUser: Who keeps a goat?\nAssistant: Mara.\nUser: And bees?\nAssistant:"
    )
    assert [s.text for s in example.prompt if s.is_supervised] == [" Mara."]
    assert example.completion == " Otto."
    assert example.references == ["Otto."]
    without = to_example({"id": "1", "messages": TALK[3:]}, TASKS["chat"])
    assert without.prompt_text == "User: And bees?\nAssistant:"
    assert without.prompt == TASKS["chat"].chat.prompt_from_text("And bees?")
