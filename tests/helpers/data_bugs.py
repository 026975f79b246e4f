"""Bugs of other toolkits in reading, splitting, encoding and batching rows, each as a replacement
of one function of the package; see replaced_function.py."""

import inspect
from dataclasses import replace
from itertools import islice

import numpy as np
import torch
from replaced_function import bug

IGNORE_INDEX = -100
LABELS_TEST = "test_supervised_text_is_the_completion_and_its_end"


def supervise(batch, positions, targets):
    """The batch with further supervised tokens, at these positions among all."""
    row_ids = torch.arange(len(batch.input_ids))[:, None].expand_as(batch.input_ids)
    row_ids = (row_ids if batch.row_ids is None else batch.row_ids).flatten()
    return replace(
        batch,
        used=torch.cat([batch.used, positions - 1]),
        targets=torch.cat([batch.targets, targets]),
        supervised_rows=np.concatenate([batch.supervised_rows, row_ids[positions].numpy()]),
    )


@bug("the end-of-text is masked, as padding has its id", "data.encode:Encoded.labels", LABELS_TEST)
def _(labels):
    return property(lambda self: [*labels.fget(self)[:-1], IGNORE_INDEX])


@bug("the mask begins two tokens late", "data.encode:Encoded.labels", LABELS_TEST)
def _(labels):
    def late(self):
        ids = labels.fget(self)
        first = next(i for i, label in enumerate(ids) if label != IGNORE_INDEX)
        return [IGNORE_INDEX] * (first + 2) + ids[first + 2 :]

    return property(late)


@bug(
    "rows without a label are trained on",
    "data.encode:encode_example",
    "test_a_row_that_is_too_long_loses_its_source_first_and_then_its_completion",
)
def _(encode_example):
    def with_prompt_only(example, ids, *arguments):
        encoded = encode_example(example, ids, *arguments)
        if "too long" not in encoded.outcome:
            return encoded
        return replace(encoded, prompt=ids[:-1], completion=[IGNORE_INDEX])

    return with_prompt_only


@bug(
    "a completion that was cut ends in end-of-text",
    "data.encode:encode_example",
    "test_a_row_that_is_too_long_loses_its_source_first_and_then_its_completion",
)
def _(encode_example):
    def with_end(example, ids, eos, *arguments):
        encoded = encode_example(example, ids, eos, *arguments)
        if not encoded.completion or encoded.completion[-1] == eos:
            return encoded
        return replace(encoded, completion=[*encoded.completion[:-1], eos])

    return with_end


@bug(
    "packing drops what overflows",
    "data.blocks:split_into_pieces",
    "test_every_token_of_a_text_is_supervised_once",
)
def _(split_into_pieces):
    def first_piece_only(texts, max_length):
        for text in texts:
            yield from islice(split_into_pieces([text], max_length), 1)

    return first_piece_only


@bug(
    "the last block of a corpus is lost",
    "data.blocks:split_into_blocks",
    "test_every_token_of_a_text_is_supervised_once",
)
def _(split_into_blocks):
    def full_blocks_only(texts, max_length):
        blocks = split_into_blocks(texts, max_length)
        return ((where, ids) for where, ids in blocks if len(ids) == max_length)

    return full_blocks_only


@bug(
    "end-of-text typed in a text ends it",
    "data.encode:encode_text",
    "test_special_tokens_typed_in_a_text_are_plain_characters",
)
def _(encode_text):
    def with_special_tokens(texts, tokenizer):
        backend = tokenizer.backend_tokenizer
        backend.encode_special_tokens = False
        return [e.ids for e in backend.encode_batch(texts, add_special_tokens=False)]

    return with_special_tokens


@bug(
    "the first token, never predicted, is counted",
    "data.encoded_rows:count_tokens",
    "test_token_counts_leave_out_the_first_token",
)
def _(count_tokens):
    def with_first_token(encoded):
        lengths, supervised = count_tokens(encoded)
        return lengths, supervised + [labels[0] != IGNORE_INDEX for labels in encoded["labels"]]

    return with_first_token


@bug(
    "a packed row's first token is learnt from its neighbour's last",
    "data.batches:collate",
    "test_packed_rows_give_the_loss_and_gradient_of_rows_alone",
)
def _(collate):
    def with_first_labels(rows, capacity=None):
        batch = collate(rows, capacity)
        if capacity is None:
            return batch
        is_first = (batch.position_ids == 0) & (batch.row_ids >= 0)
        targets = is_first[:, 1:].flatten().nonzero()[:, 0] + 1
        return supervise(batch, targets, batch.input_ids.flatten()[targets])

    return with_first_labels


@bug(
    "padding is scored", "data.batches:collate", "test_the_loss_of_a_batch_is_the_sum_over_its_rows"
)
def _(collate):
    def with_scored_padding(rows, capacity=None):
        batch = collate(rows, capacity)
        if capacity is None:
            longest = batch.input_ids.shape[1]
            is_padding = torch.tensor([[i >= n for i in range(longest)] for n in batch.lengths])
        else:
            is_padding = batch.row_ids < 0
        padding = is_padding.flatten().nonzero()[:, 0]
        return supervise(batch, padding, torch.zeros_like(padding))

    return with_scored_padding


@bug(
    "a broken row is said to be in line 1",
    "io.json_rows:_explain",
    "test_a_broken_file_is_refused_in_one_line",
)
def _(explain):
    return lambda error, text, path, first_line: explain(error, text, path, 1)


@bug(
    "another template finds the old tokens in the cache",
    "data.cache:encoding_key",
    "test_any_change_of_the_inputs_changes_the_cache_key",
)
def _(encoding_key):
    def without_template(rows, *arguments):
        return encoding_key(replace(rows, task=replace(rows.task, template="")), *arguments)

    return without_template


@bug(
    "columns of one split are read for another",
    "data.cache:encoding_key",
    "test_columns_and_languages_are_part_of_the_cache_key",
)
def _(encoding_key):
    return lambda rows, *arguments: encoding_key(replace(rows, columns={}), *arguments)


@bug(
    "an answer of weight 0 is supervised",
    "tasks.conversation:read_conversation",
    "test_weights_decide_which_answers_are_supervised",
)
def _(read_conversation):
    def all_supervised(messages):
        conversation, ignored = read_conversation(messages)
        return [replace(message, is_supervised=True) for message in conversation], ignored

    return all_supervised


class TrainToo(str):
    """The validation split, which is taken for the training split too."""

    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        return str.__eq__(self, other) or (str(self) == "validation" and other == "train")


@bug(
    "validation rows are trained on too",
    "data.held_out:by_hash",
    "test_splits_by_hash_are_disjoint_complete_and_keep_copies_together",
)
def _(by_hash):
    def with_overlap(*arguments, **options):
        held = by_hash(*arguments, **options)
        return replace(held, split_of=lambda index, row: TrainToo(held.split_of(index, row)))

    return with_overlap


@bug(
    "an unknown key is ignored",
    "config.schema:Recipe",
    "test_a_mistyped_key_is_refused_with_the_right_one",
)
def _(recipe):
    from llmkit.config import schema

    sections = [
        s for s in vars(schema).values() if inspect.isclass(s) and s.__module__ == schema.__name__
    ]
    for section in sections:
        section.model_config["extra"] = "ignore"
    for section in sections:
        section.model_rebuild(force=True)
    recipe.model_rebuild(force=True)
    return recipe
