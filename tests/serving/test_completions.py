"""POST /v1/completions: texts, streams, decoding and usage."""

import json
import re

import pytest
from rows import TEXT
from served import open_tiny, serving

from llmkit.data.encode import encode_text
from llmkit.generation.generate import generate


@pytest.fixture(scope="module")
def sampled(tiny_gpt2):
    """A run whose recipe samples."""
    session = open_tiny(tiny_gpt2, temperature=0.9, top_p=0.8, min_new_tokens=6)
    with serving(session) as served:
        yield served


def offline(served, prompt, seed=0, **keys):
    """The completion that `generate` returns for a text."""
    session = served.session
    generation = session.generation.model_copy(update=keys)
    ids = encode_text([prompt], session.tokenizer)
    (predictions,) = generate(session.model, session.tokenizer, ids, generation, 4, seed)
    return [prediction.text for prediction in predictions]


def events(response):
    """The parts of a stream, without the last event."""
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/event-stream")
    lines = [line.removeprefix("data: ") for line in response.text.split("\n\n")]
    assert lines[-2:] == ["[DONE]", ""]
    return [json.loads(line) for line in lines[:-2]]


def streamed(parts):
    """The text and the finish reason of each completion of a stream."""
    texts, reasons = {}, {}
    for part in parts:
        for choice in part["choices"]:
            index = choice["index"]
            assert index not in reasons, "text after the last part"
            texts[index] = texts.get(index, "") + choice["text"]
            if choice["finish_reason"]:
                reasons[index] = choice["finish_reason"]
    return [(texts[index], reasons[index]) for index in sorted(texts)]


def test_an_answer_has_openais_form_and_the_text_of_generate(served):
    answer = served.complete(TEXT[0][:20], model="tiny").json()
    assert answer["id"].startswith("cmpl-")
    assert (answer["object"], answer["model"]) == ("text_completion", "tiny")
    (choice,) = answer["choices"]
    assert choice == {
        "index": 0,
        "text": offline(served, TEXT[0][:20])[0],
        "logprobs": None,
        "finish_reason": "length",
    }
    num_tokens = len(encode_text([TEXT[0][:20]], served.session.tokenizer)[0])
    assert answer["usage"] == {
        "prompt_tokens": num_tokens, "completion_tokens": 8, "total_tokens": num_tokens + 8,
    }  # fmt: skip


def test_a_seed_gives_the_samples_of_generate_whatever_else_is_asked(served):
    keys = {"temperature": 1.0, "num_return_sequences": 3}
    expected = offline(served, TEXT[1][:9], seed=7, **keys)
    body = {"temperature": 1, "seed": 7, "n": 3}
    answer = served.complete(TEXT[1][:9], **body).json()
    assert [choice["text"] for choice in answer["choices"]] == expected
    assert len(set(expected)) > 1
    answer = served.complete([TEXT[1][:9], TEXT[2][:9]], **body).json()
    assert [choice["text"] for choice in answer["choices"][:3]] == expected
    assert [choice["index"] for choice in answer["choices"]] == list(range(6))


def test_without_a_seed_answers_differ(served):
    texts = {
        served.complete("The", temperature=1, max_tokens=12).json()["choices"][0]["text"]
        for _ in range(3)
    }
    assert len(texts) > 1


@pytest.mark.parametrize("extra", [{}, {"n": 2, "echo": True}, {"stop": ["a", " "]}])
def test_a_stream_gives_the_whole_answer(served, extra):
    body = {"temperature": 1.2, "seed": 3, "max_tokens": 30, **extra}
    whole = served.complete(["Größe 你", "The"], **body).json()
    parts = events(served.complete(["Größe 你", "The"], stream=True, **body))
    expected = [(choice["text"], choice["finish_reason"]) for choice in whole["choices"]]
    assert streamed(parts) == expected
    assert {part["object"] for part in parts} == {"text_completion"}
    assert len({part["id"] for part in parts}) == 1
    assert not any("usage" in part for part in parts)


