"""Rows of a split: those that cannot be read are refused, or skipped, counted and named."""

import json

import pytest
from mapped_rows import conversation, open_at
from rows import summary_rows, write_jsonl
from runs import SHORT

from llmkit.errors import UserError
from llmkit.tasks import TASKS, to_example

INVALID = [
    conversation("Who?"),
    conversation("Who?", "Mara.", tool_calls=[{"id": "1"}]),
    {"conversations": [{"from": "human", "value": "Who?"}, {"from": "gpt", "value": "Mara."}]},
    {"messages": "Who? Mara."},
]


@pytest.fixture
def talks(tmp_path):
    """A file with invalid rows in lines 3, 6, 9 and 12."""
    rows = [conversation(f"Who has {i} geese?", f"Mara {i}.") for i in range(12)]
    for number, row in enumerate(INVALID):
        rows[3 * number + 2] = row
    return write_jsonl(tmp_path / "talks.jsonl", rows)


def test_invalid_rows_are_refused_with_the_key_that_skips_them(talks, llmkit, tiny_gpt2):
    data = [f"data.{split}={talks}" for split in ("train", "validation", "test")]
    for command in (("finetune",), ("evaluate", tiny_gpt2, "--recipe")):
        result = llmkit(*command, "chat", f"model={tiny_gpt2}", *data, *SHORT)
        assert result.exit_code == 2
        assert f"{talks}:3: column messages: must end with an answer" in result.stderr
        assert "or skip such rows with data.skip_invalid=true" in result.stderr
    result = llmkit("check", "chat", f"model={tiny_gpt2}", *data, *SHORT, "--json")
    assert result.exit_code == 2
    findings = json.loads(result.stdout)["findings"]
    unreadable = [len(f["rows"]) for f in findings if f["kind"] == "unreadable"]
    assert unreadable == [4, 1, 1], "of validation and test the first 4 valid rows are scored"


def test_skipped_invalid_rows_are_counted_and_named(talks, llmkit, tiny_gpt2, tmp_path):
    data = [f"data.{split}={talks}" for split in ("train", "validation", "test")]
    settings = ("chat", f"model={tiny_gpt2}", *data, *SHORT, "data.skip_invalid=true")
    result = llmkit("finetune", *settings, "--run-dir", tmp_path / "run")
    assert result.exit_code == 0, result.output
    shown = " ".join(result.output.split())
    assert "12 read: 8 whole, 4 invalid" in shown
    for split in ("train", "validation", "test"):
        count = "4 rows" if split == "train" else "rows"  # the first rows of others are scored
        assert f"{split}: " in shown
        assert count in shown
    assert f"cannot be read and are left out (data.skip_invalid) ({talks}:3: column" in shown
    result = llmkit("check", *settings, "--json")
    assert result.exit_code == 0, result.output
    checked = json.loads(result.stdout)
    kinds = {f["kind"]: f for f in checked["findings"] if f["split"] == "train"}
    assert [row.partition(": ")[0] for row in kinds["invalid"]["rows"]] == [
        f"{talks}:{line}" for line in (3, 6, 9, 12)
    ]
    assert checked["splits"]["train"]["rows"]["unreadable"] == 4
    assert "but ShareGPT: conversations" in kinds["invalid"]["rows"][2]


def test_invalid_rows_of_any_task_can_be_skipped(tmp_path):
    path = tmp_path / "rows.jsonl"
    good = json.dumps(summary_rows(1)[0])
    path.write_text(f'{good}\n{{broken\n{{"document": "no summary"}}\n{good}\n')
    splits = open_at(path, TASKS["summarize"], skip_invalid=True)
    assert [row["where"] for row in splits["train"]] == [f"{path}:1", f"{path}:4"]
    with pytest.raises(UserError, match=r":2: broken JSON.*data\.skip_invalid=true"):
        list(open_at(path, TASKS["summarize"])["train"])


