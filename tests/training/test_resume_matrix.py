"""Runs of every combination of settings, stopped at the end of an epoch, within one, or killed
within the accumulation of a step: resumed, they are bit-identical to runs that never stopped."""

from itertools import product

import pytest
from stopped_runs import interrupted, run_to_the_end, six_steps, traces

from llmkit.model.loss import SupervisedLoss
from llmkit.training.checkpoint import newest

MATRIX = list(
    product(
        ("train.method=full", "train.method=lora"),
        ("train.dropout=0", "train.dropout=0.1"),
        ("train.micro_batch_size=8", "train.micro_batch_size=3"),
        ("data.packing=false", "data.packing=true"),
        ("train.forward=padding_free", "train.forward=transformers"),
        ("cosine", "linear", "warmup_stable_decay"),
    )
)
IN_THE_SUITE = (25, 95)  # full with dropout in one piece; LoRA, accumulated, packed, reference
BORDER, MIDDLE = 3, 5  # steps; an epoch has three


class Gone(BaseException):
    """As if the process were."""


def cut_short_within_a_step(settings, run, monkeypatch) -> None:
    """The process is gone in the middle of step 5, before its last micro-batch."""
    num_calls = 0
    forward = SupervisedLoss.forward
    per_step = -(-8 // settings.train.micro_batch_size)

    def count(*arguments, **batch):
        nonlocal num_calls
        num_calls += 1
        # Two epochs' steps of 8, 8 and 4 rows; the fifth is the second of the second epoch.
        if num_calls == 3 * per_step + -(-4 // settings.train.micro_batch_size) + per_step:
            raise Gone
        return forward(*arguments, **batch)

    with monkeypatch.context() as patch:
        patch.setattr(SupervisedLoss, "forward", count)
        with pytest.raises(Gone):
            run_to_the_end(settings, run)
    assert newest(run)[0].name == "step-00000004"
    run_to_the_end(settings, run, resume=True)


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(n, marks=[] if n in IN_THE_SUITE else pytest.mark.slow)
        for n in range(len(MATRIX))
    ],
)
def test_resume_is_bit_identical_for_every_combination_of_settings(
    tiny_gpt2, tmp_path, monkeypatch, figure, number
):
    *overrides, schedule = MATRIX[number]
    settings = six_steps(
        tiny_gpt2, tmp_path, *overrides, f"train.schedule={schedule}", "train.warmup_steps=2",
        "checkpoint.every=2", "evaluation.every=3",
    )  # fmt: skip
    run_to_the_end(settings, tmp_path / "whole")
    expected = traces(tmp_path / "whole")
    for step in (BORDER, MIDDLE):
        interrupted(settings, tmp_path / f"stopped{step}", monkeypatch, step)
    cut_short_within_a_step(settings, tmp_path / "cut", monkeypatch)
    names = (f"stopped{BORDER}", f"stopped{MIDDLE}", "cut")
    reached = sum(traces(tmp_path / name) == expected for name in names)
    claim = (
        "full or LoRA x dropout x accumulation x packing x forward pass x schedule, stopped at the "
        "end of an epoch, in its middle or within a step: resume is bit-identical"
    )
    figure(claim, reached, of=3)
