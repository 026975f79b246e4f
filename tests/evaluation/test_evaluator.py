"""Evaluation of a model: loss, predictions in order, and probabilities of expected tokens."""

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from rows import TEXT
from transformers import AutoModelForCausalLM

from llmkit.config.generation import Generation
from llmkit.config.schema import Evaluation
from llmkit.constants import IGNORE_INDEX
from llmkit.data.encode import EncodingOptions
from llmkit.evaluation import evaluator as evaluator_file
from llmkit.evaluation.evaluation_set import encode_test_set
from llmkit.evaluation.evaluator import Evaluator, gather_results, token_probabilities
from llmkit.model.load import load_model
from llmkit.runtime.signals import Signals, Stopped
from llmkit.scoring import testset
from llmkit.tasks import TASKS


@pytest.fixture(scope="module")
def loaded(tiny_gpt2):
    return load_model(str(tiny_gpt2))


@pytest.fixture(scope="module")
def rows(loaded):
    rows = [
        {"id": str(i), "where": f"a:{i}", "document": f"{TEXT[i % 3]} " * (1 + i % 2),
         "summary": f"Row {i}."}
        for i in range(7)
    ]  # fmt: skip
    test = testset.TestSet.of(rows, TASKS["summarize"], Counter())
    return encode_test_set(test, loaded[1], EncodingOptions(100, True), max_new_tokens=4)


def evaluator(tokenizer, batch_size, votes=1, temperature=0.0):
    generation = Generation(max_new_tokens=4, temperature=temperature)
    evaluation = Evaluation(batch_size=batch_size, votes=votes)
    return Evaluator(tokenizer, evaluation, generation, "padding_free", 3, Accelerator(cpu=True))


def test_the_loss_is_transformers_and_each_row_keeps_its_prediction(loaded, rows, tiny_gpt2):
    model, tokenizer = loaded
    result = evaluator(tokenizer, 3).evaluate(model, rows)
    reference = AutoModelForCausalLM.from_pretrained(tiny_gpt2).eval()
    nats, count = 0.0, 0
    for row in rows.encoded:
        ids, labels = (torch.tensor([row[name]]) for name in ("input_ids", "labels"))
        num_supervised = int((labels[:, 1:] != IGNORE_INDEX).sum())
        with torch.no_grad():
            nats += reference(ids, labels=labels).loss.item() * num_supervised
        count += num_supervised
    assert result.scores["loss"] == pytest.approx(nats / count, rel=1e-5)
    alone = evaluator(tokenizer, 1).evaluate(model, rows)
    assert [p.text for p in result.predictions] == [p.text for p in alone.predictions]
    for prediction, accepted in zip(result.predictions, rows.references, strict=True):
        text = "".join(text for text, _ in prediction.expected_tokens)
        assert text == f" {accepted[0]}{tokenizer.eos_token}"
        assert prediction.ended in (True, False)


def test_sampled_predictions_depend_on_seed_and_row_alone(loaded, rows):
    model, tokenizer = loaded
    first, second = (
        evaluator(tokenizer, size, votes=2, temperature=1.0).evaluate(model, rows).predictions
        for size in (2, 7)
    )
    assert [(p.text, p.votes) for p in first] == [(p.text, p.votes) for p in second]
    assert {len(prediction.votes) for prediction in first} == {2}
    assert len({prediction.text for prediction in first}) > 1


def test_tokens_of_one_character_are_merged(loaded):
    _, tokenizer = loaded
    ids = tokenizer(" é!").input_ids
    encoded = {"labels": [[IGNORE_INDEX, *ids]]}
    nats = [np.full(len(ids), np.log(2))]
    ((*tokens,),) = token_probabilities(encoded, nats, tokenizer)
    texts = [text for text, _ in tokens]
    assert "".join(texts) == " é!"
    assert any("é" in text for text in texts)
    probability = dict(tokens)[next(text for text in texts if "é" in text)]
    assert probability == pytest.approx(0.5 ** (len(ids) - len(texts) + 1))


def test_all_processes_stop_if_one_of_them_was_asked_to(monkeypatch):
    signals, several = Signals(), SimpleNamespace(num_processes=2)
    sent = []

    def gather(mine):
        sent.extend(mine)
        return [*mine, (["theirs"], 0)]

    monkeypatch.setattr(evaluator_file, "gather_object", gather)
    assert gather_results(lambda: ["mine"], several, signals) == ["mine", "theirs"]
    with signals.deferred():
        signals.stop = 15
        with pytest.raises(Stopped) as stopped:
            gather_results(lambda: ["mine"], several, signals)
        assert (stopped.value.number, sent[-1]) == (15, ([], 15)), "the others are told"
        with pytest.raises(Stopped):
            gather_results(lambda: ["mine"], SimpleNamespace(num_processes=1), signals)
    assert len(sent) == 2
