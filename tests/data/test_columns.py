"""Columns of the data: by split, several as references, any of them in a template; rows that are
left out; languages of a translation."""

import json
from dataclasses import replace

import pytest
from rows import TEXT, summary_rows, write_jsonl
from runs import SHORT

from llmkit.config.recipe import load_recipe
from llmkit.config.schema import Data, Evaluation
from llmkit.data.cache import encoding_key
from llmkit.data.column_mapping import check_columns
from llmkit.data.columns import read_columns, row_id, select_prompt, shape_of
from llmkit.data.encode import EncodingOptions, encode_text
from llmkit.data.recipe_task import prompt_task, prompt_warnings
from llmkit.data.splits import open_splits
from llmkit.errors import UserError
from llmkit.model.load import load_model
from llmkit.tasks import TASKS, get_task, to_example, with_template

# As in the repository of Stanford Alpaca (train.py, PROMPT_DICT).
ALPACA_WITH_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further "
    "context. Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:"
)
ALPACA_WITHOUT_INPUT = (
    "Below is an instruction that describes a task. Write a response that appropriately completes "
    "the request.\n\n### Instruction:\n{instruction}\n\n### Response:"
)
ALPACA_TEMPLATE = (
    "Below is an instruction that describes a task{#input}, paired with an input that provides "
    "further context{/input}. Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n{#input}### Input:\n{input}\n\n{/input}### Response:"
)
REFERENCES = {
    "summarize": {"document": "A ferry left."},
    "translate": {"source": "A ferry left."},
    "qa": {"context": "A ferry left.", "question": "What left?"},
    "reason": {"question": "1 + 1?"},
    "instruct": {"instruction": "Say something."},
}


def open_at(path, task, evaluation=None, **data):
    path = str(path)
    return open_splits(Data(train=path, validation=path, test=path, **data), task, evaluation)


def overridden(name, *overrides):
    """The columns that a recipe gets from the command line."""
    return load_recipe(name, overrides=tuple(overrides)).data


# ------------------------------------------------------------------------------ by split


def test_a_split_may_have_columns_of_its_own(tmp_path):
    train = write_jsonl(tmp_path / "train.jsonl", [{"text": "A", "tldr": "a", "abstract": "no"}])
    test = write_jsonl(tmp_path / "test.jsonl", [{"text": "B", "abstract": "b"}])
    data = overridden(
        "summarize", f"data.train={train}", f"data.validation={train}", f"data.test={test}",
        f"data.tests.more={test}", "data.columns.document=text", "data.columns.summary=tldr",
        "data.columns.test.summary=abstract", "data.columns.more.summary=[abstract, text]",
    )  # fmt: skip
    splits = open_splits(data, get_task("summarize"))
    summaries = {name: [row["summary"] for row in rows] for name, rows in splits.items()}
    assert summaries == {
        "train": ["a"], "validation": ["a"], "test": ["b"], "more": [["b", "B"]],
    }  # fmt: skip


def test_columns_of_a_split_need_no_rows_to_predict():
    """A run on a saved folder, whose recipe names no test rows, predicts without that folder."""
    data = Data(train="gone", columns={"test": {"document": "body"}})
    check_columns(data, TASKS["summarize"])
    with pytest.raises(UserError, match=r"data.columns.test: these rows"):
        open_splits(data, TASKS["summarize"])


