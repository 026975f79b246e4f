"""`quantize`: mistakes in its arguments."""

import pytest


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("embedded",), "embedded: not a run"),
        (("embedded", "train.epochs=2"), "quantize takes only data.test"),
    ],
)
def test_mistakes_end_in_one_line(llmkit, arguments, said):
    result = llmkit("quantize", *arguments)
    assert result.exit_code == 2
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1