def test_a_split_of_invalid_rows_alone_is_refused(tmp_path):
    path = write_jsonl(tmp_path / "rows.jsonl", INVALID[:1])
    with pytest.raises(UserError, match="must end with an answer"):
        open_at(path, TASKS["chat"], skip_invalid=True)


def test_rows_of_mixed_shapes_are_refused(tmp_path):
    rows = [conversation("Who?", "Mara."), {"instruction": "Who?", "output": "Mara."}]
    path = write_jsonl(tmp_path / "rows.jsonl", rows)
    with pytest.raises(UserError) as error:
        list(open_at(path, TASKS["chat"])["train"])
    assert f"{path}:2: the row does not have the file's shape, OpenAI messages" in str(error.value)
    assert "but Alpaca: instruction, output" in str(error.value)


def test_the_shape_is_that_of_the_first_row_that_has_one(tmp_path):
    rows = [{"version": 2}, {"conversations": [{"from": "human", "value": "Who?"},
                                               {"from": "gpt", "value": "Mara."}]}]  # fmt: skip
    path = write_jsonl(tmp_path / "rows.jsonl", rows)
    (row,) = open_at(path, TASKS["chat"], skip_invalid=True)["train"]
    assert to_example(row, TASKS["chat"]).prompt_text == "User: Who?\nAssistant:"
    with pytest.raises(UserError, match=r":1: the row does not have the file's shape, ShareGPT"):
        open_at(path, TASKS["chat"])


def test_ignored_fields_and_empty_texts_are_named(llmkit, tiny_gpt2, tmp_path):
    rows = [conversation(f"Who has {i} geese?", f"Mara {i}.", train=True) for i in range(4)]
    rows += [conversation("", f"Mara {i}.", tool_calls=None, name="") for i in range(4)]
    for row in rows[4:]:
        row["messages"].insert(0, {"role": "system", "content": "Be brief."})
    path = write_jsonl(tmp_path / "rows.jsonl", rows)
    data = [f"data.{split}={path}" for split in ("train", "validation", "test")]
    result = llmkit("check", "chat", f"model={tiny_gpt2}", *data, *SHORT, "--json")
    assert result.exit_code == 0, result.output
    findings = {
        f["kind"]: f for f in json.loads(result.stdout)["findings"] if f["split"] == "train"
    }
    assert findings["fields ignored"]["rows"] == [f"{path}:{i} (train)" for i in range(1, 5)]
    assert findings["input empty"]["rows"] == [f"{path}:{i}" for i in range(5, 9)]
    assert json.loads(result.stdout)["splits"]["train"]["rows"]["whole"] == 8


def test_a_run_prints_shape_and_prompt_first(llmkit, tiny_gpt2, tmp_path):
    rows = [{"instruction": f"Say {i}.", "context": "", "response": f"{i}."} for i in range(60)]
    path = write_jsonl(tmp_path / "rows.jsonl", rows)
    settings = ("instruct", f"model={tiny_gpt2}", f"data.train={path}", *SHORT)
    prompt = json.dumps(TASKS["instruct"].template)
    result = llmkit("finetune", *settings, "--run-dir", tmp_path / "run")
    assert result.exit_code == 0, result.output
    checked = llmkit("check", *settings)
    for shown in (result.stdout, checked.stdout):
        lines = [line.strip() for line in shown.splitlines()]
        assert "shape   Dolly: instruction, context, response" in lines
        first = lines.index("shape   Dolly: instruction, context, response")
        assert (
            "".join(lines[first + 1 :])
            .replace(" ", "")
            .startswith(f"prompt{prompt}".replace(" ", ""))
        )
    scores = json.loads((tmp_path / "run" / "metrics.json").read_text())["scores"]
    assert set(scores["fine-tuned"]) == {"rougeL", "f1", "loss"}
    assert {"copy of the input", "commonest response"} < set(scores)
