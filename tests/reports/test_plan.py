"""The report of a plan: on terminals of any width, and as a page."""

from dataclasses import replace
from io import StringIO

import pytest
from browser import BROWSER, overflowing_widths
from rich.console import Console

from llmkit.planning.plan import CurvePoint, Plan
from llmkit.planning.predicted_costs import PredictedCosts
from llmkit.planning.proposals import Proposal
from llmkit.planning.scaling_law import Trial
from llmkit.reports.plan import format_changes, picture, show_plan, summary, write_html

PREDICTION = PredictedCosts(
    "measured here",
    {"preparation": 3.0, "optimizer steps": 3600.0, "validations": 60.0},
    {"weights": 5 * 10**8, "activations": 10**9},
    {"checkpoints": 3 * 10**9, "model": 5 * 10**8},
    1000,
    4,
    4,
    ["early stopping may end the run sooner: this is its full length"],
)
CHANGES = {"model": "gpt2-medium", "train.method": "lora", "train.activation_checkpointing": True,
           "train.micro_batch_tokens": 4096, "train.epochs": 1.5}  # fmt: skip
PROPOSALS = [
    Proposal(CHANGES, 355_000_000, 1500, 1.5, 7000.0, 4 * 10**9, (2.0, 2.1, 2.2)),
    Proposal({}, 124_000_000, 1000, 1.0, 3663.0, 10**9, (2.2, 2.3, 2.5)),
]
CURVE = [
    CurvePoint(steps, 3.6 * steps, 8 / steps**0.2, 9 / steps**0.2, 10 / steps**0.2)
    for steps in (31, 62, 125, 250, 500, 1000, 2000)
]
PLAN = Plan("summarize", "gpt2", PREDICTION, 7200.0, 16 * 10**9, proposals=PROPOSALS, curve=CURVE)
TRIED = replace(PLAN, trials=[Trial(31, 4.6), Trial(62, 3.9), Trial(125, 3.4)])
SCRATCH = replace(PLAN, model="scratch")
NOTHING = replace(PLAN, proposals=[], fastest=PROPOSALS[0], least_memory=PROPOSALS[1])


def shown(plan: Plan, width: int) -> str:
    console = Console(file=StringIO(), width=width, highlight=False)
    show_plan(console, plan)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [40, 60, 80, 200])
@pytest.mark.parametrize("plan", [PLAN, TRIED])
def test_everything_is_shown_at_any_width(plan, width):
    text = shown(plan, width)
    words = " ".join(text.split())
    assert summary(PREDICTION) in words
    for part in ("1 h 00 min", "1 min 00 s", "500 MB", "1.00 GB", "3.00 GB", "355.0M", "its full",
                 "for 2 h 00 min and 16.0 GB"):  # fmt: skip
        assert part in words
    assert all(f"{key}=" in words for key in CHANGES)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width


def test_without_trials_the_loss_is_a_difference_from_the_recipe():
    text = " ".join(shown(SCRATCH, 200).split())
    assert "loss vs. recipe" in text
    assert "+2.100" in text
    assert "Hoffmann et al. (2022), not fitted to these rows" in text
    tried = " ".join(shown(TRIED, 200).split())
    assert "2.100" in tried
    assert "2.000-2.200" in tried


def test_a_pretrained_model_has_no_loss_without_trials(tmp_path):
    text = " ".join(shown(PLAN, 200).split())
    assert "loss vs." not in text
    assert "use --trials to forecast the loss" in text
    elsewhere = replace(PLAN, prediction=replace(PREDICTION, basis="estimated for a100"))
    assert "--trials" not in shown(elsewhere, 200), "trials run on this machine only"
    for name, plan in (("none", PLAN), ("scratch", SCRATCH), ("tried", TRIED)):
        write_html(plan, tmp_path / f"{name}.html")
        page = (tmp_path / f"{name}.html").read_text("utf-8")
        assert ("<svg" in page) == (name != "none")


def test_the_closest_variant_is_shown_if_nothing_fits():
    text = " ".join(shown(NOTHING, 200).split())
    assert "no variant fits this budget" in text
    assert "takes 1 h 57 min: model=gpt2-medium" in text
    light = " ".join(shown(replace(NOTHING, fastest=None), 200).split())
    assert (
        "the variant with the least memory takes 1.00 GB of memory and 1 h 01 min: no changes"
        in light
    )


def test_the_loss_that_trials_forecast_is_shown_without_a_budget(tmp_path):
    plan = replace(TRIED, budget=None, memory=None, proposals=[], loss=(3.1, 3.25, 3.4))
    line = "as written, forecast from the trials: 3.250 (90% interval 3.100-3.400)"
    assert line in " ".join(shown(plan, 200).split())
    write_html(plan, tmp_path / "plan.html")
    assert line in (tmp_path / "plan.html").read_text("utf-8")
    assert plan.as_dict()["loss"] == {"low": 3.1, "expected": 3.25, "high": 3.4}


def test_the_number_of_gpus_is_shown_if_one_is_too_slow(tmp_path):
    line = "recipe as written would fit the time budget on about 5 such GPUs (--num-processes 5)"
    slow = replace(PLAN, num_devices=5)
    assert line in " ".join(shown(slow, 200).split())
    assert "GPUs" not in shown(PLAN, 200)
    write_html(slow, tmp_path / "plan.html")
    assert line in (tmp_path / "plan.html").read_text("utf-8")


def test_changes_are_shown_as_overrides():
    assert format_changes(CHANGES) == (
        "model=gpt2-medium train.method=lora train.activation_checkpointing=true "
        "train.micro_batch_tokens=4096 train.epochs=1.5"
    )


def test_the_chart_shows_curve_interval_trials_and_marks():
    plain, tried = picture(PLAN), picture(TRIED)
    assert 'class="curve"' in plain
    assert ">recipe</text>" in plain
    assert "polygon" not in plain
    assert tried.count("<circle") == 3
    assert "polygon" in tried
    assert "90% interval" in tried


@pytest.mark.skipif(BROWSER is None, reason="needs Chromium")
def test_pages_never_scroll_sideways(tmp_path):
    pages = []
    for name, plan in (
        ("plain", PLAN),
        ("scratch", SCRATCH),
        ("tried", TRIED),
        ("nothing", NOTHING),
    ):
        pages.append(tmp_path / f"{name}.html")
        write_html(plan, pages[-1])
    assert overflowing_widths(*pages) == []
