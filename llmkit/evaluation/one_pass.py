"""Losses and predictions for which the model reads each row once."""

from collections.abc import Mapping
from itertools import chain, islice

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from llmkit.config.generation import Generation
from llmkit.config.schema import Forward
from llmkit.constants import IGNORE_INDEX
from llmkit.data.batches import UNLIMITED, collate
from llmkit.data.encoded_rows import EncodedRows
from llmkit.evaluation.evaluation_set import EvaluationSet
from llmkit.generation.engine import Engine
from llmkit.generation.expected import follow_expected
from llmkit.generation.generate import check_prompts, make_requests, open_engine, to_prediction
from llmkit.generation.predict import combine_samples
from llmkit.generation.request import Request, Sequence
from llmkit.metrics.prediction import Prediction
from llmkit.model.loss import SupervisedLoss, token_nll, unwrap_model
from llmkit.model.packed import unpacked_linear_layers
from llmkit.tasks.base import Output


def reads_rows_once(
    output: Output, generation: Generation, forward_pass: Forward, precision: str
) -> bool:
    """Whether `score_rows` applies: text is generated, not in a beam search, and with the forward
    pass and the precision of the loss."""
    return (
        output == "completion"
        and generation.num_beams == 1
        and forward_pass == "padding_free"
        and precision == "no"
    )


def score_rows(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    evaluation_set: EvaluationSet,
    batches: list[list[int]],
    others: list[int],
    generation: Generation,
    batch_size: int,
    seed: int,
) -> list[tuple[int, Prediction, np.ndarray | None]]:
    """For each row: its number, its prediction, and the loss of its supervised tokens in nats.

    The losses are those of `token_losses`, whose forward pass also yields the keys and values of
    the prompts. A prompt is read again only if its encoded row was truncated differently, or if
    memory does not suffice for the keys and values of the whole batch.

    Args:
        batches: Indices of encoded rows that share a forward pass.
        others: Numbers of further rows, without supervised tokens.
        generation: Decoding settings; several sequences become the votes of the prediction.
        batch_size: See `open_engine`.
        seed: Random seed; the samples of a prompt depend only on it and the row's number.

    Raises UserError for a prompt that does not fit into the context.
    """
    bare = unwrap_model(model)
    number_of = np.flatnonzero(evaluation_set.encoding_report.is_encoded).tolist()
    numbers = [number_of[index] for index in chain.from_iterable(batches)] + others
    prompts = [evaluation_set.prompts[number] for number in numbers]
    if not prompts:
        return []
    check_prompts(prompts, generation.max_new_tokens, bare)
    requests = make_requests(prompts, [(seed, number) for number in numbers], generation)
    votes = generation.num_return_sequences
    of_prompts = [requests[start : start + votes] for start in range(0, len(requests), votes)]
    rows = EncodedRows(evaluation_set.encoded)
    with open_engine(bare, tokenizer, requests, batch_size) as engine:
        loss = SupervisedLoss(model, "padding_free")
        sequences, nats = read_rows(engine, loss, rows, batches, of_prompts)
        while not engine.is_idle:
            engine.step()
    predictions = [combine_samples(list(map(to_prediction, s)), generation) for s in sequences]
    return list(zip(numbers, predictions, nats, strict=True))


def read_rows(
    engine: Engine,
    loss: SupervisedLoss,
    rows: EncodedRows,
    batches: list[list[int]],
    requests: list[list[Request]],
) -> tuple[list[list[Sequence]], list[np.ndarray | None]]:
    """The sequences of each prompt, which the engine will finish, and the nats of each supervised
    token of its row.

    Args:
        batches: Indices of rows that share a forward pass.
        requests: The requests with each prompt, those with the prompts of the rows first.
    """
    sequences: list[list[Sequence]] = []
    nats: list[np.ndarray | None] = []
    remaining = iter(requests)
    for batch in batches:
        of_batch = list(islice(remaining, len(batch)))
        num_slots = sum(map(len, of_batch))
        while not engine.is_idle and len(engine.free_slots(num_slots)) < num_slots:
            engine.step()
        read, losses = read_batch(engine, loss, [rows[index] for index in batch], of_batch)
        sequences, nats = sequences + read, nats + losses
    others = [list(map(engine.add, of_prompt)) for of_prompt in remaining]
    return sequences + others, nats + [None] * len(others)