def test_columns_by_split_are_read_from_a_recipe_file(tmp_path):
    rows = write_jsonl(tmp_path / "rows.jsonl", [{"document": "A", "s1": "a", "s2": "b"}])
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(
        f"task: summarize\ntrain: {{max_steps: 1}}\ndata:\n  train: {rows}\n  validation: {rows}\n"
        f"  test: {rows}\n  columns: {{summary: s1, test: {{summary: [s2, s1]}}}}\n"
    )
    splits = open_splits(load_recipe(str(recipe)).data, get_task("summarize"))
    assert [row["summary"] for name in ("train", "test") for row in splits[name]] == [
        "a",
        ["b", "a"],
    ]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"tset": {"summary": "a"}}, "train, validation, test; did you mean test?"),
        ({"test": {"sumary": "a"}}, "data.columns.test.sumary: summarize has no such column"),
        ({"validation": {"summary": "a"}}, "these rows are held out from the training rows"),
        ({"document": ["a", "b"]}, "summarize reads document from one column"),
        ({"test": "a"}, "test is a split; name its columns one by one, as in data.columns.test.s"),
        ({"test": {"document": ["a"]}}, "data.columns.test.document: summarize reads document"),
    ],
)
def test_columns_that_cannot_be_are_refused(tmp_path, columns, expected):
    path = str(write_jsonl(tmp_path / "rows.jsonl", summary_rows(20)))
    with pytest.raises(UserError) as error:
        open_splits(Data(train=path, test=path, columns=columns), get_task("summarize"))
    assert expected in str(error.value)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("data.columns.summary=[]", "summary takes the name of a column, or a list of names"),
        ("data.columns={summary: 3}", "summary takes the name of a column, or a list of names"),
        ("data.columns.test.summary.x=1", "test.summary takes the name of a column"),
    ],
)
def test_what_is_no_column_is_refused_in_one_line(override, expected):
    with pytest.raises(UserError) as error:
        overridden("summarize", override)
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


def test_null_unsets_a_column_of_the_recipe():
    assert overridden("translate", "data.columns.source=null").columns == {"target": "de"}


# ------------------------------------------------------------------------------ references


@pytest.mark.parametrize("name", REFERENCES)
def test_several_columns_are_references(tmp_path, name):
    task = TASKS[name]
    row = {**REFERENCES[name], "a": "first", "b": "", "c": "third", "topic": "sea"}
    rows = [row, {**row, "a": None}, {**row, "a": " ", "c": ["x", "y"]}]
    path = write_jsonl(tmp_path / "rows.jsonl", rows)
    columns = {task.target: ["a", "b", "c"]}
    splits = open_at(path, task, Evaluation(by=["topic"]), columns=columns)
    examples = [to_example(row, task) for row in splits["test"]]
    assert [e.references for e in examples] == [["first", "third"], ["third"], ["x", "y"]]
    assert [e.completion for e in examples] == [" first", " third", " x"]
    assert [row["by"] for row in splits["test"]] == [{"topic": "sea"}] * 3


@pytest.mark.parametrize("name", ["classify", "chat", "pretrain"])
def test_a_task_of_one_answer_has_one_column_for_it(tmp_path, name):
    path = write_jsonl(tmp_path / "rows.jsonl", [{"text": "a", "label": "b"}])
    with pytest.raises(UserError, match="from one column, not from a list"):
        open_at(path, TASKS[name], columns={TASKS[name].target: ["text", "label"]})


def test_a_missing_reference_column_is_named_beside_those_that_exist(tmp_path):
    path = write_jsonl(tmp_path / "rows.jsonl", [{"document": "d", "summary1": "a"}])
    with pytest.raises(
        UserError, match=r"no column 'summary2'; the columns are: document, summary1"
    ):
        open_at(path, TASKS["summarize"], columns={"summary": ["summary1", "summary2"]})
    with pytest.raises(UserError, match=r"data.columns.summary=\[document,summary1\]$"):
        open_at(path, TASKS["summarize"], columns={"summary": "document,summary1"})


# ------------------------------------------------------------------------------ templates


def test_a_template_may_name_any_column(tmp_path):
    rows = [
        {"document": "A ferry left.", "summary": "s", "title": "Harbour", "year": 1901},
        {"document": "A ferry left.", "summary": "s", "title": None, "year": 1902},
    ]
    path = write_jsonl(tmp_path / "rows.jsonl", rows)
    template = "{year} {#title}({title}) {/title}{heading}: {document} =>"
    task = with_template(TASKS["summarize"], template)
    prompts = [
        to_example(row, task).prompt_text
        for row in open_at(path, task, columns={"heading": "summary"})["train"]
    ]
    assert prompts == ["1901 (Harbour) s: A ferry left. =>", "1902 s: A ferry left. =>"]


