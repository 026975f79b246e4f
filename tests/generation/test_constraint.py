"""Constrained completions are permitted texts, whatever the model prefers."""

import json
import re
import sys
from collections import Counter
from contextlib import contextmanager

import pytest
import regex
import torch
from tokenizer_kinds import load_kinds

from llmkit.config.generation import Generation
from llmkit.constants import END_OF_TEXT
from llmkit.data.encode import encode_text
from llmkit.generation.constraint import Constraint, ConstraintError
from llmkit.generation.engine import Engine
from llmkit.generation.generate import generate
from llmkit.generation.request import Request
from llmkit.model.load import load_model

KINDS = load_kinds()
BYTE_LEVEL = [kind for kind in ("byte-level", "embedded", "GPT-2") if kind in KINDS]
PROMPT = [40, 41, 42]
CLAIM = "sampled completions that their constraint permits"

REGEXES = [
    r"yes|no|maybe",
    r"[a-z]{3,9}(, [a-z]{1,4}){0,2}",
    r"-?[0-9]+(\.[0-9]{1,2})?",
    r"[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])",
    r"(?i)label: [ab]+",
    r"[äöüß€]{2}/\\[^\n]?",
    r"a*",
    r"\n- .\n",
    r" ?x",
]
CHOICES = [
    "no",
    "not",
    "nothing",
    " x",
    "größer",
    'a "b" \\ /c/',
    "%json {}\n#",
    "<|endoftext|>",
    "\x00\x7f",
]
SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "pattern": "^[A-Z][a-z]{1,7}$"},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "tags": {"type": "array", "items": {"enum": ["red", "grün"]}, "maxItems": 3},
        "known": {"type": ["boolean", "null"]},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def loaded(tiny_gpt2):
    return load_model(str(tiny_gpt2))


def sample(loaded, num_texts, max_new_tokens=90, **settings):
    """Completions of a model with random weights."""
    model, tokenizer = loaded
    generation = Generation(
        temperature=1.0, max_new_tokens=max_new_tokens, num_return_sequences=num_texts, **settings
    )
    (completions,) = generate(model, tokenizer, [PROMPT], generation, 32, seed=3)
    return completions


@contextmanager
def wanting(model, token_id, bias):
    """Context in which the model has a different logit for one token."""
    hook = model.lm_head.register_forward_hook(
        lambda module, inputs, logits: logits.index_fill(-1, torch.tensor([token_id]), bias)
    )
    yield
    hook.remove()


def is_valid(value):
    return (
        isinstance(value, dict)
        and list(value) == [key for key in SCHEMA["properties"] if key in value]
        and re.fullmatch("[A-Z][a-z]{1,7}", value["name"]) is not None
        and type(value["age"]) is int
        and 0 <= value["age"] <= 120
        and len(value.get("tags", [])) <= 3
        and set(value.get("tags", [])) <= {"red", "grün"}
        and value.get("known") in (True, False, None)
    )


@pytest.mark.parametrize("pattern", REGEXES)
def test_every_completion_matches_the_regex(loaded, pattern, trials, figure):
    completions = sample(loaded, len(trials(20, 400)), regex=pattern)
    ended = [completion.text for completion in completions if completion.ended]
    assert ended
    num_matches = sum(re.fullmatch(pattern, text) is not None for text in ended)
    for completion in completions:
        assert completion.ended or regex.fullmatch(pattern, completion.text, partial=True)
    figure(CLAIM, num_matches, len(ended))


def test_every_completion_is_one_of_the_choices(loaded, trials, figure):
    texts = Counter(
        completion.text for completion in sample(loaded, len(trials(60, 800)), choices=CHOICES)
    )
    permitted = {text: count for text, count in texts.items() if text in CHOICES}
    assert len(permitted) > len(CHOICES) / 2
    figure(CLAIM, sum(permitted.values()), sum(texts.values()))


def test_every_completion_is_json_of_the_schema(loaded, trials, figure):
    completions = sample(loaded, len(trials(30, 800)), max_new_tokens=110, json_schema=SCHEMA)
    texts = [completion.text for completion in completions if completion.ended]
    assert len(texts) > len(completions) / 2
    assert any('"tags"' in text for text in texts)
    for text in texts:
        assert not re.search(r"\s\s|[\n\t]", text)
    figure(CLAIM, sum(is_valid(json.loads(text)) for text in texts), len(texts))