@torch.inference_mode()
def read_batch(
    engine: Engine,
    loss: SupervisedLoss,
    rows: list[Mapping[str, np.ndarray]],
    requests: list[list[Request]],
) -> tuple[list[list[Sequence]], list[np.ndarray]]:
    """Read rows in one forward pass.

    Returns the sequences of each row, which the engine will finish, and the loss of its supervised
    tokens in nats.

    requests: The requests with the prompt of each row.
    """
    slots = choose_slots(engine, rows, requests)
    states, nats = compute_states(engine, loss, rows, slots)
    sequences = begin_sequences(engine, rows, requests, list(slots), states)
    return [
        [sequences.get((row, vote)) or engine.add(request) for vote, request in enumerate(of_row)]
        for row, of_row in enumerate(requests)
    ], nats


def choose_slots(
    engine: Engine, rows: list[Mapping[str, np.ndarray]], requests: list[list[Request]]
) -> dict[tuple[int, int], int]:
    """A free slot of the engine for each (row, vote) whose prompt the row begins with, as far as
    there are any. The first votes of all rows come first; others can copy their prompts."""
    votes = [(row, vote) for vote in range(len(requests[0])) for row in range(len(rows))
             if begins_with(rows[row], requests[row][vote].prompt)]  # fmt: skip
    return dict(zip(votes, engine.free_slots(len(votes)), strict=False))


def compute_states(
    engine: Engine,
    loss: SupervisedLoss,
    rows: list[Mapping[str, np.ndarray]],
    slots: dict[tuple[int, int], int],
) -> tuple[list[Tensor], list[np.ndarray]]:
    """The hidden states (num_tokens, D) from which the supervised tokens of each row are predicted,
    and the nats of these tokens.

    slots: Where the cache keeps the keys and values of a row, by (row, vote).
    """
    output = engine.model.get_output_embeddings()
    batch = collate(rows, UNLIMITED).to(engine.model.device)
    order = batch.row_ids.unique_consecutive().tolist()  # in which the rows are packed

    def keep(block: int, qkv: Tensor) -> None:
        of_rows = dict(zip(order, qkv.split(batch.lengths), strict=True))
        for (row, _), slot in slots.items():
            engine.cache.write(block, slot, of_rows[row])

    with unpacked_linear_layers(engine.model):
        hidden = loss.used_states(batch, keep)
        nats = token_nll(hidden, output.weight, batch.targets).cpu()
    counts = np.bincount(batch.supervised_rows, minlength=len(rows))[order].tolist()
    places = np.argsort(order)
    states, nats = hidden.split(counts), nats.split(counts)
    return [states[place] for place in places], [nats[place].numpy() for place in places]


def begin_sequences(
    engine: Engine,
    rows: list[Mapping[str, np.ndarray]],
    requests: list[list[Request]],
    votes: list[tuple[int, int]],
    states: list[Tensor],
) -> dict[tuple[int, int], Sequence]:
    """Let requests join the engine that need no forward pass for their prompt, nor for the tokens
    of the row on which the model agrees.

    Args:
        votes: The (row, vote) of each.
        states: See `compute_states`.
    """
    begun = {(row, vote): Sequence(requests[row][vote], engine.tokenizer) for row, vote in votes}
    expected = [
        rows[row]["input_ids"][len(requests[row][vote].prompt) :].tolist() for row, vote in votes
    ]
    of_expected = [
        states[row][-len(tokens) :] for (row, _), tokens in zip(votes, expected, strict=True)
    ]
    output, end = engine.model.get_output_embeddings(), engine.tokenizer.eos_token_id
    sequences = list(begun.values())
    follow_expected(sequences, expected, of_expected, output, end)
    engine.join(sequences)
    return begun


def begins_with(row: Mapping[str, np.ndarray], prompt: list[int]) -> bool:
    """Whether an encoded row is a prompt followed by a completion, all of which is supervised."""
    prompt_ids, _ = np.split(row["input_ids"], [len(prompt)])
    completion = row["labels"][len(prompt) :]
    is_supervised = len(completion) > 0 and not (completion == IGNORE_INDEX).any()
    return bool(is_supervised) and np.array_equal(prompt_ids, prompt)
