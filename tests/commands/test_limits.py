"""`--fail-under`: scores that a job must reach."""

from types import SimpleNamespace

import pytest

from llmkit.commands.limits import Limit, check_limits, fail_if_missed
from llmkit.errors import UserError

TASK = SimpleNamespace(
    name="summarize", scores={"rougeL": True, "perplexity": False},
    score_names=["rougeL", "perplexity", "loss"],
)  # fmt: skip


@pytest.mark.parametrize(
    ("limit", "is_missed"),
    [
        (("rougeL", 20.0), False),
        (("rougeL", 20.5), True),
        (("perplexity", 9.0), True),
        (("perplexity", 10.0), False),
        (("loss", 2.0), True),
        (("loss", 2.5), False),
    ],
)
def test_a_limit_is_missed_on_the_worse_side(limit, is_missed, capsys):
    scores = {"rougeL": 20.0, "perplexity": 10.0, "loss": 2.5}
    if not is_missed:
        fail_if_missed([Limit(*limit)], scores, TASK)
        return
    with pytest.raises(SystemExit) as stop:
        fail_if_missed([Limit("rougeL", 1.0), Limit(*limit)], scores, TASK)
    assert stop.value.code == 1
    assert capsys.readouterr().err.startswith(f"llmkit: --fail-under {limit[0]}={limit[1]:g}: it")


def test_a_limit_on_an_unknown_score_is_refused_first(llmkit):
    with pytest.raises(UserError, match="no score 'rougel'; did you mean rougeL"):
        check_limits([Limit("rougel", 1.0)], TASK)
    for recipe, limit in (("summarize", "bleu=3"), ("classify", "rougeL=20")):
        for command in (("finetune", recipe), ("evaluate", "embedded", "--recipe", recipe)):
            result = llmkit(*command, "--fail-under", limit)
            assert result.exit_code == 2
            assert "--fail-under: " in result.stderr
    for limit in ("rougeL", "rougeL=", "rougeL=20%", "rougeL=nan", "rougeL=inf"):
        result = llmkit("evaluate", "x", "--fail-under", limit)
        assert result.exit_code == 2
        assert "give SCORE=N, such as rougeL=20" in result.stderr
