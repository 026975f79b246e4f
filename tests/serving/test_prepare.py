"""From the body of a request to token ids and decoding: defaults, limits, prompts and histories."""

import re
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rows import LABELS, TEXT
from served import as_run_of, open_tiny

from llmkit.config.generation import Generation
from llmkit.data.encode import encode_segments, encode_text
from llmkit.errors import UserError
from llmkit.serving.body import ChatBody, CompletionBody
from llmkit.serving.errors import ApiError
from llmkit.serving.prepare import (
    PreparedRequest,
    check_servable,
    decoding_of,
    prepare_chat,
    prepare_completion,
)
from llmkit.serving.security import Limits
from llmkit.tasks import Example, chat

FREE = Limits()
SAMPLED = Generation(temperature=0.9, top_p=0.8, min_new_tokens=6, max_new_tokens=20)


@pytest.fixture(scope="module")
def session_of(tiny_gpt2):
    """A session as after a run of a task."""
    return partial(as_run_of, open_tiny(tiny_gpt2))


@pytest.fixture(scope="module")
def text_session(session_of):
    return session_of("pretrain")


@pytest.fixture(scope="module")
def chat_session(session_of):
    return session_of("chat", max_new_tokens=20)


def decode_of(defaults: Generation, limits: Limits = FREE, **fields) -> Generation:
    return decoding_of(CompletionBody(prompt="a", **fields), defaults, limits)


def completion(session, prompt, limits: Limits = FREE, **fields) -> PreparedRequest:
    body = CompletionBody(prompt=prompt, **fields)
    return prepare_completion(body, decoding_of(body, session.generation, limits), session, limits)


def chat_prompt(session, *messages, limits: Limits = FREE, **fields) -> list[int]:
    """messages: Pairs of role and content, or the content of one user message."""
    pairs = [("user", m) if isinstance(m, str) else m for m in messages]
    body = ChatBody(messages=[{"role": r, "content": c} for r, c in pairs], **fields)
    (prompt,) = prepare_chat(
        body, decoding_of(body, session.generation, limits), session, limits
    ).prompts
    return prompt


def ids_of(session, *texts: str) -> list[list[int]]:
    return encode_text(list(texts), session.tokenizer)


# ------------------------------------------------------------------------------- decoding


def test_beams_are_refused_before_anything_is_served():
    check_servable(SAMPLED)
    with pytest.raises(UserError, match=r"add generation\.num_beams=1"):
        check_servable(Generation(num_beams=2))


def test_what_a_request_leaves_open_is_the_recipes():
    assert decode_of(SAMPLED) == SAMPLED
    copies = Generation(temperature=1.0, num_return_sequences=3)
    assert decode_of(copies).num_return_sequences == 1, "n says how many"


@pytest.mark.parametrize("extra", [{}, {"top_p": 0.5}, {"top_k": 3, "min_p": 0.1}])
def test_a_greedy_request_ignores_what_applies_to_sampling_alone(extra):
    decoding = decode_of(SAMPLED, temperature=0.0, **extra)
    assert decoding == Generation(min_new_tokens=6, max_new_tokens=20)


def test_a_lower_limit_of_the_request_lowers_the_recipes_least_length():
    assert decode_of(SAMPLED, max_tokens=4).min_new_tokens == 4
    with pytest.raises(ApiError, match="min_tokens"):
        decode_of(SAMPLED, max_tokens=4, min_tokens=5)


def test_another_constraint_replaces_the_recipes_and_what_contradicts_it():
    defaults = Generation(regex="[a-z]+", max_new_tokens=20)
    decoding = decode_of(defaults, choices=["yes", "no"])
    assert (decoding.choices, decoding.regex) == (["yes", "no"], None)
    defaults = Generation(stop=["x"], no_repeat_ngram_size=2, min_new_tokens=2)
    decoding = decode_of(defaults, regex="[a-z]+")
    assert (decoding.stop, decoding.no_repeat_ngram_size, decoding.min_new_tokens) == ([], 0, 0)


