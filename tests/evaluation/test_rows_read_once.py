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
from llmkit.evaluation.evaluation_set import encode_test_set
from llmkit.evaluation.evaluator import Evaluator, token_losses
from llmkit.generation.predict import predict_prompts
from llmkit.model.load import load_model
from llmkit.model.loss import unwrap_model
from llmkit.model.trainable import add_lora
from llmkit.scoring.testset import TestSet
from llmkit.tasks import TASKS

NUM_ROWS = 19
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


def encoded_set(tokenizer, task, max_length=128, max_new_tokens=6, columns=None):
    columns = columns or COLUMNS[task]
    rows = [{"id": str(n), "where": f"a:{n}", **columns(n)} for n in range(NUM_ROWS)]
    test = TestSet.of(rows, TASKS[task], Counter())
    return encode_test_set(test, tokenizer, EncodingOptions(max_length, True), max_new_tokens)


def evaluator(tokenizer, votes=1, max_new_tokens=6, precision="no", **generation):
    """Scores up to 8 rows at once."""
    return Evaluator(
        tokenizer,
        Evaluation(batch_size=2, votes=votes),
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
    """Compare the scores with those of separate passes. Returns the number of tokens that both
    passes read, and of those that the one pass reads."""
    with counting_read_tokens(model) as together:
        result = scorer.evaluate(model, rows)
    settings, accelerator = scorer.evaluation, scorer.accelerator
    with counting_read_tokens(model) as apart, accelerator.autocast():
        nats = token_losses(model, rows.encoded, settings.batch_size, accelerator, scorer.forward)
        predictions = predict_prompts(
            unwrap_model(model), scorer.tokenizer, rows.prompts, {},
            scorer.generation.model_copy(update={"num_return_sequences": settings.votes}),
            settings.batch_size, scorer.seed, range(NUM_ROWS),
        )  # fmt: skip
    assert [replace(p, expected_tokens=None) for p in result.predictions] == predictions
    is_encoded, losses = rows.encoding_report.is_encoded, result.statistics["likelihood"]
    assert losses[is_encoded, 1].tolist() == list(map(len, nats))
    expected = [of_row.sum(dtype=float) for of_row in nats]
    np.testing.assert_allclose(losses[is_encoded, 0], expected, rtol=1e-6)
    assert not losses[~is_encoded].any()
    return sum(apart), sum(together)


@pytest.mark.parametrize("task", COLUMNS)
def test_a_row_is_read_once_for_its_loss_and_its_prediction(loaded, task):
    model, tokenizer = loaded
    rows = encoded_set(tokenizer, task)
    apart, together = check_scores(evaluator(tokenizer), model, rows)
    num_prompt_tokens = sum(map(len, rows.prompts))
    if task == "chat":  # a prefix with supervised answers is not copied from another row
        assert apart - num_prompt_tokens < together < apart - num_prompt_tokens / 2
    else:
        assert apart - together == num_prompt_tokens + NUM_ROWS


def test_all_votes_share_the_prompt_of_the_row(loaded):
    model, tokenizer = loaded
    rows = encoded_set(tokenizer, "reason")
    scorer = evaluator(tokenizer, votes=3, temperature=1.0)
    apart, together = check_scores(scorer, model, rows)
    assert apart - together == sum(map(len, rows.prompts)) + NUM_ROWS


def test_the_loss_is_computed_with_adapters(tiny_gpt2):
    model, tokenizer = load_model(str(tiny_gpt2))
    model = add_lora(model, Lora(), freeze_layers=0)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.normal_(std=0.2)
    apart, together = check_scores(evaluator(tokenizer), model, encoded_set(tokenizer, "qa"))
    assert together < apart


@pytest.mark.parametrize("task", ["summarize", "chat"])
def test_a_row_is_read_again_if_its_prompt_was_truncated_differently(loaded, task):
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
        apart, together = check_scores(scorer, model, rows)
        assert together < apart


def test_a_row_that_fills_the_context_is_read_once(loaded):
    model, tokenizer = loaded
    text = "Mara Linden sang. " * 40
    columns = {"document": text, "summary": ANSWERS[0]}
    length = len(tokenizer(f" {ANSWERS[0]}").input_ids) + 1
    context = model.config.max_position_embeddings
    rows = encoded_set(tokenizer, "summarize", context, length, lambda n: columns)
    assert set(map(len, rows.encoded["input_ids"])) == {context}
    apart, together = check_scores(evaluator(tokenizer, max_new_tokens=length), model, rows)
    assert apart - together == sum(map(len, rows.prompts)) + NUM_ROWS


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
    apart, together = check_scores(scorer, model, encoded_set(tokenizer, "translate"))
    assert apart == together