def test_a_stream_ends_with_the_usage_if_asked(served):
    body = {"max_tokens": 5, "stream": True, "stream_options": {"include_usage": True}}
    *parts, last = events(served.complete("The", **body))
    assert all(part["usage"] is None for part in parts)
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] == 5


def test_an_echo_begins_with_the_prompt(served):
    (choice,) = served.complete("The ferry", echo=True).json()["choices"]
    assert choice["text"] == "The ferry" + offline(served, "The ferry")[0]


def test_stop_texts_end_a_completion(served):
    (whole,) = offline(served, "The", max_new_tokens=30)
    stop = whole[5:7]
    for given in (stop, [stop]):
        (choice,) = served.complete("The", max_tokens=30, stop=given).json()["choices"]
        assert (choice["text"], choice["finish_reason"]) == (whole[: whole.index(stop)], "stop")


def test_end_of_text_is_stop(served):
    body = {"temperature": 100, "seed": 11, "n": 4, "max_tokens": 60}
    choices = served.complete("The", **body).json()["choices"]
    assert {choice["finish_reason"] for choice in choices} == {"stop", "length"}
    assert served.session.tokenizer.eos_token not in "".join(c["text"] for c in choices)


def test_defaults_are_the_recipes_and_yield_to_the_request(sampled):
    prompt = TEXT[0][:20]
    (expected,) = offline(sampled, prompt, seed=5)
    (choice,) = sampled.complete(prompt, seed=5).json()["choices"]
    assert choice["text"] == expected
    greedy = {"temperature": 0.0, "top_p": 1.0, "min_new_tokens": 0}
    (expected,) = offline(sampled, prompt, **greedy, max_new_tokens=4)
    for extra in (
        {},
        {"top_p": 0.5},
    ):  # the recipe's top_p and min_new_tokens do not stand in the way
        (choice,) = sampled.complete(prompt, temperature=0, max_tokens=4, **extra).json()["choices"]
        assert choice["text"] == expected


@pytest.mark.parametrize("key", ["repetition_penalty", "no_repeat_ngram_size"])
def test_extra_keys_reach_the_decoding(served, key):
    value = {"repetition_penalty": 1.7, "no_repeat_ngram_size": 1}[key]
    (expected,) = offline(served, "The", max_new_tokens=20, **{key: value})
    (choice,) = served.complete("The", max_tokens=20, **{key: value}).json()["choices"]
    assert choice["text"] == expected
    assert expected != offline(served, "The", max_new_tokens=20)[0]


@pytest.mark.parametrize(
    ("body", "pattern"),
    [
        ({"choices": ["yes", "no, never"]}, r"yes|no, never"),
        ({"regex": "[0-9]{3}-[a-f]"}, r"[0-9]{3}-[a-f]"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {
                "type": "object", "properties": {"a": {"enum": [1, 2]}}, "required": ["a"],
                "additionalProperties": False}}}},
            r'\{ ?"a" ?: ?[12] ?\}',
        ),
    ],
)  # fmt: skip
def test_a_constraint_is_obeyed(served, sampled, body, pattern):
    for each in (served, sampled):
        answer = each.complete("Answer:", max_tokens=60, **body)
        (choice,) = answer.json()["choices"]
        assert re.fullmatch(pattern, choice["text"]), choice
        assert choice["finish_reason"] == "stop"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"regex": "("}, "regex"),
        ({"regex": "(?=a)"}, "regex"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": 5}}}},
            "response_format",
        ),
    ],
)
def test_a_constraint_that_cannot_be_met_names_its_parameter(served, body, param):
    refused = served.complete("Answer:", **body)
    assert refused.status_code == 400
    error = refused.json()["error"]
    assert (error["param"], error["code"]) == (param, "invalid_value")
    assert error["message"].startswith(f"{param}: ")
