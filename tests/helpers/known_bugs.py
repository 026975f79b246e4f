"""Bugs of other toolkits, each as a replacement of one function of the package.

A bug names the function by module and name, and the test that must fail with it. `put_back` takes
the current function and returns one with the bug, so neither an edit of its source nor a moved test
makes a bug stale. With this module as a pytest plugin (`-p known_bugs`), the environment variable
LLMKIT_KNOWN_BUG names the bug to reintroduce.
"""

import inspect
import os
import sys
from dataclasses import replace
from itertools import islice

import numpy as np
import torch
from replaced_function import BUGS, bug, find_function

VARIABLE = "LLMKIT_KNOWN_BUG"
IGNORE_INDEX = -100


def put_back(description: str) -> None:
    """Replace the function everywhere in the package, for the rest of this process."""
    known = BUGS[description]
    owner, name, present = find_function(known.function)
    with_bug = known.put_back(present)
    if with_bug is present:  # changed in place
        return
    setattr(owner, name, with_bug)
    for module in [m for n, m in sys.modules.items() if n.startswith("llmkit.")]:
        if getattr(module, name, None) is present:
            setattr(module, name, with_bug)


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


def put_back_from_environment() -> None:
    if os.environ.get(VARIABLE):
        put_back(os.environ[VARIABLE])


def pytest_sessionstart(session) -> None:
    put_back_from_environment()


LABELS_TEST = "test_supervised_text_is_the_completion_and_its_end"
LOSS_TEST = "test_loss_and_gradients_are_those_of_the_papers"
PACKING_TEST = "test_packed_rows_do_not_see_each_other"
STEP_TEST = "test_accumulation_gives_the_gradient_of_the_whole_step"


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
    "the vocabulary grows by a padding token",
    "model.trainable:trainable_model",
    "test_making_a_model_trainable_changes_no_output",
)
def _(trainable_model):
    def with_padding_token(model, *arguments, **options):
        model.resize_token_embeddings(model.config.vocab_size + 1)
        return trainable_model(model, *arguments, **options)

    return with_padding_token


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


@bug("packed rows see each other", "model.loss:packed_mask", PACKING_TEST)
def _(packed_mask):
    return lambda row_ids, dtype: packed_mask(row_ids * 0, dtype)


@bug("rows laid end to end see each other", "families.padding_free:bundle_rows", PACKING_TEST)
def _(bundle_rows):
    def from_the_start(lengths):
        return [[slice(0, row.stop) for row in rows] for rows in bundle_rows(lengths)]

    return from_the_start


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


@bug("labels are shifted twice", "model.loss:SumCrossEntropy.forward", LOSS_TEST)
def _(forward):
    return staticmethod(
        lambda ctx, hidden, weight, targets: forward.__func__(ctx, hidden, weight, targets.roll(-1))
    )


@bug("the model's own mean is taken for a sum", "model.loss:SumCrossEntropy.forward", LOSS_TEST)
def _(forward):
    def mean(ctx, hidden, weight, targets):
        return forward.__func__(ctx, hidden, weight, targets) / max(1, len(targets))

    return staticmethod(mean)


class ScaledLoss:
    """A loss module whose result is multiplied by a factor that depends on the micro-batch."""

    def __init__(self, module, factor) -> None:
        self.module, self.factor, self.parameters = module, factor, module.parameters

    def __call__(self, batch):
        return self.module(batch) * self.factor(batch)


def scaled_micro_batches(forward_backward, factor):
    """forward_backward with `factor(batch, schedule, step, num_micro_batches)` on every loss."""

    def scaled(loss_module, micro_batches, schedule, step, *arguments):
        batches = list(micro_batches)
        module = ScaledLoss(loss_module, lambda b: factor(b, schedule, step, len(batches)))
        return forward_backward(module, iter(batches), schedule, step, *arguments)

    return scaled


@bug("a mean of the micro-batches' means", "training.step:forward_backward", STEP_TEST)
def _(forward_backward):
    def factor(batch, schedule, step, num_micro_batches):
        num_supervised = max(1, len(batch.targets))
        return schedule.num_supervised(step) / num_supervised / num_micro_batches

    return scaled_micro_batches(forward_backward, factor)


@bug(
    "divided once more by the number of micro-batches", "training.step:forward_backward", STEP_TEST
)
def _(forward_backward):
    return scaled_micro_batches(forward_backward, lambda _, __, ___, count: 1 / count)


@bug(
    "the epoch's short last step is divided as if it were full",
    "training.batch_schedule:BatchSchedule.num_supervised",
    STEP_TEST,
)
def _(num_supervised):
    return lambda self, step: num_supervised(self, 0)


@bug("processes average what they should add", "training.step:sum_gradients", STEP_TEST)
def _(sum_gradients):
    def average(gradients):
        sum_gradients(gradients)
        gradients /= 2

    return average


@bug(
    "the evaluation loss is a mean of the batches' means",
    "evaluation.evaluator:token_losses",
    "test_the_loss_of_an_evaluation_does_not_depend_on_the_batch_size",
)
def _(token_losses):
    def of_batches(model, encoded, batch_size, *arguments):
        nats = token_losses(model, encoded, batch_size, *arguments)
        for start in range(0, len(nats), batch_size):
            batch = nats[start : start + batch_size]
            scale = 100 / sum(map(len, batch))
            nats[start : start + batch_size] = [row * scale for row in batch]
        return nats

    return of_batches


@bug(
    "a step with a NaN goes into the weights",
    "training.step:step_outcome",
    "test_a_loss_that_is_not_finite_stops_before_the_step",
)
def _(step_outcome):
    return lambda *arguments, **options: sys.modules["llmkit.training.step"].StepOutcome.UPDATED


@bug(
    "no adapter gets a gradient, and the loss is printed all the same",
    "model.trainable:add_lora",
    "test_lora_reaches_each_layer_of_gpt2_and_merges_exactly",
)
def _(add_lora):
    return lambda *arguments: add_lora(*arguments).requires_grad_(False)
