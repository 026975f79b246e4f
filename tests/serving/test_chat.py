"""POST /v1/chat/completions: conversations, templates of tasks, and labels."""

import json

import pytest
from served import error_of, open_tiny, serving

from llmkit.data.encode import encode_segments, encode_text
from llmkit.generation.generate import generate
from llmkit.tasks import Example, chat

LABELS = ("bad", "good, really", "Größe")
TURNS = (("system", "Be brief."), ("user", "Who left?"), ("assistant", "Mara."), ("user", "When?"))


@pytest.fixture(scope="module")
def chatting(tiny_gpt2):
    with serving(open_tiny(tiny_gpt2, "chat", max_new_tokens=20)) as served:
        yield served


@pytest.fixture(scope="module")
def classifying(tiny_gpt2):
    with serving(open_tiny(tiny_gpt2, "classify", LABELS)) as served:
        yield served


def offline(served, ids, **keys):
    session = served.session
    generation = session.generation.model_copy(update=keys)
    ((prediction,),) = generate(session.model, session.tokenizer, [ids], generation, 1)
    return prediction.text.strip()


def conversation_ids(served, messages):
    """Token ids of a whole conversation, encoded as in training."""
    segments = chat.parse_prompt([{"role": r, "content": c} for r, c in messages])
    example = Example("0", segments, "", [])
    ((_, ids),) = encode_segments([example], served.session.tokenizer)
    return [token for tokens in ids[:-1] for token in tokens]


def streamed(response):
    """(the deltas, the finish reason, the last choice) of a stream with one completion."""
    assert response.status_code == 200
    *lines, done, _ = (line.removeprefix("data: ") for line in response.text.split("\n\n"))
    assert done == "[DONE]"
    choices = [json.loads(line)["choices"][0] for line in lines]
    return [choice["delta"] for choice in choices], choices[-1]


def test_a_conversation_goes_through_the_chat_format(chatting):
    answer = chatting.chat(*TURNS).json()
    assert answer["id"].startswith("chatcmpl-")
    assert answer["object"] == "chat.completion"
    ids = conversation_ids(chatting, TURNS)
    (choice,) = answer["choices"]
    assert choice["message"] == {
        "role": "assistant", "content": offline(chatting, ids), "refusal": None,
    }  # fmt: skip
    assert answer["usage"]["prompt_tokens"] == len(ids)


def test_a_stream_gives_the_whole_answer(chatting):
    for seed in range(4):
        body = {"temperature": 1.5, "seed": seed, "max_tokens": 25}
        (choice,) = chatting.chat("Who?", **body).json()["choices"]
        deltas, last = streamed(chatting.chat("Who?", stream=True, **body))
        assert deltas[0] == {"role": "assistant", "content": ""}
        assert deltas[-1] == {}
        assert "".join(delta.get("content", "") for delta in deltas) == choice["message"]["content"]
        assert last["finish_reason"] == choice["finish_reason"]


def test_a_system_message_fills_its_place_in_the_template(tiny_gpt2):
    with serving(open_tiny(tiny_gpt2, "instruct")) as served:
        prompt = "Be brief.\nInstruction: When?\nResponse:"
        (ids,) = encode_text([prompt], served.session.tokenizer)
        answer = served.chat(*TURNS).json()
        assert answer["usage"]["prompt_tokens"] == len(ids)
        assert answer["choices"][0]["message"]["content"] == offline(served, ids)


def test_a_last_message_that_does_not_fit_is_refused_not_truncated(chatting):
    refused = chatting.chat(("user", "Who?"), ("assistant", "Mara."), "word " * 200)
    assert refused.status_code == 400
    error = refused.json()["error"]
    assert (error["code"], error["param"]) == ("context_length_exceeded", "messages")
    assert "messages: the message has " in error["message"]


def test_a_blank_last_message_is_refused(chatting):
    refused = chatting.chat(("user", "Who?"), ("assistant", "Mara."), " \n")
    assert refused.status_code == 400
    assert error_of(refused) == {
        "message": "messages: the last message is blank; send at least one visible character",
        "type": "invalid_request_error", "param": "messages", "code": "invalid_value",
    }  # fmt: skip
    assert chatting.chat(("user", ""), ("assistant", ""), "Who?").status_code == 200


def test_a_classifier_answers_with_a_label_and_all_probabilities(classifying):
    session = classifying.session
    (encoded,) = session.encode([_prompt(session, "A ferry.")])
    (expected,) = session.predict([encoded])
    answer = classifying.chat("A ferry.").json()
    (choice,) = answer["choices"]
    assert choice["message"]["content"] == expected.text
    assert choice["probabilities"] == pytest.approx(expected.probabilities, rel=1e-4)
    assert choice["finish_reason"] == "stop"
    assert answer["usage"]["completion_tokens"] == len(session.labels[expected.text])
    deltas, last = streamed(classifying.chat("A ferry.", stream=True))
    assert deltas == [{"role": "assistant", "content": ""}, {"content": expected.text}, {}]
    assert last["probabilities"] == choice["probabilities"]
    for parameter in ("temperature", "n", "max_tokens", "min_tokens"):
        refused = classifying.chat("A ferry.", **{parameter: 2})
        assert error_of(refused)["param"] == parameter
        assert "predicts labels and generates no text; remove it" in error_of(refused)["message"]


def test_a_classifier_reads_raw_prompts_too(classifying):
    text = _prompt(classifying.session, "A ferry.").text
    (chosen,) = classifying.complete(text).json()["choices"]
    (expected,) = classifying.chat("A ferry.").json()["choices"]
    assert chosen["text"] == expected["message"]["content"]
    assert chosen["probabilities"] == pytest.approx(expected["probabilities"])
    answer = classifying.complete([text, "The soup\nLabel:"]).json()
    assert len(answer["choices"]) == 2


def _prompt(session, text):
    from llmkit.generation.prompts import Prompt

    return Prompt("0", "test", session.reader(is_raw=False).segments_from_text(text), {})
