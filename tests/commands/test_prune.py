"""`prune`: mistakes in its arguments."""

import pytest


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("embedded", "--share", "0.3"), "embedded: not a run"),
        (("embedded",), "Missing option '--share'"),
        (("embedded", "--share", "30"), "30.0 is not in the range"),
        (("embedded", "--share", "0"), "is not in the range"),
        (("embedded", "--share", "0.1", "--share", "0.1000001"), "--share 0.1000001: round it to"),
    ],
)
def test_mistakes_end_in_one_line(llmkit, arguments, said):
    result = llmkit("prune", *arguments)
    assert result.exit_code == 2
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1
