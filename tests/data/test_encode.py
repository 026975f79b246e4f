"""Encoding: learnt is exactly the completion and its end-of-text; nothing is lost unsaid."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmkit.constants import IGNORE_INDEX
from llmkit.data.encode import (
    EncodingOptions,
    encode_example,
    encode_prompts,
    encode_rows,
    encode_segments,
    encode_text,
    encode_tokenized,
    truncate_longest,
)
from llmkit.data.encoded_rows import count_tokens
from llmkit.errors import UserError
from llmkit.tasks import get_task, is_blank, to_example

TASKS = {
    "summarize": ("document", "summary"),
    "translate": ("source", "target"),
    "qa": ("context", "question", "answers"),
    "instruct": ("input", "instruction", "output"),
}


TEXT = st.text(min_size=1, max_size=60).filter(lambda text: not is_blank(text))


def encode(tokenizer, task_name, texts, max_length, truncate=False):
    task = get_task(task_name)
    row = {"id": "0", **dict(zip(TASKS[task_name], texts, strict=True))}
    example = to_example(row, task)
    ids = encode_text([*(s.text for s in example.prompt), example.completion], tokenizer)
    return example, ids, encode_example(example, ids, tokenizer.eos_token_id, max_length, truncate)


@settings(max_examples=300)
@given(
    task=st.sampled_from(sorted(TASKS)),
    max_length=st.integers(8, 120),
    truncate=st.booleans(),
    data=st.data(),
)
def test_a_row_that_is_too_long_loses_its_source_first_and_then_its_completion(
    tokenizer, task, max_length, truncate, data
):
    """The source goes first, then, where allowed, the completion; EOS only ends what is whole."""
    texts = [data.draw(TEXT) for _ in TASKS[task]]
    example, ids, encoded = encode(tokenizer, task, texts, max_length, truncate)
    whole = [*ids[-1], tokenizer.eos_token_id]
    fixed = sum(
        len(tokens)
        for segment, tokens in zip(example.prompt, ids, strict=False)
        if not segment.is_truncatable
    )
    if encoded.outcome == "completion too long":
        assert not encoded.input_ids
        assert fixed + 1 + (1 if truncate else len(whole)) > max_length
        return
    assert len(encoded.input_ids) <= max_length
    supervised = [t for t in encoded.labels if t != IGNORE_INDEX]
    if encoded.outcome == "completion truncated":
        assert truncate
        assert len(encoded.input_ids) == max_length
        assert len(encoded.input_ids) - len(supervised) == fixed + 1, "the source went first"
        assert supervised == whole[: len(supervised)]
        assert supervised[-1] != tokenizer.eos_token_id
    else:
        assert supervised == whole
    prompt = tokenizer.decode(encoded.input_ids[: -len(supervised)])
    assert prompt.endswith(example.prompt[-1].text), "the cue is never cut"


@given(task=st.sampled_from(sorted(TASKS)), data=st.data())
def test_a_prompt_typed_whole_has_the_tokens_of_training(tokenizer, task, data):
    texts = [data.draw(TEXT) for _ in TASKS[task]]
    example, ids, *_ = encode(tokenizer, task, texts, max_length=10_000)
    assert [t for tokens in ids[:-1] for t in tokens] == encode_text(
        [example.prompt_text], tokenizer
    )[0]


def test_training_and_generation_truncate_a_prompt_alike(tokenizer):
    example, _, encoded = encode(tokenizer, "qa", ["A dog. " * 80, "Who?", "Nobody"], 100)
    supervised = len(encoded.completion)
    (prompt,) = encode_prompts(encode_segments([example], tokenizer), max_tokens=100 - supervised)
    assert prompt == encoded.input_ids[:-supervised]


def test_special_tokens_typed_in_a_text_are_plain_characters(tokenizer):
    text = "before <|endoftext|> after"
    (ids,) = encode_text([text], tokenizer)
    assert tokenizer.eos_token_id not in ids
    assert tokenizer.decode(ids) == text


def test_a_prompt_that_leaves_no_room_for_the_completion_is_refused(tokenizer):
    example, *_ = encode(tokenizer, "qa", ["c", "long question " * 40, "a"], 500)
    with pytest.raises(UserError, match="row 0: the prompt leaves no room"):
        encode_prompts(encode_segments([example], tokenizer), max_tokens=20)


def rows_of(task, count):
    return [{"id": str(i), "document": "d " * i, "summary": "s" * (i % 3)} for i in range(count)]


def test_every_row_and_token_read_is_counted(tokenizer):
    task = get_task("summarize")
    rows = rows_of(task, 40)
    encoded, encoding_report = encode_rows(rows, task, tokenizer, EncodingOptions(max_length=30))
    outcomes = encoding_report.outcomes
    assert encoding_report.num_rows == 40
    assert set(outcomes) == {"whole", "empty", "prompt truncated"}
    assert len(encoded) == outcomes["whole"] + outcomes["prompt truncated"]
    assert encoding_report.rows_by_problem["empty"] == [
        "row 0",
        *(f"row {i}" for i in range(3, 40, 3)),
    ]
    lengths, supervised = count_tokens(encoded)
    assert encoding_report.tokens["supervised"] == supervised.sum()
    assert encoding_report.tokens["prompt"] == lengths.sum() - supervised.sum()
    examples = (to_example(row, task) for row in rows)
    texts = [[e.prompt_text, e.completion] for e in examples]
    read = [sum(map(len, encode_text(pair, tokenizer))) + 1 for pair in texts]
    assert encoding_report.num_tokens == sum(read)


def test_temporary_files_have_no_name_while_their_rows_are_read(tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    task, options = get_task("summarize"), EncodingOptions(max_length=30)
    rows = rows_of(task, 4)
    tokenized = encode_segments((to_example(row, task) for row in rows), tokenizer)
    for encoded, report in (
        encode_rows(rows, task, tokenizer, options),
        encode_tokenized(tokenized, task, tokenizer.eos_token_id, options),
    ):
        assert list(tmp_path.iterdir()) == []
        assert [row["where"] for row in encoded] == ["row 1", "row 2"]
        assert report.num_rows == 4


def test_rows_without_any_supervised_token_are_refused(tokenizer):
    task = get_task("summarize")
    options = EncodingOptions(max_length=20)
    row = {"id": "0", "document": "d", "summary": "long " * 50}
    encoded, encoding_report = encode_rows([row], task, tokenizer, options)
    assert len(encoded) == 0
    with pytest.raises(UserError, match=r"no row is left to train on .*completion too long"):
        encoding_report.require_supervised(20, False)


@pytest.mark.parametrize("text", ["", " \n", "\u200b\ufeff", "\x00\x1b"])
def test_a_text_of_invisible_characters_is_blank(text):
    assert is_blank(text)
    assert not is_blank(f"{text}\u0e01{text}")


def talk(contents):
    """Messages by user and assistant in turn."""
    roles = ["user", "assistant"] * len(contents)
    return [{"role": r, "content": c} for r, c in zip(roles, contents, strict=False)]


CONTENTS = st.lists(TEXT.map(str.strip).filter(lambda t: not is_blank(t)), min_size=2, max_size=8)


@settings(max_examples=25)
@given(
    talks=st.lists(CONTENTS.map(lambda c: c[: len(c) // 2 * 2]), min_size=8, max_size=8),
    max_length=st.integers(30, 300),
)
def test_every_answer_of_a_conversation_is_supervised_with_its_end_of_text(
    tokenizer, talks, max_length
):
    task, eos = get_task("chat"), tokenizer.eos_token_id
    rows = [{"id": "0", "where": str(i), "messages": talk(c)} for i, c in enumerate(talks)]
    encoded, encoding_report = encode_rows(rows, task, tokenizer, EncodingOptions(max_length))
    found = {int(row["where"]): row for row in encoded}
    outcomes, num_supervised, num_answer_tokens = encoding_report.column("outcome").tolist(), 0, 0
    for number, (row, contents) in enumerate(zip(rows, talks, strict=True)):
        whole = [
            t
            for text in encode_text([f" {c}" for c in contents[1::2]], tokenizer)
            for t in [*text, eos]
        ]
        num_answer_tokens += len(whole)
        if number not in found:
            assert outcomes[number] == "completion too long"
            continue
        ids, labels = found[number]["input_ids"], found[number]["labels"]
        supervised = [t for t in labels if t != IGNORE_INDEX]
        num_supervised += len(supervised)
        assert len(ids) <= max_length
        if outcomes[number] == "whole":
            assert supervised == whole
            template = task.chat.template
            chat = tokenizer.apply_chat_template(row["messages"], chat_template=template)
            assert ids == list(chat["input_ids"])
        else:  # the oldest turns are gone, each as a whole
            assert supervised == whole[len(whole) - len(supervised) :]
            assert supervised.count(eos) <= len(contents) // 2
    assert encoding_report.tokens["supervised"] == num_supervised
    num_prompt_tokens = encoding_report.column("prompt_tokens").sum()
    assert encoding_report.num_tokens == num_prompt_tokens + num_answer_tokens


@given(st.lists(st.integers(0, 30), max_size=4), st.integers(0, 90))
def test_the_longest_source_is_truncated_first(lengths, excess):
    kept = truncate_longest(lengths, excess)
    expected = list(lengths)
    for _ in range(excess):  # token by token
        longest = max(expected, default=0)
        if longest > 1:
            expected[len(expected) - 1 - expected[::-1].index(longest)] -= 1
    assert kept == expected
