"""Encoding: learnt is exactly the completion and its end-of-text; nothing is lost unsaid."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmkit.encode import (
    collate,
    count_tokens,
    encode_example,
    encode_prompts,
    encode_rows,
    encode_text,
    row_order,
    split_step,
)
from llmkit.errors import UserError
from llmkit.loss import IGNORE_INDEX
from llmkit.model import load_model
from llmkit.tasks import get_task, to_example

TASKS = {
    "summarize": ("document", "summary"),
    "translate": ("source", "target"),
    "qa": ("context", "question", "answers"),
}
TEXT = st.text(min_size=1, max_size=60).filter(str.strip)


@pytest.fixture(scope="module")
def tokenizer(tiny_gpt2):
    return load_model(str(tiny_gpt2))[1]


def encode(tokenizer, task_name, texts, max_length, truncate=False):
    task = get_task(task_name)
    row = {"id": "0", **dict(zip(TASKS[task_name], texts, strict=True))}
    example = to_example(row, task)
    ids = encode_text([*(s.text for s in example.prompt), example.completion], tokenizer)
    encoded, fate = encode_example(example, ids, tokenizer.eos_token_id, max_length, truncate)
    return example, ids, encoded, fate


@settings(max_examples=300)
@given(task=st.sampled_from(sorted(TASKS)), data=st.data())
def test_supervised_text_is_the_completion_and_eos(tokenizer, task, data):
    texts = [data.draw(TEXT) for _ in TASKS[task]]
    example, ids, encoded, fate = encode(tokenizer, task, texts, max_length=10_000)
    assert fate == "whole"
    supervised = [t for t in encoded["labels"] if t != IGNORE_INDEX]
    assert supervised[-1] == tokenizer.eos_token_id
    assert tokenizer.decode(supervised[:-1], clean_up_tokenization_spaces=False) == (
        example.completion
    )
    assert sum(map(len, ids)) + 1 == len(encoded["input_ids"]) == len(encoded["labels"])
    assert encoded["input_ids"].count(tokenizer.eos_token_id) == 1


@settings(max_examples=300)
@given(
    task=st.sampled_from(sorted(TASKS)),
    max_length=st.integers(8, 120),
    truncate=st.booleans(),
    data=st.data(),
)
def test_rows_that_are_too_long(tokenizer, task, max_length, truncate, data):
    """The source goes first, then, where allowed, the completion; EOS only ends what is whole."""
    texts = [data.draw(TEXT) for _ in TASKS[task]]
    example, ids, encoded, fate = encode(tokenizer, task, texts, max_length, truncate)
    whole = [*ids[-1], tokenizer.eos_token_id]
    fixed = sum(
        len(tokens)
        for segment, tokens in zip(example.prompt, ids, strict=False)
        if not segment.is_shortenable
    )
    if encoded is None:
        assert fate == "completion too long"
        assert fixed + (1 if truncate else len(whole)) > max_length
        return
    assert len(encoded["input_ids"]) <= max_length
    supervised = [t for t in encoded["labels"] if t != IGNORE_INDEX]
    if fate == "completion cut":
        assert truncate
        assert supervised == whole[: len(supervised)]
        assert supervised[-1] != tokenizer.eos_token_id
    else:
        assert supervised == whole
    prompt = tokenizer.decode(encoded["input_ids"][: -len(supervised)])
    assert prompt.endswith(example.prompt[-1].text), "the cue is never cut"


@given(task=st.sampled_from(sorted(TASKS)), data=st.data())
def test_a_prompt_typed_whole_has_the_tokens_of_training(tokenizer, task, data):
    texts = [data.draw(TEXT) for _ in TASKS[task]]
    example, ids, *_ = encode(tokenizer, task, texts, max_length=10_000)
    assert [t for tokens in ids[:-1] for t in tokens] == encode_text(
        [example.prompt_text], tokenizer
    )[0]


def test_the_prompt_is_the_same_at_training_and_at_generation(tokenizer):
    example, _, encoded, _ = encode(tokenizer, "qa", ["A dog. " * 80, "Who?", "Nobody"], 100)
    supervised = sum(label != IGNORE_INDEX for label in encoded["labels"])
    (prompt,) = encode_prompts([example], tokenizer, room=100 - supervised)
    assert prompt == encoded["input_ids"][:-supervised]


def test_special_tokens_in_user_text_stay_text(tokenizer):
    text = "before <|endoftext|> after"
    (ids,) = encode_text([text], tokenizer)
    assert tokenizer.eos_token_id not in ids
    assert tokenizer.decode(ids) == text


def test_a_prompt_without_room_is_refused(tokenizer):
    example, *_ = encode(tokenizer, "qa", ["c", "long question " * 40, "a"], 500)
    with pytest.raises(UserError, match="row 0: the prompt leaves no room"):
        encode_prompts([example], tokenizer, room=20)


def rows_of(task, count):
    return [{"id": str(i), "document": "d " * i, "summary": "s" * (i % 3)} for i in range(count)]


def test_every_row_read_is_accounted_for(tokenizer):
    task = get_task("summarize")
    encoded, fates = encode_rows(
        rows_of(task, 40), task, tokenizer, template=None, max_length=30, truncate_completion=False
    )
    assert sum(fates.values()) == 40
    assert set(fates) == {"whole", "empty", "prompt shortened"}
    assert len(encoded) == fates["whole"] + fates["prompt shortened"]


def test_a_set_without_anything_to_learn_is_refused(tokenizer):
    task = get_task("summarize")
    with pytest.raises(UserError, match=r"no row is left to learn from .*completion too long"):
        encode_rows(
            [{"id": "0", "document": "d", "summary": "long " * 50}],
            task,
            tokenizer,
            template=None,
            max_length=20,
            truncate_completion=False,
        )


@given(texts=st.lists(st.text(max_size=80), min_size=1, max_size=12), max_length=st.integers(2, 40))
@settings(max_examples=100)
def test_blocks_teach_every_token_once(tokenizer, texts, max_length):
    task = get_task("pretrain")
    rows = [{"id": str(i), "text": text} for i, text in enumerate([*texts, "x"])]
    encoded, fates = encode_rows(
        rows, task, tokenizer, template=None, max_length=max_length, truncate_completion=False
    )
    kept = [row["text"] for row in rows if row["text"].strip()]
    expected = [
        token
        for ids in encode_text([f" {t}"[1:] for t in kept], tokenizer)
        for token in [*ids, tokenizer.eos_token_id]
    ]
    learnt = [token for row in encoded for token in row["labels"][1:]]
    assert learnt == expected
    assert all(len(row["input_ids"]) <= max_length for row in encoded)
    assert sum(fates.values()) == len(rows)


def test_token_counts_leave_out_the_first_token():
    from datasets import Dataset

    from llmkit.encode import FEATURES

    encoded = Dataset.from_dict(
        {"input_ids": [[1, 2, 3], [4, 5]], "labels": [[1, -100, 3], [4, -100]]}, features=FEATURES
    )
    lengths, supervised = count_tokens(encoded)
    assert lengths.tolist() == [3, 2]
    assert supervised.tolist() == [1, 0]


def test_row_order_is_a_pure_function_of_seed_and_epoch():
    assert row_order(50, seed=3, epoch=1) == row_order(50, seed=3, epoch=1)
    assert row_order(50, seed=3, epoch=1) != row_order(50, seed=3, epoch=2)
    assert row_order(50, seed=3, epoch=1) != row_order(50, seed=4, epoch=1)
    assert sorted(row_order(50, seed=3, epoch=1)) == list(range(50))


@given(
    lengths=st.lists(st.integers(1, 100), min_size=1, max_size=40),
    micro_batch_size=st.integers(1, 9),
    num_processes=st.integers(1, 4),
)
def test_a_step_is_dealt_out_whole_and_evenly(lengths, micro_batch_size, num_processes):
    indices = list(range(len(lengths)))
    dealt = split_step(indices, lengths, micro_batch_size, num_processes)
    assert len(dealt) == num_processes
    assert len({len(micro_batches) for micro_batches in dealt}) == 1
    flat = [i for micro_batches in dealt for batch in micro_batches for i in batch]
    assert Counter(flat) == Counter(indices)
    assert all(len(b) <= micro_batch_size for micro_batches in dealt for b in micro_batches)


def test_collate_pads_on_the_right_without_labels():
    batch = collate(
        [{"input_ids": [5, 6, 7], "labels": [-100, 6, 7]}, {"input_ids": [8], "labels": [8]}]
    )
    assert batch["input_ids"].tolist() == [[5, 6, 7], [8, 0, 0]]
    assert batch["labels"].tolist() == [[-100, 6, 7], [8, -100, -100]]
