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
    bare, rows = unwrap_model(model), EncodedRows(evaluation_set.encoded)
    number_of = np.flatnonzero(evaluation_set.encoding_report.is_encoded).tolist()
    numbers = [number_of[index] for index in chain.from_iterable(batches)] + others
    prompts = [evaluation_set.prompts[number] for number in numbers]
    if not prompts:
        return []
    check_prompts(prompts, generation.max_new_tokens, bare)
    requests = make_requests(prompts, [(seed, number) for number in numbers], generation)
    votes = generation.num_return_sequences
    of_prompts = (requests[start : start + votes] for start in range(0, len(requests), votes))
    sequences: list[list[Sequence]] = []
    nats: list[np.ndarray | None] = []
    with open_engine(bare, tokenizer, requests, batch_size) as engine:
        loss = SupervisedLoss(model, "padding_free")
        for batch in batches:
            of_batch = list(islice(of_prompts, len(batch)))
            num_slots = votes * len(batch)
            while not engine.is_idle and len(engine.free_slots(num_slots)) < num_slots:
                engine.step()
            read, losses = read_batch(engine, loss, [rows[index] for index in batch], of_batch)
            sequences, nats = sequences + read, nats + losses
        sequences += [list(map(engine.add, of_prompt)) for of_prompt in of_prompts]
        nats += [None] * len(others)
        while not engine.is_idle:
            engine.step()
    predictions = [combine_samples(list(map(to_prediction, s)), generation) for s in sequences]
    return list(zip(numbers, predictions, nats, strict=True))


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
    output = engine.model.get_output_embeddings()
    batch = collate(rows, UNLIMITED).to(engine.model.device)
    order = batch.row_ids.unique_consecutive().tolist()  # in which the rows are packed
    # Of several votes, the first of each row come first; others can copy its prompt.
    votes = [(row, vote) for vote in range(len(requests[0])) for row in range(len(rows))
             if begins_with(rows[row], requests[row][vote].prompt)]  # fmt: skip
    slots = dict(zip(votes, engine.free_slots(len(votes)), strict=False))

    def keep(block: int, qkv: Tensor) -> None:
        of_rows = dict(zip(order, qkv.split(batch.lengths), strict=True))
        for (row, _), slot in slots.items():
            engine.cache.write(block, slot, of_rows[row])

    with unpacked_linear_layers(engine.model):
        hidden = loss.used_states(batch, keep)
        nats = token_nll(hidden, output.weight, batch.targets)
    counts = np.bincount(batch.supervised_rows, minlength=len(rows))[order].tolist()
    states = dict(zip(order, hidden.split(counts), strict=True))
    nats = dict(zip(order, nats.cpu().split(counts), strict=True))
    read, expected, of_expected = {}, [], []
    for row, vote in slots:
        request = requests[row][vote]
        read[row, vote] = Sequence(request, engine.tokenizer)
        expected.append(rows[row]["input_ids"][len(request.prompt) :].tolist())
        of_expected.append(states[row][-len(expected[-1]) :])
    sequences = list(read.values())
    follow_expected(sequences, expected, of_expected, output, engine.tokenizer.eos_token_id)
    engine.join(sequences)
    return [
        [read.get((row, vote)) or engine.add(request) for vote, request in enumerate(of_row)]
        for row, of_row in enumerate(requests)
    ], [nats[row].numpy() for row in range(len(rows))]


def begins_with(row: Mapping[str, np.ndarray], prompt: list[int]) -> bool:
    """Whether an encoded row is a prompt followed by a completion, all of which is supervised."""
    prompt_ids, _ = np.split(row["input_ids"], [len(prompt)])
    completion = row["labels"][len(prompt) :]
    is_supervised = len(completion) > 0 and not (completion == IGNORE_INDEX).any()
    return bool(is_supervised) and np.array_equal(prompt_ids, prompt)
