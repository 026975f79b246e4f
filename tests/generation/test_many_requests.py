"""Hundreds of requests to a trained model: results do not depend on the batch."""

import numpy as np
import pytest
from whole_texts import cut, whole_text

from llmkit.config.generation import Generation
from llmkit.generation.generate import complete, generate, iter_completions, open_engine
from llmkit.generation.request import Request
from llmkit.model.load import EMBEDDED_MODEL, load_model

BATCH_SIZE = 16
TEXT = (
    "The ferry to Seaholm was late again. The harbor master rang the bell twice, and the children "
    "who had waited since noon ran along the pier with their baskets. Nobody knew why the boat had "
    "stopped behind the lighthouse. In the evening the mayor wrote a letter to the company. "
)


@pytest.fixture(scope="module")
def loaded():
    return load_model(str(EMBEDDED_MODEL))


@pytest.fixture(scope="module")
def prompts(loaded):
    """500 prompts of 1 to 100 tokens from random positions of a text."""
    ids = loaded[1](TEXT * 3)["input_ids"]
    rng = np.random.default_rng(0)
    starts, lengths = rng.integers(0, len(ids) - 100, 500), rng.integers(1, 101, 500)
    return [ids[start : start + n] for start, n in zip(starts, lengths, strict=True)]


@pytest.mark.parametrize(
    ("name", "settings"),
    [("greedy", {}), ("seeded sampling", {"temperature": 0.9, "top_p": 0.95})],
)
def test_batched_requests_give_the_same_text_as_single_requests(
    loaded, prompts, name, settings, trials, figure
):
    generation = Generation(max_new_tokens=30, **settings)
    numbers = trials(8, 500)
    requests = [Request(prompts[number], generation, (1, number)) for number in numbers]
    together = complete(*loaded, requests, BATCH_SIZE)
    alone = [complete(*loaded, [request], 1)[0] for request in requests]
    same = sum(a.text == b.text for a, b in zip(together, alone, strict=True))
    figure(f"text of a batched request equals that of the request alone ({name})", same,
           len(requests))  # fmt: skip


def test_streamed_pieces_add_up_to_the_whole_text(loaded, prompts, trials, figure):
    """Each text is compared with that of a second run, which is read only at its end, and with its
    own tokens decoded at once.

    Both runs add the requests in the same order and so compute the same batches. In other batches
    the logits differ by rounding, and a draw that falls on the boundary of two tokens may select
    the other one.
    """
    generation = Generation(max_new_tokens=30, temperature=1.5, stop=[" the", "."])
    requests = [Request(prompts[number], generation, (2, number)) for number in trials(12, 300)]
    with open_engine(*loaded, requests, BATCH_SIZE) as engine:
        sequences = [engine.add(request) for request in requests]
        pieces = dict.fromkeys(sequences, "")
        while not engine.is_idle:
            for sequence in engine.step():
                shown = pieces[sequence]
                pieces[sequence] += sequence.text[len(shown) :]
                assert sequence.text.startswith(shown)
    whole = iter_completions(*loaded, requests, BATCH_SIZE)
    same = sum(
        pieces[sequence]
        == expected.text
        == cut(whole_text(loaded[1], sequence.token_ids), generation.stop)[0]
        for sequence, expected in zip(sequences, whole, strict=True)
    )
    figure("streamed pieces of text add up to the whole text", same, len(requests))


def test_batched_beams_equal_those_of_single_prompts(loaded, prompts, trials, figure):
    generation = Generation(max_new_tokens=12, num_beams=3)
    chosen = [prompts[number] for number in trials(6, 200)]
    together = generate(*loaded, chosen, generation, BATCH_SIZE)
    same = sum(
        generate(*loaded, [prompt], generation, 1) == [beams]
        for prompt, beams in zip(chosen, together, strict=True)
    )
    figure("beams of a batch equal those of generate for each prompt alone", same, len(chosen))
