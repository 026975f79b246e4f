"""llama.cpp's server."""

import numpy as np
import pytest

pytest.importorskip("gguf")
pytest.importorskip("xllamacpp")


@pytest.fixture
def server(full, tmp_path):
    from llmkit.export import gguf_file

    gguf_file.write(full.source, "f32", tmp_path)
    return gguf_file.open_folder(tmp_path)


def test_the_likelihood_of_a_token_is_its_probability(server, full):
    row = full.original.inputs.rows[0]
    (found,) = server.log_probabilities(row, [4])
    assert np.isfinite(found).all()
    assert np.exp(found.astype(float)).sum() == pytest.approx(1, abs=1e-4)
    (likely,) = server.token_nll([*row[:5], int(found.argmax())], [5])
    (unlikely,) = server.token_nll([*row[:5], int(found.argmin())], [5])
    assert (likely, unlikely) == pytest.approx((-found.max(), -found.min()), abs=1e-4)


def test_text_of_any_script_survives(server):
    text = "It's 1,234 — naïve  日本語 🙂\n"
    assert server.decode(server.tokenize(text)) == text


def test_end_of_text_in_a_text_is_not_a_special_token(server, full):
    end = full.source.tokenizer.eos_token
    assert server.end_tokens == [full.source.tokenizer.eos_token_id]
    assert server.end_tokens[0] not in server.tokenize(end)
