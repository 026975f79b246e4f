"""The end of a run: the line with its costs."""

from llmkit.workflows.score_run import costs_line


def test_actual_and_predicted_costs_are_shown():
    costs = {
        "step_seconds": {"predicted": 61.0, "actual": 59.5},
        "peak_bytes": {"predicted": 2_000_000_000, "actual": 1_900_000_000},
    }
    line = costs_line(costs)
    assert line.index("optimizer steps (predicted ") < line.index(" of memory (predicted ")
    del costs["step_seconds"]  # of a run too short for a prediction
    assert costs_line(costs) == line.partition(", ")[2]
