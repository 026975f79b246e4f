"""A plan as a JSON object."""

import json
from dataclasses import replace

from llmkit.planning.plan import CurvePoint, Plan
from llmkit.planning.predicted_costs import PredictedCosts
from llmkit.planning.proposals import Proposal
from llmkit.planning.scaling_law import Trial


def test_a_plan_converts_to_json():
    prediction = PredictedCosts(
        "measured here", {"steps": 1.0}, {"weights": 1}, {"model": 1}, 1, 1, 1
    )
    proposal = Proposal({"train.epochs": 2.0}, 5, 10, 2.0, 3.0, 7, (1.0, 2.0, 3.0))
    plan = Plan(
        "qa", "gpt2", prediction, 60.0, None, proposals=[proposal], trials=[Trial(4, 3.0)],
        curve=[CurvePoint(4, 1.0, 2.0, 3.0, 4.0)],
    )  # fmt: skip
    content = json.loads(json.dumps(plan.as_dict()))
    assert content["proposals"][0]["loss"] == {"low": 1.0, "expected": 2.0, "high": 3.0}
    without = replace(plan, trials=[]).as_dict()
    assert (without["proposals"][0]["loss"], without["curve"]) == (None, [])
    assert content["trials"] == [{"num_steps": 4, "loss": 3.0}]
    assert content["curve"][0]["num_steps"] == 4
    assert content["least_memory"] is None
