"""Loss and predictions from one pass over each row, compared with separate passes."""

from collections import Counter
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from rows import TEXT

from llmkit.config.generation import Generation
from llmkit.config.schema import Evaluation, Lora
from llmkit.data.encode import EncodingOptions
from llmkit.data.encoded_rows import EncodedRows
from llmkit.evaluation.evaluation_set import encode_test_set
from llmkit.evaluation.evaluator import Evaluator, token_losses
from llmkit.evaluation.one_pass import read_batch, score_rows
from llmkit.generation.engine import Engine
from llmkit.generation.generate import complete
from llmkit.generation.request import Request
from llmkit.model.load import evaluating, load_model
from llmkit.model.loss import SupervisedLoss
from llmkit.model.trainable import add_lora
from llmkit.scoring.testset import TestSet
from llmkit.tasks import TASKS

NUM_ROWS = 11
ANSWERS = ("Otto Brandt.", "Two grey geese.", "Nobody else came.", "Mara")


def conversation(number):
    """Up to three questions, the first of which are shared by many; some answers are context."""
    messages = [{"role": "system", "content": "Be brief."}] if number % 2 else []
    for turn in range(1 + number % 3):
        weight = 0 if number % 5 == 4 and turn < number % 3 else 1
        messages += [
            {"role": "user", "content": f"Who opened {'the mill, on Friday' * (1 - turn)}?"},
            {"role": "assistant", "content": ANSWERS[turn], "weight": weight},
        ]
    messages[-1]["content"] = ANSWERS[number % 4]
    return {"messages": messages}


COLUMNS = {
    "summarize": lambda n: {"document": TEXT[n % 3][: 30 + n], "summary": ANSWERS[n % 4]},
    "translate": lambda n: {"source": TEXT[n % 3][: 20 + 2 * n], "target": ANSWERS[n % 4]},
    "qa": lambda n: {
        "context": TEXT[n % 2][: 40 + n], "question": "Who?", "answers": [ANSWERS[n % 4], "A man"]
    },
    "chat": conversation,
    "instruct": lambda n: {
        "instruction": TEXT[n % 2][: 20 + n], "input": "The dog slept." * (n % 2),
        "output": ANSWERS[n % 4],
    },
    "reason": lambda n: {"question": TEXT[n % 3][: 30 + n], "answer": f"Two geese.\n#### {n}"},
}  # fmt: skip


@pytest.fixture(scope="module")
def loaded(tiny_gpt2):
    return load_model(str(tiny_gpt2))


def encoded_set(
    tokenizer, task, max_length=128, max_new_tokens=6, columns=None, truncate_completion=True
):
    columns = columns or COLUMNS[task]
    rows = [{"id": str(n), "where": f"a:{n}", **columns(n)} for n in range(NUM_ROWS)]
    test = TestSet.of(rows, TASKS[task], Counter())
    options = EncodingOptions(max_length, truncate_completion)
    return encode_test_set(test, tokenizer, options, max_new_tokens)


def evaluator(tokenizer, votes=1, max_new_tokens=6, precision="no", **generation):
    return Evaluator(
        tokenizer,
        Evaluation(batch_size=4, votes=votes),
        Generation(max_new_tokens=max_new_tokens, **generation),
        "padding_free",
        seed=3,
        accelerator=Accelerator(cpu=True, mixed_precision=precision),
    )


@contextmanager
def counting_read_tokens(model):
    """Context with a list that records the number of tokens in each forward pass."""
    counts = []
    hook = model.get_input_embeddings().register_forward_hook(
        lambda layer, args, output: counts.append(args[0].numel())
    )
    yield counts
    hook.remove()


def check_scores(scorer, model, rows):
    """Compare the scores with those of separate passes. Returns the number of tokens that the model
    reads in excess of one pass over each row, for scores and for separate passes."""
    with counting_read_tokens(model) as together:
        result = scorer.evaluate(model, rows)
    settings, accelerator = scorer.evaluation, scorer.accelerator
    with counting_read_tokens(model) as apart:
        nats = token_losses(model, rows.encoded, settings.batch_size, accelerator, scorer.forward)
        predictions = scorer.predict(model, rows)
    assert [replace(p, expected_tokens=None) for p in result.predictions] == predictions
    is_encoded, losses = rows.encoding_report.is_encoded, result.statistics["likelihood"]
    expected = [[of_row.sum(dtype=float), len(of_row)] for of_row in nats]
    assert losses[is_encoded].tolist() == expected, "bit by bit"
    assert not losses[~is_encoded].any()
    num_tokens = int(EncodedRows(rows.encoded).lengths.sum())
    return sum(together) - num_tokens, sum(apart) - num_tokens


@pytest.mark.parametrize("task", COLUMNS)
def test_a_row_is_read_once_for_its_loss_and_its_prediction(loaded, task):
    model, tokenizer = loaded
    rows = encoded_set(tokenizer, task)
    together, apart = check_scores(evaluator(tokenizer), model, rows)
    assert together <= NUM_ROWS * (6 - 1) < apart, "one token per step, without the first one"


def test_all_votes_share_the_prompt_of_the_row(loaded):
    model, tokenizer = loaded
    scorer = evaluator(tokenizer, votes=3, temperature=1.0)
    together, _ = check_scores(scorer, model, encoded_set(tokenizer, "reason"))
    assert together <= 3 * NUM_ROWS * (6 - 1)


