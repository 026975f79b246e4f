"""The report on a file's prompts: counts, and a warning for each kind of problem."""

import pytest

from llmkit.generation.prompt_report import PromptReport
from llmkit.generation.prompts import EncodedPrompt, Prompt
from llmkit.tasks import Segment


def report_of(*prompts: Prompt, is_truncated: bool = False) -> PromptReport:
    report = PromptReport()
    for prompt in prompts:
        report.add(EncodedPrompt(prompt, [1], is_truncated))
    return report


def prompt(text="A ferry.", *, id="0", where="in.jsonl:1", is_from_row=True, **fields) -> Prompt:
    columns = fields.pop("columns", {"text": text})
    return Prompt(id, where, [Segment(text, is_from_row=is_from_row)], columns, **fields)


def test_ordinary_prompts_cause_no_warning():
    report = report_of(prompt(), prompt(id="1", where="in.jsonl:2"))
    assert list(report.warnings()) == []
    assert (report.num_rows, report.num_truncated, report.uses_template) == (2, 0, True)
    assert not report.has_references


def test_truncation_columns_and_references_are_recorded():
    second = prompt(id="1", columns={"a": 1, "text": 2}, references=["x"], is_from_row=False)
    report = report_of(prompt(columns={"text": 1, "b": 2}, is_from_row=False), second,
                       is_truncated=True)  # fmt: skip
    assert list(report.columns) == ["text", "b", "a"]
    assert (report.num_truncated, report.uses_template, report.has_references) == (2, False, True)


@pytest.mark.parametrize(
    ("second", "warning"),
    [
        (prompt("A ferry ", id="1", where="in.jsonl:2"),
         "1 prompt ends with a space or tab, which the tokenizer separates from the next word; "
         "remove it for better completions: in.jsonl:2"),
        (prompt("\n", id="1", where="in.jsonl:2"),
         "1 row has no text, so its prediction is meaningless: in.jsonl:2"),
        (prompt(id=0, where="in.jsonl:2"),
         "1 row has the id of an earlier row; `evaluate` and `compare` will reject the "
         "predictions: in.jsonl:2"),
        (prompt(id="1", where="in.jsonl:2", columns={"input_votes": 3}),
         "the input's column 'votes' is written as 'input_votes'"),
    ],
)  # fmt: skip
def test_each_kind_of_problem_causes_one_warning(second, warning):
    assert list(report_of(prompt(), second).warnings()) == [warning]


def test_skipped_rows_are_reported():
    report = report_of(prompt())
    for line in range(2, 9):
        report.left_out.add(f"in.jsonl:{line}: broken")
    (warning,) = report.warnings()
    assert warning.startswith("7 rows have no prediction, because data.skip_invalid skips")
    assert warning.endswith("in.jsonl:6: broken and 2 more")
