"""Test rows as token ids: templated once, tokenized once, refused before training."""

import shutil
import sys
from collections import Counter

import pytest
from rows import TEXT, write_jsonl
from runs import SHORT
from tokenizers.decoders import DecodeStream
from transformers import PreTrainedTokenizerFast

from llmkit.data.encode import EncodingOptions, encode_text
from llmkit.errors import UserError
from llmkit.evaluation.evaluation_set import encode_test_set
from llmkit.generation import text_stream
from llmkit.model.load import load_model
from llmkit.scoring import testset
from llmkit.tasks import TASKS, base

MARK = "scored row"  # in every text of a scored row, and in no other
ROWS = {
    "summarize": lambda i, mark: {"document": f"{TEXT[i % 3]} {mark}", "summary": f"{mark} ok"},
    "classify": lambda i, mark: {"text": f"{TEXT[i % 3]} {mark}", "label": ("yes", "no")[i % 2]},
    "chat": lambda i, mark: {
        "messages": [{"role": "user", "content": f"{mark}?"},
                     {"role": "assistant", "content": f"{mark}!"}]},
    "pretrain": lambda i, mark: {"text": f"{TEXT[i % 3]} {mark}"},
}  # fmt: skip


class CountingTokenizer:
    """A tokenizer of the `tokenizers` library that counts the texts it is given."""

    def __init__(self, tokenizer, counts):
        self.__dict__.update(tokenizer=tokenizer, counts=counts)

    def __getattr__(self, name):
        function = getattr(self.tokenizer, name)
        if not name.startswith("encode_batch"):
            return function

        def encode(texts, **options):
            self.counts.update(texts)
            return function(texts, **options)

        return encode

    def __setattr__(self, name, value):
        setattr(self.tokenizer, name, value)


class UnwrappingStream:
    """A DecodeStream, which is written in Rust and takes only the tokenizer itself."""

    def __init__(self, **options):
        self.stream = DecodeStream(**options)

    def step(self, counting, token):
        return self.stream.step(counting.tokenizer, token)


@pytest.fixture
def counts(monkeypatch):
    """Counts of how often each row is templated, by its place, and each text is tokenized."""
    templated, tokenized = Counter(), Counter()
    to_example = base.to_example

    def count_row(row, task):
        templated[row["where"]] += 1
        return to_example(row, task)

    for name, module in list(sys.modules.items()):
        if name.startswith("llmkit.") and getattr(module, "to_example", None) is to_example:
            monkeypatch.setattr(module, "to_example", count_row)
    monkeypatch.setattr(text_stream, "DecodeStream", UnwrappingStream)
    backend = PreTrainedTokenizerFast.backend_tokenizer
    monkeypatch.setattr(
        PreTrainedTokenizerFast,
        "backend_tokenizer",
        property(lambda self: CountingTokenizer(backend.fget(self), tokenized)),
    )
    return templated, tokenized


@pytest.fixture
def splits(tmp_path):
    """Write the splits of a task; returns the recipe keys that name them."""

    def write(task):
        for split, count in (("train", 12), ("validation", 4), ("test", 6)):
            marks = [f"{split} {MARK if split != 'train' else 'row'} {i}" for i in range(count)]
            rows = [{"id": str(i), **ROWS[task](i, mark)} for i, mark in enumerate(marks)]
            write_jsonl(tmp_path / f"{split}.jsonl", rows)
        names = [f"data.{split}={split}.jsonl" for split in ("train", "validation", "test")]
        return [*names, *SHORT, *(["data.template=null"] if task != "pretrain" else [])]

    return write


def assert_once(counts, num_rows, files):
    templated, tokenized = counts
    of_files = {place: n for place, n in templated.items() if any(f in place for f in files)}
    assert len(of_files) == num_rows
    assert set(of_files.values()) == {1}
    of_texts = {text: n for text, n in tokenized.items() if MARK in text}
    assert len(of_texts) >= num_rows
    assert set(of_texts.values()) == {1}


@pytest.mark.parametrize("task", ROWS)
def test_two_models_are_scored_on_rows_templated_and_tokenized_once(
    llmkit, tiny_gpt2, tmp_path, splits, counts, task
):
    settings = splits(task)
    shutil.copytree(tiny_gpt2, tmp_path / "base")
    result = llmkit("evaluate", tiny_gpt2, "--recipe", task, "model=base", *settings)
    assert result.exit_code == 0, result.output
    assert "untuned" in result.output
    assert_once(counts, 4, ["test.jsonl"])