def test_a_column_that_only_a_template_names_has_to_exist(tmp_path):
    path = write_jsonl(tmp_path / "rows.jsonl", [{"document": "d", "summary": "s", "title": "t"}])
    task = with_template(TASKS["summarize"], "{titel}: {document} =>")
    with pytest.raises(UserError) as error:
        open_at(path, task)
    assert (
        "no column 'titel'; the columns are: document, summary, title; name one of them in the"
        in str(error.value)
    )
    assert "data.columns.titel=title" in str(error.value)


@pytest.mark.parametrize("text", ["Mara keeps a goat.", "", None])
def test_one_template_makes_both_prompts_of_alpaca(tmp_path, text):
    row = {"instruction": " Who keeps it? ", "input": text, "output": "Mara."}
    path = write_jsonl(tmp_path / "rows.jsonl", [row])
    task = with_template(TASKS["instruct"], ALPACA_TEMPLATE)
    (row,) = open_at(path, task)["train"]
    expected = ALPACA_WITH_INPUT if text else ALPACA_WITHOUT_INPUT
    assert to_example(row, task).prompt_text == expected.format(
        instruction="Who keeps it?", input=text
    )


def test_a_prompt_with_sections_typed_whole_has_the_tokens_of_training(tiny_gpt2):
    tokenizer = load_model(str(tiny_gpt2))[1]
    task = with_template(TASKS["instruct"], ALPACA_TEMPLATE)
    for text in (TEXT[0], ""):
        row = {"id": "0", "instruction": TEXT[2], "input": text, "system": "", "output": "x"}
        example = to_example(row, task)
        ids = encode_text([segment.text for segment in example.prompt], tokenizer)
        assert [i for part in ids for i in part] == encode_text([example.prompt_text], tokenizer)[0]


# ------------------------------------------------------------------------------ languages


@pytest.mark.parametrize(
    ("data", "template", "prompt", "warnings"),
    [
        ({}, None, "English: {source}\nGerman:", 0),
        ({"columns": {"source": "en", "target": "fr"}}, None, "English: {source}\nFrench:", 0),
        ({"columns": {"target": "translation.zh_CN"}}, None, "English: {source}\nChinese:", 0),
        ({"columns": {"source": "de", "target": ["en", "en2"]}}, None,
         "German: {source}\nEnglish:", 0),
        ({"target_language": "Klingon"}, None, "English: {source}\nKlingon:", 0),
        ({"target_language": "French"}, "In {target_language}: {source} =>",
         "In French: {source} =>", 0),
        ({"columns": {"target": "fr"}, "target_language": "German"}, None,
         "English: {source}\nGerman:", 1),
        ({"columns": {"source": "en", "target": "fr"}}, "English: {source}\nGerman:",
         "English: {source}\nGerman:", 1),
        ({"columns": {"source": "de", "target": "en"}}, "English: {source}\nGerman:",
         "English: {source}\nGerman:", 1),
        ({"columns": {"source": "en", "target": "de"}}, "Say in German: {source} ->",
         "Say in German: {source} ->", 0),
        ({"columns": {"source": "en", "target": "text"}}, None, "English: {source}\nGerman:", 1),
        ({"columns": {"source": "a", "target": "b"}}, None, "English: {source}\nGerman:", 2),
        ({"columns": {"source": "en", "target": "text"}, "target_language": "German"}, None,
         "English: {source}\nGerman:", 0),
        ({"columns": {"source": "question", "target": "answer"}}, "Q: {source}\nA:",
         "Q: {source}\nA:", 0),
    ],
)  # fmt: skip
def test_languages_fill_the_prompt_or_are_warned_of(data, template, prompt, warnings):
    data = Data(train="x", template=template, **data)
    task = prompt_task("translate", data)
    assert task.template == prompt
    assert len(prompt_warnings(data, task)) == warnings


