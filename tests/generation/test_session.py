"""Sessions: options override the recipe, prompts are truncated, batches do not matter."""

import pytest
from rows import TEXT
from runs import forget_accelerator

from llmkit.errors import UserError
from llmkit.generation.prompts import EncodedPrompt, Prompt
from llmkit.generation.session import open_session
from llmkit.runtime.console import make_console
from llmkit.tasks import Segment


@pytest.fixture
def open_tiny(tiny_gpt2):
    def open_it(*overrides, seed=0, **decoding):
        forget_accelerator()
        console = make_console(stderr=True, quiet=True)
        return open_session(str(tiny_gpt2), overrides, decoding, seed, console)

    return open_it


def prompts_of(*texts: str) -> list[Prompt]:
    return [Prompt(str(i), f"in:{i}", [Segment(text)], {}) for i, text in enumerate(texts)]


def test_a_model_without_a_run_uses_its_full_context(open_tiny):
    session = open_tiny(max_new_tokens=8, top_k=None)
    assert session.data.max_length == 128
    assert (session.max_new_tokens, session.generation.top_k) == (8, 0)
    assert (session.task.name, session.labels) == ("pretrain", {})


@pytest.mark.parametrize(
    ("overrides", "decoding", "message"),
    [
        (("data.template=x",), {}, "is not a run, so it has no recipe to override"),
        ((), {"top_k": 5}, "require a --temperature above 0"),
        ((), {"max_new_tokens": 0}, "--max-new-tokens: "),
    ],
)
def test_settings_without_effect_are_rejected(open_tiny, overrides, decoding, message):
    with pytest.raises(UserError, match=message):
        open_tiny(*overrides, **decoding)


def test_a_long_source_is_truncated_but_a_long_plain_prompt_is_rejected(open_tiny):
    session = open_tiny(max_new_tokens=28)
    long = "a b " * 200
    source = Prompt("0", "in:0", [Segment(long, is_truncatable=True), Segment(" TL;DR:")], {})
    plain, short, empty = prompts_of(long, "A ferry.", "")
    encoded = session.encode([source, plain, short, empty])
    assert isinstance(encoded[0], EncodedPrompt)
    assert (len(encoded[0].ids), encoded[0].is_truncated) == (100, True)
    assert str(encoded[1]).endswith("shorten the prompt or lower --max-new-tokens")
    assert not encoded[2].is_truncated
    assert session.tokenizer.decode(encoded[2].ids) == "A ferry."
    assert str(encoded[3]).startswith("in:2: the prompt is empty")


def test_predictions_depend_on_seed_and_number_but_not_on_the_batch(open_tiny):
    session = open_tiny(seed=5, max_new_tokens=6, temperature=1.0)
    encoded = session.encode(prompts_of(*(text[:20] for text in TEXT), *(t[:9] for t in TEXT)))
    whole = list(session.predict(encoded))
    assert len(whole) == len(encoded)
    alone = [list(session.predict([prompt], number)) for number, prompt in enumerate(encoded)]
    assert [prediction for (prediction,) in alone] == whole
    assert list(open_tiny(seed=6, max_new_tokens=6, temperature=1.0).predict(encoded)) != whole


@pytest.mark.parametrize("seed", range(8))
def test_streamed_pieces_add_up_to_the_prediction(open_tiny, seed):
    """Random weights generate incomplete characters and surrounding white space."""
    session = open_tiny(seed=seed, max_new_tokens=24, temperature=2.0, stop=["e"])
    (encoded,) = session.encode(prompts_of("A ferry"))
    pieces = list(session.stream(encoded))
    (prediction,) = session.predict([encoded])
    assert "".join(pieces) == prediction.text
    assert all(pieces)


def test_labels_beams_constraints_and_several_samples_are_not_streamed(open_tiny):
    assert open_tiny().can_stream
    assert not open_tiny(num_beams=2).can_stream
    assert not open_tiny(choices=["yes", "no"]).can_stream
    assert not open_tiny(num_return_sequences=2, temperature=1.0).can_stream