@pytest.mark.parametrize("command", ["finetune", "check"])
def test_a_command_templates_and_tokenizes_each_scored_row_once(
    llmkit, tiny_gpt2, splits, counts, command
):
    result = llmkit(command, "summarize", f"model={tiny_gpt2}", *splits("summarize"))
    assert result.exit_code == 0, result.output
    assert_once(counts, 8, ["test.jsonl", "validation.jsonl"])


@pytest.fixture(scope="module")
def tokenizer(tiny_gpt2):
    return load_model(str(tiny_gpt2))[1]


def prepared(task, rows, tokenizer, answers=(), max_length=60):
    rows = [{"id": str(i), "where": f"a:{i}", **row} for i, row in enumerate(rows)]
    test = testset.TestSet.of(rows, TASKS[task], Counter(answers))
    return encode_test_set(test, tokenizer, EncodingOptions(max_length, True), max_new_tokens=8)


def test_prompts_and_encoded_rows_have_the_same_tokens(tokenizer):
    row = ROWS["summarize"](0, "x")
    made = prepared("summarize", [row], tokenizer, max_length=120)
    (prompt,), (encoded,) = made.prompts, made.encoded
    completion = encode_text([f" {row['summary']}"], tokenizer)[0]
    assert encoded["input_ids"] == [*prompt, *completion, tokenizer.eos_token_id]
    assert made.labels == {}
    assert made.num_bytes is None


def test_a_classification_set_has_the_labels_of_the_training_rows(tokenizer):
    rows = [{"text": "a", "label": "yes"}, {"text": "b", "label": ""}]
    made = prepared("classify", rows, tokenizer, ["no", "yes"])
    assert list(made.labels) == ["no", "yes"]
    assert all(ids[-1] == tokenizer.eos_token_id for ids in made.labels.values())
    assert [example.where for example in made.unlabeled] == ["a:1"]
    assert len(made.prompts) == len(made.encoded) == 1


@pytest.mark.parametrize(
    ("task", "row", "answers", "expected"),
    [
        ("classify", {"text": "a", "label": "maybe"}, ["no", "yes"], "no training row has the"),
        ("classify", {"text": "a", "label": ""}, ["no", "yes"], "no row from here on has a label"),
        ("qa", {"context": "a", "question": "long " * 40, "answers": ["b"]}, [], "leaves no room"),
        ("summarize", {"document": " ", "summary": "a"}, [], "no row is left to train on"),
        ("pretrain", {"text": " "}, [], "no row is left to train on"),
    ],
)
def test_a_set_that_cannot_be_scored_is_refused(tokenizer, task, row, answers, expected):
    with pytest.raises(UserError, match=expected):
        prepared(task, [row], tokenizer, answers)


def test_a_classifier_needs_two_labels_that_the_training_rows_have(llmkit, tiny_gpt2, tmp_path):
    labels = ("good", "bad", "neither of these")
    rows = [{"text": f"{TEXT[i % 3]} {i}", "label": labels[i % 3]} for i in range(60)]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    write_jsonl(tmp_path / "test.jsonl", [*rows[:3], {"text": "x", "label": "goood"}])
    settings = (f"model={tiny_gpt2}", "data.train=rows.jsonl", *SHORT, "--run-dir", "run")
    result = llmkit("finetune", "classify", "data.test=test.jsonl", *settings)
    assert result.exit_code == 2
    assert "test.jsonl:4: no training row has the label 'goood'" in result.stderr
    assert result.stderr.endswith("did you mean good?\n")
    write_jsonl(tmp_path / "rows.jsonl", rows[::3])
    result = llmkit("finetune", "classify", *settings)
    assert result.exit_code == 2
    assert "all rows have the label 'good'" in result.stderr
    result = llmkit("check", "classify", "data.test=test.jsonl", *settings[:-2])
    assert result.exit_code == 2
    assert "all rows have the label 'good'" in result.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["general-text", "General-Text"])
def test_test_sets_that_would_share_a_folder_are_refused(llmkit, tmp_path, name):
    settings = (f"data.tests.{name}=a.jsonl", "data.train=a.jsonl")
    result = llmkit("check", "summarize", *settings, "evaluation.general_text=embedded")
    assert result.exit_code == 2
    assert f"data.tests.{name}: evaluation.general_text is scored under this name" in result.stderr
    result = llmkit("check", "summarize", "data.tests.Ferry=a.jsonl", *settings,
                    "data.tests.ferry=a.jsonl")  # fmt: skip
    assert result.exit_code == 2
    assert "data.tests.ferry: choose a name" in result.stderr