def test_a_cue_that_contradicts_the_columns_is_warned_of_even_if_quiet(llmkit, tmp_path):
    path = write_jsonl(tmp_path / "rows.jsonl", [{"en": t, "fr": t} for t in TEXT])
    options = ("data.columns.target=fr", "data.target_language=German", "model=no/model")
    result = llmkit("finetune", "translate", f"data.train={path}", *options, "--quiet")
    warning, error = result.stderr.splitlines()
    assert "data.columns.target is French by its name, but the prompt says German" in warning
    assert "no/model" in error
    assert not result.stdout


def test_languages_are_for_translation():
    with pytest.raises(UserError, match="are for translate; remove them"):
        prompt_task("qa", Data(target_language="French"))


@pytest.mark.parametrize(
    ("columns", "task", "advice"),
    [
        (("document", "summary1", "summary2"), "summarize", "summary=[summary1,summary2]"),
        (("document", "summary_1", "summary_2"), "summarize", "summary=[summary_1,summary_2]"),
        (("document", "sumary"), "summarize", "summary=sumary"),
        (("document", "tldr"), "summarize", "summary=COLUMN"),
        (("text", "label1", "label2"), "classify", "label=label"),
        (("source", "target"), "translate", "source=source"),
    ],
)
def test_the_right_column_is_suggested(llmkit, tmp_path, columns, task, advice):
    path = write_jsonl(tmp_path / "rows.jsonl", [dict.fromkeys(columns, "a")] * 3)
    result = llmkit("check", task, f"data.train={path}")
    assert result.exit_code == 2
    assert f"name the right one with data.columns.{advice}" in result.stderr


@pytest.mark.parametrize("split", ["validation", "test", "tests.other"])
def test_other_columns_in_a_split_are_named_for_that_split(llmkit, tmp_path, split):
    labeled = [{"text": f"{index}", "label": index % 2} for index in range(40)]
    train = write_jsonl(tmp_path / "train.jsonl", labeled)
    rows = write_jsonl(tmp_path / "rows.jsonl", [{"review": "a", "label": "b"}])
    result = llmkit("check", "classify", f"data.train={train}", f"data.{split}={rows}")
    assert f"data.columns.{split.removeprefix('tests.')}.text=COLUMN" in result.stderr
    write_jsonl(rows, [{"text": "a"}])
    result = llmkit("check", "classify", f"data.train={train}", f"data.{split}={rows}")
    assert "`llmkit generate --input FILE` predicts rows that lack it" in result.stderr


# ------------------------------------------------------------------------------ cache keys


def test_whatever_the_tokens_depend_on_is_in_the_cache_key(tmp_path, tiny_gpt2):
    tokenizer = load_model(str(tiny_gpt2))[1]
    rows = [{"instruction": "a", "input": "b", "output": "c", "second": "d", "title": "t"}]
    path = str(write_jsonl(tmp_path / "rows.jsonl", rows))
    instruct = get_task("instruct")

    def key(task=instruct, split="train", **data):
        splits = open_splits(Data(train=path, validation=path, test=path, **data), task)
        return encoding_key(splits[split], tokenizer, EncodingOptions(max_length=64))

    def translation(**data):
        task = prompt_task("translate", Data(train="x", **data))
        return key(task, columns={"source": "input", "target": "output"})

    keys = [
        key(),
        key(columns={"input": "title"}),
        key(columns={"train": {"input": "second"}}),
        key(columns={"output": ["output", "second"]}),
        key(columns={"output": ["second", "output"]}),
        key(skip_invalid=True),
        key(with_template(instruct, "{instruction} {title} =>")),
        key(with_template(instruct, "{instruction} {title} =>"), columns={"title": "second"}),
        key(get_task("chat")),
        translation(),
        translation(target_language="French"),
    ]
    assert len(set(keys)) == len(keys)
    assert key(columns={"test": {"input": "second"}}) == keys[0]