@pytest.mark.parametrize("kind", BYTE_LEVEL)
@pytest.mark.parametrize("num_unused", [0, 7])
def test_random_permitted_tokens_form_permitted_texts_for_every_byte_level_tokenizer(
    kind, num_unused
):
    tokenizer = KINDS[kind]()
    rng = torch.Generator().manual_seed(0)
    pattern = r"[a-zäöü]{2,6} [0-9]{3}"
    for settings in ({"regex": pattern}, {"choices": CHOICES}, {"json_schema": SCHEMA}):
        for _ in range(3):
            constraint = Constraint(Generation(**settings), tokenizer)
            token_ids = []
            while not constraint.is_finished:
                logits = torch.randn(len(tokenizer) + num_unused, generator=rng)
                constraint.apply(logits)
                token = int(logits.argmax())
                assert torch.isfinite(logits[token])
                if token == tokenizer.eos_token_id:
                    break
                token_ids.append(token)
                constraint.accept(token)
            text = tokenizer.decode(token_ids, skip_special_tokens=True).removeprefix(" ")
            if "regex" in settings:
                assert re.fullmatch(pattern, text)
            elif "choices" in settings:
                assert text in CHOICES or f" {text}" in CHOICES
            else:
                assert is_valid(json.loads(text))


def test_end_of_text_is_permitted_only_after_a_complete_text(loaded):
    model, tokenizer = loaded
    generation = Generation(regex="[a-c]{3,5}|d", max_new_tokens=20)
    with wanting(model, tokenizer.eos_token_id, 1e4):
        ((completion,),) = generate(model, tokenizer, [PROMPT], generation, 1)
    assert re.fullmatch("[a-c]{3}|d", completion.text)
    assert completion.ended
    with wanting(
        model, tokenizer.eos_token_id, -1e4
    ):  # and after a text that cannot go on, it ends
        ((completion,),) = generate(model, tokenizer, [PROMPT], generation, 1)
    assert re.fullmatch("[a-c]{3,5}|d", completion.text)
    assert completion.ended


def test_a_truncated_text_is_not_reported_as_complete(loaded):
    (completion,) = sample(loaded, 1, max_new_tokens=3, regex="[a-z]{40}")
    assert not completion.ended
    assert re.fullmatch("[a-z]{1,39}", completion.text)


def test_a_text_of_exactly_the_maximum_length_is_complete(loaded):
    _, tokenizer = loaded
    assert len(tokenizer.encode("€")) == 3
    (completion,) = sample(loaded, 1, max_new_tokens=3, choices="€")
    assert (completion.text, completion.ended) == ("€", True)
    with pytest.raises(
        ConstraintError, match=r"choices: '€€' has 6 tokens, but a completion has at most 5"
    ):
        Constraint(Generation(choices=["€", "€€"], max_new_tokens=5), tokenizer)


@pytest.mark.parametrize("encodes_special_tokens", [True, False])
def test_a_constraint_leaves_the_tokenizer_as_it_is(loaded, encodes_special_tokens):
    """The server compiles constraints in one thread while another one decodes."""
    backend = loaded[1].backend_tokenizer
    backend.encode_special_tokens = encodes_special_tokens
    backend.enable_truncation(7)
    before = backend.to_str()
    try:
        for constraint in ({"choices": CHOICES}, {"regex": "a*"}, {"json_schema": SCHEMA}):
            Constraint(Generation(**constraint), loaded[1])
        assert backend.encode_special_tokens == encodes_special_tokens
        assert backend.to_str() == before
    finally:
        backend.no_truncation()


@pytest.mark.parametrize("kind", BYTE_LEVEL)
def test_the_length_of_a_choice_is_that_of_the_tokenizer(kind):
    tokenizer = KINDS[kind]()
    for choice in (text * 3 for text in CHOICES if text != END_OF_TEXT):
        num_tokens = min(map(len, encode_text([choice, f" {choice}"], tokenizer)))
        with pytest.raises(ConstraintError, match=f"has {num_tokens} tokens, but"):
            Constraint(Generation(choices=[choice], max_new_tokens=num_tokens - 1), tokenizer)