def test_the_servers_limit_of_new_tokens_holds_for_request_and_recipe():
    limits = Limits(max_new_tokens=10)
    assert decode_of(Generation(max_new_tokens=64), limits).max_new_tokens == 10
    assert decode_of(Generation(max_new_tokens=5), limits).max_new_tokens == 5
    assert decode_of(Generation(), limits, max_tokens=10).max_new_tokens == 10
    with pytest.raises(ApiError, match="11 exceeds the server's limit of 10"):
        decode_of(Generation(), limits, max_tokens=11)


def test_several_copies_need_sampling():
    assert decode_of(Generation(), n=3, temperature=1.0).num_return_sequences == 1
    for defaults, fields in ((Generation(), {}), (SAMPLED, {"temperature": 0.0})):
        with pytest.raises(ApiError, match="n: above 1 requires a temperature above 0"):
            decode_of(defaults, n=2, **fields)


NUMBERS = st.sampled_from([None, 0, 1, 2, 5, 30])
SHARES = st.sampled_from([None, 0.0, 0.3, 1.0, 1.5])


@given(
    st.sampled_from([Generation(), SAMPLED, Generation(choices=["a"]), Generation(stop=["x"])]),
    st.fixed_dictionaries({
        "temperature": st.sampled_from([None, 0.0, 0.7, -1.0, 1e-9]),
        "top_p": SHARES, "min_p": SHARES, "top_k": NUMBERS,
        "max_tokens": NUMBERS, "min_tokens": NUMBERS, "no_repeat_ngram_size": NUMBERS,
        "stop": st.sampled_from([None, "", "a", ["a", "b"], ["a", "a"]]),
        "regex": st.sampled_from([None, "", "[a-z]+"]),
        "choices": st.sampled_from([None, [], ["a", "b"]]),
        "n": st.sampled_from([1, 2]),
    }),
    st.sampled_from([FREE, Limits(max_new_tokens=3)]),
)  # fmt: skip
def test_any_request_gets_its_decoding_or_one_mistake_in_its_own_words(defaults, fields, limits):
    fields = {name: value for name, value in fields.items() if value is not None}
    decoding, mistake = None, None
    try:
        decoding = decode_of(defaults, limits, **fields)
    except ApiError as error:
        mistake = error
    if mistake is not None:
        assert mistake.status == 400
        assert mistake.param is None or mistake.param in CompletionBody.model_fields
        assert not re.search("_new_tokens|json_schema|num_return", str(mistake)), str(mistake)
        return
    assert Generation.model_validate(decoding.model_dump()) == decoding
    greedy = not fields.get("temperature", defaults.temperature)
    assert (decoding.temperature == 0) == greedy
    names = {"max_tokens": "max_new_tokens", "min_tokens": "min_new_tokens"}
    for name, value in fields.items():
        is_sampling = name in ("temperature", "top_p", "min_p", "top_k")
        if name != "n" and not (is_sampling and greedy):
            expected = [value] if name == "stop" and isinstance(value, str) else value
            assert getattr(decoding, names.get(name, name)) == expected
    assert decoding.max_new_tokens <= (limits.max_new_tokens or 10**6)


# -------------------------------------------------------------------------------- prompts


def test_prompts_may_be_token_ids_and_lists(text_session):
    first, second = ids_of(text_session, "The ferry", "A man")
    for prompt in (first, [first], "The ferry", ["The ferry"]):
        assert completion(text_session, prompt).prompts == [first]
    for prompt in ([first, second], ["The ferry", "A man"], ["The ferry", second]):
        assert completion(text_session, prompt).prompts == [first, second]


def test_an_echo_is_the_text_of_the_prompt(text_session):
    (ids,) = ids_of(text_session, "Größe 你")
    assert completion(text_session, ["Größe 你", ids], echo=True).texts == ["Größe 你"] * 2
    assert completion(text_session, ["Größe 你", ids]).texts == ["", ""]


def test_without_max_tokens_as_many_are_written_as_fit(text_session):
    prompts = [[5] * number for number in (10, 120, 121, 125, 127)]
    generations = completion(text_session, prompts).generations
    assert [generation.max_new_tokens for generation in generations] == [8, 8, 7, 3, 1]
    for prompt, fields in (([5] * 125, {"max_tokens": 4}), ([5] * 128, {})):
        with pytest.raises(ApiError, match="128 positions; shorten the prompt") as refused:
            completion(text_session, prompt, **fields)
        assert (refused.value.code, refused.value.param) == ("context_length_exceeded", "prompt")