def test_the_shape_of_the_first_row_is_in_the_cache_key(tmp_path, tiny_gpt2):
    """The bytes decide on the shape, so a shape in the key is a guard, not the only one."""
    tokenizer = load_model(str(tiny_gpt2))[1]
    row = {"instruction": "a", "output": "c", "messages": []}
    path = write_jsonl(tmp_path / "rows.jsonl", [row])
    rows = open_at(path, get_task("instruct"))["train"]
    keys = {
        encoding_key(each, tokenizer, EncodingOptions(max_length=64))
        for each in (rows, replace(rows, shape=None))
    }
    assert len(keys) == 2


# ------------------------------------------------------------------------------ rows left out


def conversation(*contents, **fields):
    roles = ["user", "assistant"] * len(contents)
    turns = [{"role": role, "content": text} for role, text in zip(roles, contents, strict=False)]
    turns[-1] |= fields
    return {"messages": turns}


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


def test_invalid_rows_are_refused_with_the_setting_that_leaves_them_out(talks, llmkit, tiny_gpt2):
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


def test_invalid_rows_are_left_out_counted_and_named(talks, llmkit, tiny_gpt2, tmp_path):
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


def test_rows_of_any_task_can_be_left_out(tmp_path):
    path = tmp_path / "rows.jsonl"
    good = json.dumps(summary_rows(1)[0])
    path.write_text(f'{good}\n{{broken\n{{"document": "no summary"}}\n{good}\n')
    splits = open_at(path, TASKS["summarize"], skip_invalid=True)
    assert [row["where"] for row in splits["train"]] == [f"{path}:1", f"{path}:4"]
    with pytest.raises(UserError, match=r":2: broken JSON.*data\.skip_invalid=true"):
        list(open_at(path, TASKS["summarize"])["train"])


def test_rows_none_of_which_can_be_read_are_refused(tmp_path):
    path = write_jsonl(tmp_path / "rows.jsonl", INVALID[:1])
    with pytest.raises(UserError, match="must end with an answer"):
        open_at(path, TASKS["chat"], skip_invalid=True)


def test_shapes_that_are_mixed_are_named(tmp_path):
    rows = [conversation("Who?", "Mara."), {"instruction": "Who?", "output": "Mara."}]
    path = write_jsonl(tmp_path / "rows.jsonl", rows)
    with pytest.raises(UserError) as error:
        list(open_at(path, TASKS["chat"])["train"])
    assert f"{path}:2: the row does not have the file's shape, OpenAI messages" in str(error.value)
    assert "but Alpaca: instruction, output" in str(error.value)


def test_a_first_row_of_no_shape_does_not_hide_the_shape_of_the_others(tmp_path):
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


# ------------------------------------------------------------------------------ what is shown


def test_shape_and_prompt_are_on_the_first_lines(llmkit, tiny_gpt2, tmp_path):
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


# ------------------------------------------------------------------------------ prompts alone


@pytest.mark.parametrize(
    ("task", "row", "prompt"),
    [
        ("chat", conversation("Who?"), "User: Who?\nAssistant:"),
        ("chat", conversation("Who?", "Mara."), "User: Who?\nAssistant:"),
        ("chat", {"conversations": [{"from": "human", "value": "Who?"}]}, "User: Who?\nAssistant:"),
        ("chat", {"instruction": "Who?"}, "User: Who?\nAssistant:"),
        ("instruct", {"instruction": "Who?", "context": "Mara."},
         "Instruction: Who?\nInput: Mara.\nResponse:"),
        ("instruct", {"prompt": "Who?"}, "Instruction: Who?\nResponse:"),
        ("instruct", conversation("Who?"), "Instruction: Who?\nResponse:"),
        ("instruct", {"conversations": [{"from": "Human", "value": "Who?"}]},
         "Instruction: Who?\nResponse:"),
        ("instruct", {"prompt": conversation("Who?")["messages"]},
         "Instruction: Who?\nResponse:"),
        ("chat", {"prompt": conversation("Who?")["messages"]}, "User: Who?\nAssistant:"),
        ("summarize", {"document": "A."}, "A.\n\nTL;DR:"),
    ],
)  # fmt: skip
def test_a_row_without_an_answer_has_a_prompt(task, row, prompt):
    segments = select_prompt(row, TASKS[task], {}, "here")
    assert "".join(segment.text for segment in segments) == prompt