def test_requests_with_and_without_constraints_share_a_batch(loaded):
    model, tokenizer = loaded
    decodings = [
        Generation(max_new_tokens=12, **settings)
        for settings in ({}, {"regex": "[a-z]{5}"}, {"temperature": 1.0, "choices": CHOICES},
                         {"temperature": 1.0, "json_schema": {"type": "boolean"}},
                         {"temperature": 1.0, "repetition_penalty": 2.0})
    ]  # fmt: skip
    requests = [Request(PROMPT, decodings[i % 5], (0, i)) for i in range(15)]
    engine = Engine(model, tokenizer, 6)
    together = [engine.add(request) for request in requests]
    while not engine.is_idle:
        engine.step()
    for request, sequence in zip(requests, together, strict=True):
        engine = Engine(model, tokenizer, 1)
        alone = engine.add(request)
        texts = []
        while not engine.is_idle:
            engine.step()
            texts.append(alone.text)
        assert (alone.text, alone.finish_reason) == (sequence.text, sequence.finish_reason)
        assert all(alone.text.startswith(text) for text in texts)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"regex": "(a"}, "regex: llguidance rejects it: (a: unclosed group"),
        ({"regex": "[/"}, "regex: llguidance rejects it"),
        (
            {"regex": r"a(?=b)"},
            "look-around, including look-ahead and look-behind",
        ),
        ({"regex": r"\bfoo"}, "lookarounds not supported"),
        ({"regex": r"(a)\1"}, "backreferences are not supported"),
        ({"regex": "a\\"}, "regex: ends with a single backslash; double it"),
        ({"regex": r"[^\s\S]"}, "regex: permits no text"),
        ({"regex": "()"}, "regex: permits no text"),
        ({"regex": "a{1000000}"}, "regex: too complex"),
        ({"json_schema": {"type": "foo"}}, "json_schema: llguidance rejects it: Invalid type"),
        (
            {"json_schema": {"type": "integer", "minimum": 5, "maximum": 3}},
            "minimum (5) is greater",
        ),
        ({"json_schema": {"enum": []}}, "Unsatisfiable schema"),
        ({"json_schema": {"not": {}}}, 'Unimplemented keys: ["not"]'),
        ({"json_schema": {"pattern": "(a", "type": "string"}}, "(a: unclosed group"),
        ({"json_schema": {"$ref": "#/x"}}, "Pointer '/x' does not exist"),
        ({"json_schema": {"$ref": "https://example.com/x"}}, "Default retriever does not fetch"),
        ({"json_schema": {"properties": []}}, "properties must be an object"),
    ],
)
def test_an_invalid_or_unsatisfiable_constraint_is_rejected_in_one_line(settings, expected):
    with pytest.raises(ConstraintError) as caught:
        Constraint(Generation(**settings), KINDS["embedded"]())
    message = str(caught.value)
    assert expected in message
    assert message.startswith(f"generation.{next(iter(settings))}: ")
    assert "\n" not in message


@pytest.mark.parametrize("kind", ["WordPiece", "Unigram", "SentencePiece BPE"])
def test_tokenizers_that_are_not_byte_level_are_rejected(kind):
    with pytest.raises(ConstraintError, match="require a byte-level tokenizer"):
        Constraint(Generation(regex="a"), KINDS[kind]())


def test_the_error_without_llguidance_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with pytest.raises(
        ConstraintError, match=r"choices: requires llguidance: pip install 'llmkit\[c"
    ):
        Constraint(Generation(choices=["a"]), KINDS["embedded"]())


def test_a_schema_cannot_allow_unbounded_white_space(loaded):
    schema = {"type": "array", "items": {"const": 1}, "minItems": 4, "maxItems": 4,
              "x-guidance": {"whitespace_pattern": "[ \\n]+"}}  # fmt: skip
    for completion in sample(loaded, 10, json_schema=schema):
        assert json.loads(completion.text) == [1] * 4
        assert not re.search(r"\s\s|\n", completion.text)