def test_the_loss_is_computed_with_adapters(tiny_gpt2):
    model, tokenizer = load_model(str(tiny_gpt2))
    model = add_lora(model, Lora(), freeze_layers=0)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.normal_(std=0.2)
    together, _ = check_scores(evaluator(tokenizer), model, encoded_set(tokenizer, "qa"))
    assert together <= NUM_ROWS * (6 - 1)


@pytest.mark.parametrize("task", ["summarize", "chat"])
def test_a_prompt_is_read_again_if_its_row_was_truncated_differently(loaded, task):
    model, tokenizer = loaded
    lengths = list(map(len, encoded_set(tokenizer, task).encoded["input_ids"]))
    max_length = int(np.median(lengths))  # some of the rows have to be truncated
    for max_new_tokens in (2, 15):
        rows = encoded_set(tokenizer, task, max_length, max_new_tokens)
        begin = [
            ids[: len(prompt)] == prompt
            for ids, prompt in zip(rows.encoded["input_ids"], rows.prompts, strict=True)
        ]
        assert 0 < sum(begin) < NUM_ROWS
        scorer = evaluator(tokenizer, max_new_tokens=max_new_tokens)
        together, apart = check_scores(scorer, model, rows)
        assert NUM_ROWS * (max_new_tokens - 1) < together < apart


def test_a_row_without_supervised_tokens_has_a_prediction_only(loaded):
    model, tokenizer = loaded

    def columns(number):
        summary = TEXT[0] * 4 if number in (2, 5) else ANSWERS[number % 4]
        return {"document": TEXT[number % 3], "summary": summary}

    rows = encoded_set(tokenizer, "summarize", columns=columns, truncate_completion=False)
    assert np.flatnonzero(~rows.encoding_report.is_encoded).tolist() == [2, 5]
    check_scores(evaluator(tokenizer), model, rows)


@pytest.mark.parametrize(
    ("generation", "forward", "precision"),
    [
        ({"num_beams": 2}, "padding_free", "no"),
        ({}, "transformers", "no"),
        ({}, "padding_free", "bf16"),  # attention rounds differently
    ],
)
def test_rows_are_read_twice_where_generation_computes_otherwise(
    loaded, generation, forward, precision
):
    model, tokenizer = loaded
    scorer = replace(evaluator(tokenizer, precision=precision, **generation), forward=forward)
    together, apart = check_scores(scorer, model, encoded_set(tokenizer, "translate"))
    assert together == apart


def test_scores_do_not_depend_on_how_processes_share_the_batches(loaded):
    model, tokenizer = loaded
    rows = encoded_set(tokenizer, "summarize")
    batches = [[3, 1, 4], [0, 5, 9, 2], [6, 8, 7, 10]]

    def score(batches):
        settings = Generation(max_new_tokens=6)
        return score_rows(model, tokenizer, rows, batches, [], settings, batch_size=4, seed=3)

    whole = score(batches)
    parts = score(batches[:1]) + score(batches[1:])
    assert [(number, text) for number, text, _ in whole] == [(n, text) for n, text, _ in parts]
    for (*_, nats), (*_, others) in zip(whole, parts, strict=True):
        assert nats.tolist() == others.tolist()
    assert score([]) == []


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"temperature": 1.0},
        {"repetition_penalty": 1.3, "no_repeat_ngram_size": 2, "min_new_tokens": 4},
        {"regex": "[a-e]+( [0-9]{2}){3}"},
    ],
)
@pytest.mark.parametrize("num_slots", [2, 8])
def test_predictions_do_not_depend_on_what_is_expected(loaded, settings, num_slots):
    model, tokenizer = loaded
    generation, end = Generation(max_new_tokens=8, **settings), [tokenizer.eos_token_id]
    prompts = [tokenizer(text[: 30 + 9 * n]).input_ids for n, text in enumerate(TEXT[:3] * 2)]
    requests = [Request(prompt, generation, (1, n)) for n, prompt in enumerate(prompts)]
    alone = complete(model, tokenizer, requests, batch_size=8)
    own = [sequence.token_ids for sequence in alone]
    # Expected are the first n of the tokens that the model generates, and others after them.
    completions = [
        tokens[:n] + [token + 1 for token in tokens[n:]] + end
        for tokens, n in zip(own, (0, 1, 3, 5, 8, 8), strict=True)
    ]
    completions[4] = own[4]  # truncated
    rows = [
        {"input_ids": np.array(prompt + ids), "labels": np.array([-100] * len(prompt) + ids)}
        for prompt, ids in zip(prompts, completions, strict=True)
    ]
    loss = SupervisedLoss(model, "padding_free")
    with evaluating(model), counting_read_tokens(model) as counts:
        engine = Engine(model, tokenizer, num_slots, 100)
        sequences, _ = read_batch(engine, loss, rows, [[request] for request in requests])
        while not engine.is_idle:
            engine.step()
    found = [sequence for (sequence,) in sequences]
    assert [sequence.token_ids for sequence in found] == own
    assert [s.finish_reason for s in found] == [s.finish_reason for s in alone]
    if num_slots == 8 and all(len(tokens) == 8 for tokens in own):
        assert sum(counts[1:]) == sum(8 - 1 - n for n in (0, 1, 3, 5)), "agreed tokens are not read"