def test_a_message_by_an_unknown_role_has_no_prompt():
    row = {"messages": [{"role": ["user"], "content": "Who?"}]}
    for task in ("chat", "instruct"):
        with pytest.raises(UserError, match=r"here: .*message 1 has the role \['user'\]"):
            select_prompt(row, TASKS[task], {}, "here")


TALK = [{"role": "user", "content": "Who left?"}, {"role": "assistant", "content": "Mara."}]


@pytest.mark.parametrize("notation", [json.dumps, str])
@pytest.mark.parametrize(
    ("task", "row", "references"),
    [
        ("chat", {"messages": TALK}, ["Mara."]),
        ("instruct", {"conversations": TALK}, ["Mara."]),
        ("qa", {"context": "c", "question": "q", "answers": ["x", "y"]}, ["x", "y"]),
        ("qa", {"context": "c", "question": "q", "answers": {"text": ["x"], "start": [0]}}, ["x"]),
        ("qa", {"context": "c", "question": "q", "answers": [{"text": "x"}]}, ["x"]),
        ("qa", {"context": "c", "question": "q", "answers": "[sic] x"}, ["[sic] x"]),
        ("classify", {"text": "t", "label": ["x"]}, ["x"]),
        ("instruct", {"instruction": "List.", "output": "['x']"}, ["['x']"]),
    ],
)
def test_lists_in_the_cells_of_a_table_are_read(task, row, references, notation):
    """As pandas and spreadsheets hold them."""
    task = get_task(task)
    cells = {n: v if isinstance(v, str) else notation(v) for n, v in row.items()}
    read = read_columns(cells, task, {}, shape_of(cells, task, {}), "rows.csv:2")
    assert to_example({"id": "0", **read}, task).references == references


@pytest.mark.parametrize("text", ["{1, 2}", "[0, 5]", "{[1]: 2}", "{}", "[sic]"])
def test_an_answer_in_brackets_is_a_text(text):
    row = {"context": "A goat.", "question": "What?", "answers": text}
    assert read_columns(row, TASKS["qa"], {}, None, "rows.csv:2")["answers"] == text
    row = {"text": "A goat.", "label": "{[1]: 2}"}
    assert read_columns(row, TASKS["classify"], {}, None, "rows.csv:2")["label"] == "{[1]: 2}"


@pytest.mark.parametrize(
    ("task", "row", "expected"),
    [
        ("qa", {"context": "c", "question": "q",
                "answers": "{'text': array(['x'], dtype=object), 'answer_start': array([0])}"},
         "column answers holds a printed array .* save the data as jsonl or parquet"),
        ("pretrain", {"text": ["a", "b"]}, "column text must hold a text, not list"),
        ("classify", {"text": "t", "label": "['x', 'y']"}, "one label, not a list of 2"),
        ("chat", {"messages": "[{'role': 'user'}\n {'role': 'assistant'}]"}, "save the data"),
    ],
)  # fmt: skip
def test_cells_that_hold_no_answer_are_refused(task, row, expected):
    task = get_task(task)
    with pytest.raises(UserError, match=f"rows.csv:2: .*{expected}"):
        read_columns(row, task, {}, shape_of(row, task, {}), "rows.csv:2")


@pytest.mark.parametrize(
    ("value", "expected"),
    [("r7", "r7"), (7, "7"), (7.0, "7"), (7.5, "7.5"), ("007", "007"), (0, "0"), (-0.0, "0"),
     (None, "3"), ("", "3"), (float("nan"), "3")],
)  # fmt: skip
def test_an_id_is_the_same_as_number_and_as_text(value, expected):
    assert row_id({"id": value}, 3) == expected
    assert row_id({}, 3) == "3"
