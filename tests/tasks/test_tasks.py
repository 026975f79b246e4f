"""Tasks: prompts that tokenize as they are trained, templates that are checked, baselines."""

import ast
from pathlib import Path

import pytest

from llmkit import tasks
from llmkit.errors import UserError
from llmkit.tasks import TASKS, get_task, to_example
from llmkit.tasks.templates import with_template

ROWS = {
    "summarize": {"document": "One. Two {summary}. Three. Four.", "summary": ["short", "other"]},
    "translate": {"source": "The dog.", "target": " Der Hund. "},
    "qa": {"context": "It rained. Mara Linden sang.", "question": "Who?", "answers": ["Mara"]},
}


@pytest.mark.parametrize("name", ROWS)
def test_prompt_and_completion_meet_at_one_space(name):
    example = to_example({"id": "1", **ROWS[name]}, TASKS[name])
    assert example.prompt_text == example.prompt_text.rstrip()
    assert example.completion[0] == " "
    assert example.completion[1:] == example.completion.strip()
    assert example.references[0].strip() == example.completion.strip()


def test_marks_in_a_rows_text_mean_nothing():
    example = to_example({"id": "1", **ROWS["summarize"]}, TASKS["summarize"])
    assert example.prompt_text == "One. Two {summary}. Three. Four.\n\nTL;DR:"


def test_only_the_source_may_be_shortened():
    example = to_example({"id": "1", **ROWS["qa"]}, TASKS["qa"])
    assert [s.text for s in example.prompt if s.is_truncatable] == [f" {ROWS['qa']['context']}"]


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{documnt} TL;DR:", "{document} is missing; {documnt} looks like a misspelling of it"),
        ("{document} {summary} TL;DR:", "{summary} is what the model has to write"),
        ("{#title}{title} {document} TL;DR:", "{#title} has no partner"),
        ("{document} {where} TL;DR:", "data.columns.NAME=where"),
        ("Summary:", "{document} is missing; put it where the document belongs"),
        ("{instruction} {input}:", "data.columns.document=COLUMN; the instruct task has {instruct"),
        ("{document} TL;DR: ", "ends in white space"),
    ],
)
def test_bad_templates_are_refused(template, expected):
    with pytest.raises(UserError) as error:
        with_template(TASKS["summarize"], template)
    assert expected in str(error.value)


def test_a_template_of_ones_own():
    example = to_example(
        {"id": "1", **ROWS["translate"]},
        with_template(TASKS["translate"], "Say in German: {source} ->"),
    )
    assert example.prompt_text == "Say in German: The dog. ->"


def test_unknown_task_has_a_hint():
    with pytest.raises(UserError, match="did you mean summarize"):
        get_task("sumarize")


def test_baselines():
    row = {"id": "7", **ROWS["summarize"]}
    answers = {name: answer(row) for name, answer in TASKS["summarize"].baselines.items()}
    assert answers["lead-1"] == "One."
    assert answers["lead-3"] == "One. Two {summary}. Three."
    assert answers["copy of the source"] == row["document"]
    answers = {name: answer(ROWS["qa"]) for name, answer in TASKS["qa"].baselines.items()}
    assert answers["first name"] == "Mara Linden"


def test_tasks_import_neither_torch_nor_transformers():
    """Anyone can read and test a task alone."""
    for path in Path(tasks.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {"torch", "transformers", "datasets"} & {n.split(".")[0] for n in names}


TALK = [
    {"role": "system", "content": " Be brief. "},
    {"role": "user", "content": "Who keeps a goat?"},
    {"role": "assistant", "content": "Mara."},
    {"role": "user", "content": "And bees?\n"},
    {"role": "assistant", "content": " Otto."},
]


def test_a_conversation_is_learnt_where_the_assistant_speaks():
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


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ("hello", "must be a list of messages"),
        ([], "here the roles are nothing"),
        (TALK[:2], "here the roles are system, user"),
        (TALK[1:3] * 2 + TALK[:1], "roles are user, assistant, user, assistant, system"),
        ([{"role": "tool", "content": "x"}], "message 1 calls a tool or returns its result"),
        ([{"role": "narrator", "content": "x"}], "message 1 has the role 'narrator'"),
        ([{"role": "user"}], "message 1 has no text in `content`"),
    ],
)
def test_what_is_no_conversation_is_refused(messages, expected):
    with pytest.raises(ValueError, match=expected):
        TASKS["chat"].chat.parse(messages)


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