def test_a_least_length_that_does_not_fit_is_not_cut_down(text_session):
    completion(text_session, [5] * 122, min_tokens=6)
    with pytest.raises(ApiError, match="up to 8 new ones"):
        completion(text_session, [5] * 123, min_tokens=6)


def test_a_classifier_needs_room_for_its_longest_label(session_of):
    session = session_of("classify", LABELS)
    longest = max(map(len, session.labels.values()))
    completion(session, [5] * (128 - longest))
    with pytest.raises(ApiError, match=f"up to {longest} new ones"):
        completion(session, [5] * (129 - longest))


def test_the_servers_limit_of_prompt_tokens_holds_for_all_paths(text_session, chat_session):
    limits = Limits(max_prompt_tokens=40)
    assert completion(text_session, [5] * 40, limits)
    with pytest.raises(ApiError, match="prompt: 41 tokens exceed the limit of 40"):
        completion(text_session, [[5] * 3, [5] * 41], limits)
    assert chat_prompt(chat_session, "Who?", limits=limits)
    with pytest.raises(ApiError, match=r"messages: \d+ tokens exceed the limit of 40") as refused:
        chat_prompt(chat_session, TEXT[0], limits=limits)
    assert refused.value.param == "messages"


# ------------------------------------------------------------------------------- messages


def test_the_oldest_turns_leave_first(chat_session):
    old = [("user", TEXT[1]), ("assistant", TEXT[2])]
    kept = [("user", "Who left?"), ("assistant", "Mara."), ("user", "When?")]
    segments = chat.parse_prompt([{"role": r, "content": c} for r, c in [*old, *kept]])
    remaining = [segment for segment in segments if segment.turn != 0]
    ((_, ids),) = encode_segments([Example("0", remaining, "", [])], chat_session.tokenizer)
    expected = [token for tokens in ids[:-1] for token in tokens]
    assert chat_prompt(chat_session, *old, *kept) == expected


def test_more_new_tokens_leave_less_room_for_history(chat_session):
    history = [("user", TEXT[0]), ("assistant", "Yes."), "When?"]
    few, many = (chat_prompt(chat_session, *history, max_tokens=number) for number in (4, 90))
    assert len(many) < len(few) <= 128 - 4
    assert len(many) <= 128 - 90


def test_a_conversation_that_cannot_be_truncated_to_fit_is_refused(chat_session):
    with pytest.raises(ApiError) as refused:
        chat_prompt(chat_session, ("system", "word " * 200), "Who?")
    error = refused.value
    assert (error.status, error.code, error.param) == (400, "context_length_exceeded", "messages")
    assert "max_new_tokens" not in str(error)


def test_the_last_message_fills_the_template_of_a_task(session_of):
    session = session_of("summarize")
    (ids,) = ids_of(session, session.task.template.format(document="A ferry."))
    assert chat_prompt(session, "A ferry.") == ids
    assert chat_prompt(session, "Before.", ("assistant", "Yes."), "A ferry.") == ids
    with pytest.raises(ApiError, match="takes no system prompt"):
        chat_prompt(session, ("system", "Be brief."), "A ferry.")
    with pytest.raises(ApiError, match=r"^messages: the last message") as refused:
        chat_prompt(session, "  ")
    assert refused.value.status == 400


def test_a_language_model_names_the_other_path(text_session):
    with pytest.raises(ApiError, match="use /v1/completions") as refused:
        chat_prompt(text_session, "Who?")
    assert (refused.value.status, refused.value.code) == (400, "no_chat_format")


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([{"role": "user"}], "has no text in `content`"),
        ([{"role": "robot", "content": "a"}], "has the role 'robot'"),
        ([{"role": "tool", "content": "a"}], "calls a tool"),
        ([{"role": "assistant", "content": "a"}], "must alternate"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], "only parts of type 'text'"),
        (
            [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],
            "the last message must have the role user",
        ),
    ],
)
def test_a_mistake_in_the_messages_is_explained(chat_session, messages, message):
    body = ChatBody(messages=messages)
    with pytest.raises(ApiError) as refused:
        prepare_chat(body, chat_session.generation, chat_session, FREE)
    error = refused.value
    assert (error.status, error.param, error.code) == (400, "messages", "invalid_value")
    assert message in str(error)
