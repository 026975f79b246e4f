"""Tasks: prompts that tokenize as they are trained, templates that are checked, baselines."""

import ast
import math
from fractions import Fraction
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies as st

from llmkit import tasks
from llmkit.errors import UserError
from llmkit.metrics import compute
from llmkit.metrics.final_answer import final_answer
from llmkit.metrics.prediction import Prediction
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


@pytest.mark.parametrize(
    ("text", "final"),
    [
        ("3 + 4 = 7\n#### 7", "7"),
        ("#### 1,234.50\n", "1234.5"),
        ("#### $12.00.", "12"),
        ("#### 5\n#### 6", "6"),
        ("-3", "-3"),
        ("100", "100"),
        ("", ""),
        ("#### .5", "0.5"),
        ("#### -.50", "-0.5"),
        ("#### -0.0", "0"),
        ("#### \u22125", "-5"),
        ("#### -$5", "-5"),
        ("#### $-5", "-5"),
        ("#### US$ 5", "5"),
        ("#### USD 5", "5"),
        ("#### 5 \u20ac", "5"),
        ("#### 50%", "50"),
        ("#### 50 apples.", "50"),
        ("#### **1 234 567 km**", "1234567"),
        ("#### 1\u00a0234", "1234"),
        ("#### 12,34,567", "1234567"),
        ("#### \\boxed{42}", "42"),
        ("#### $42$", "42"),
        ("#### 3/4", "0.75"),
        ("#### 1/3", "1/3"),
        ("#### 2/6 of it", "1/3"),
        ("#### \u00bd", "0.5"),
        ("#### -1\u00bd cups", "-1.5"),
        ("#### 3 1/2", "3.5"),
        ("#### \\boxed{\\frac{3}{4}}", "0.75"),
        ("#### 2\\dfrac{1}{3}", "7/3"),
        ("#### 2 1/2 million", "2500000"),
        ("#### \u0663\u066b\u0665", "3.5"),  # Arabic digits
        ("#### 5 m\u00b2", "5"),
        ("#### 1.5e3", "1500"),
        ("#### 2.5 million people", "2500000"),
        ("#### \uff15\uff10", "50"),
        ("#### 007", "7"),
        # No numbers: compared as texts.
        ("#### 1/0", "1/0"),
        ("#### 1,2", "1,2"),
        ("#### 5 or 6", "5 or 6"),
        ("#### 5x", "5x"),
        ("#### 5\u00b2", "5\u00b2"),
        ("#### 3 1/0", "3 1/0"),
        ("#### 5 + x", "5 + x"),
        ("#### 5 and a half", "5 and a half"),
        ("#### 12:30", "12:30"),
        ("####  No   Solution. ", "no solution"),
        ("#### (A)", "a"),
        ("#### A", "a"),
        ("#### ?", "?"),
        ("#### **", "**"),
        ("#### " + "9" * 5000, "9" * 5000),
    ],
)
def test_the_final_answer_of_a_worked_one(text, final):
    assert final_answer(text) == final


@hypothesis.given(
    st.integers(-(10**9), 10**9), st.integers(0, 6), st.sampled_from(["", "$", "\u20ac", "US$"]),
    st.sampled_from(["", "%", ".", " apples", "km", " m."]),
    st.sampled_from(["-", "\u2212", "\u2013"]), st.booleans(), st.integers(0, 3), st.booleans(),
)  # fmt: skip
def test_a_number_is_the_same_however_it_is_written(
    integer, num_decimals, currency, unit, minus, is_grouped, num_zeros, has_leading_zero
):
    value = Fraction(integer, 10**num_decimals)
    whole, rest = divmod(abs(value), 1)
    decimals = str(int(rest * 10**num_decimals)).zfill(num_decimals) if num_decimals else ""
    decimals += "0" * num_zeros
    written = f"{int(whole):,}" if is_grouped else str(whole)
    if decimals and not whole and not has_leading_zero:
        written = ""
    written += f".{decimals}" if decimals else ""
    said = f"{minus if integer < 0 else ''}{currency}{written}{unit}"
    assert final_answer(f"It is so.\n#### {said}") == final_answer(str(float(value)))
    assert Fraction(final_answer(said)) == value
    assert final_answer(said) != final_answer(str(float(value) + 1))


def test_a_vote_is_won_by_the_commonest_final_answer():
    answers = ["#### 7", "#### 8", "4 + 4 = 8\n#### 8.0"]
    predictions = [Prediction(answers[0], votes=answers)] * 2
    scores = TASKS["reason"].score(predictions, [["#### 8"], ["#### 7"]])
    assert scores == {"final_answer": 50, "majority_vote": 50}
    alone = compute("final_answer", ["#### 8"], [["8"]])
    assert alone["final_answer"] == 100
    assert math.isnan(alone["majority_vote"])
