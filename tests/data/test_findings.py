"""Findings: rows with a problem are found, and clean rows are not."""

import pytest
from checked_rows import clean_rows, found, renamed
from rows import summary_rows, write_jsonl

from llmkit.data.findings import without_repeated_errors


def test_clean_rows_have_no_findings(check):
    code, report = check(clean_rows(60, seed=1))
    assert (code, report["findings"]) == (0, [])


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        ({"document": " \n", "summary": "s"}, "empty"),
        ({"document": "d", "summary": ""}, "empty"),
        ({"document": "d", "summary": "long " * 200}, "completion too long"),
        ({"document": "long " * 200, "summary": "s"}, "prompt truncated"),
        ({"document": "It ends.<|endoftext|>", "summary": "s"}, "end-of-text typed"),
        ({"document": "ร้านอาหารเปิดทุกวันจันทร์", "summary": "ร้านอาหาร"}, "over-tokenized"),
    ],
)
def test_a_row_with_a_problem_is_found(check, row, kind):
    rows = clean_rows(40, seed=1)
    rows[16] = row
    code, report = check(rows)
    assert code == 0
    assert {f["kind"] for f in report["findings"]} == {kind}
    assert found(report, kind) == {"train.jsonl:17"}


def test_references_that_the_metric_cannot_read_are_found(check):
    test = clean_rows(10, seed=2)
    test[4]["summary"] = "हिन्दी में सारांश"
    test[6]["summary"] = "ร้านอาหารเปิดทุกวันจันทร์"  # without blanks, as Thai is written
    _, report = check(clean_rows(40, seed=1), test)
    assert found(report, "not read", "test") == {"test.jsonl:5", "test.jsonl:7"}
    test[4]["summary"] += " 7 GPT"
    _, report = check(clean_rows(40, seed=1), test)
    assert found(report, "not read", "test") == {"test.jsonl:5", "test.jsonl:7"}
    train = renamed(clean_rows(40, seed=1), "translate")
    test = [{"en": "Good morning, dear people of the town.", "de": "Доброе утро, дорогие люди."}]
    columns = ("data.columns.source=en", "data.columns.target=de")
    _, report = check(train, test * 2, *columns, task="translate")
    assert not found(report, "not segmented", "test"), "BLEU reads Cyrillic"
    test = [{"en": f"Good morning, {name}.", "de": "早上好亲爱的人们"} for name in ("Ann", "Bo")]
    _, report = check(train, test, *columns, task="translate")
    assert not found(report, "not segmented", "test"), "characters are tokens of their own"
    by_words = "evaluation.bleu.tokenize=13a"
    _, report = check(train, test, *columns, by_words, task="translate")
    assert found(report, "not segmented", "test") == {"test.jsonl:1", "test.jsonl:2"}
    test = [{"context": "c", "question": "q", "answers": ["ไทย", "Thai"]}] * 2
    _, report = check(renamed(clean_rows(40, seed=1), "qa"), test, task="qa")
    assert not found(report, "not read", "test"), "another accepted answer is read"


def test_worked_answers_without_a_final_answer_are_found(check):
    ends = ("#### 7", "#### ", "####", "So 7.", "#### 7\n", "\n####\n", "\n#### 7 #### ")
    rows = [{"question": f"How many is 3 + 4 + {i}?", "answer": f"3 + 4 = 7\n{end}"}
            for i, end in enumerate(ends)]  # fmt: skip
    rows += [{"question": f"How many is {i}?", "answer": str(i)} for i in range(10)]
    _, report = check(rows, rows[:7], task="reason")
    for split in ("train", "test"):
        assert found(report, "no final answer", split) == {
            f"{split}.jsonl:{number}" for number in (2, 3, 6, 7)
        }
        assert found(report, "no mark", split) == {f"{split}.jsonl:4"}


def test_only_scored_rows_are_checked(check):
    test = [*clean_rows(4, seed=2), *({"document": "", "summary": ""} for _ in range(9))]
    code, report = check(clean_rows(40, seed=1), test, "evaluation.test_rows=4")
    assert (code, report["findings"]) == (0, [])
    assert report["splits"]["test"]["rows_read"] == 4
    code, report = check(clean_rows(40, seed=1), [{**test[0], "summary": 3}, *test])
    assert code == 2
    assert found(report, "unreadable", "test")


def test_finetune_warns_and_stops_on_errors(llmkit, tiny_gpt2, tmp_path):
    rows = summary_rows(60)
    rows[7]["summary"] = ""
    path = write_jsonl(tmp_path / "rows.jsonl", rows)
    settings = (
        f"model={tiny_gpt2}", f"data.train={path}", "data.max_length=128", "train.epochs=null",
        "train.max_steps=1", "evaluation.validation_rows=4", "evaluation.test_rows=4",
        "generation.max_new_tokens=4",
    )  # fmt: skip
    result = llmkit("finetune", "summarize", *settings, "--run-dir", "run")
    assert result.exit_code == 0, result.output
    warning = f"warning: train: 1 row: a text is empty, so the row is left out ({path}:8)"
    assert warning in result.output
    bad = write_jsonl(tmp_path / "bad.jsonl", [{**row, "summary": ""} for row in rows[:70]] + rows)
    splits = (f"data.train={bad}", f"data.validation={path}", f"data.test={path}")
    result = llmkit("finetune", "summarize", *settings, *splits, "--run-dir", "again")
    assert result.exit_code == 2
    assert "rows: left out of training, which is most of the split" in result.stderr
    assert not (tmp_path / "again").exists()


def test_an_error_of_several_rows_is_explained_once(llmkit, tiny_gpt2, tmp_path):
    lines = ["text;label", *(f"good {i};{'ab'[i % 2]}\nGrüße {i};b" for i in range(20))]
    (tmp_path / "rows.csv").write_text("\n".join(lines), "cp1252")
    settings = (f"model={tiny_gpt2}", f"data.train={tmp_path / 'rows.csv'}", "data.max_length=64")
    shown = " ".join(llmkit("check", "classify", *settings).output.split())
    assert shown.count("with data.encoding=cp1252 this reads 'Grüße'") == 1
    assert f"'Grüße', {tmp_path / 'rows.csv'}:5, {tmp_path / 'rows.csv'}:7" in shown
    errors = ["a.json: row 3: column a is 7", "a.json: row 5: column a is 9", "a.json: broken"]
    assert without_repeated_errors(errors) == [errors[0], "a.json: row 5", "a.json: broken"]
