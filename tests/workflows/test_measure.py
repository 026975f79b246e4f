"""Timing the parts of a run, which leaves no files."""

from dataclasses import replace

import pytest

from llmkit.training.trainer import Trainer
from llmkit.workflows import measure
from llmkit.workflows.measure import first_rows, rows_at_once, size_of


def test_each_part_of_a_run_is_timed(planned):
    setup, found, _ = planned
    assert found.steps.num_timed >= 1
    assert found.steps.seconds(1, 1e9) > 0
    for seconds in (
        found.setup_seconds, found.build_seconds, found.open_seconds, found.checkpoint_seconds,
        found.model_seconds, found.statistics.seconds(4),
    ):  # fmt: skip
        assert seconds > 0
    for costs in (found.untuned, found.tuned):
        assert [setup.rows.scored[name].task.name for name in costs] == ["summarize"]
        assert all(each.seconds(4) > 0 for each in costs.values())


def test_saved_bytes_are_those_of_weights_and_optimizer(planned):
    setup, found, _ = planned
    weights = sum(weight.nbytes for weight in setup.model.parameters())
    assert 1 <= found.checkpoint_bytes / (3 * weights) < 1.2
    assert 1 <= found.model_bytes / weights < 2  # with its tokenizer


def test_the_first_rows_of_a_set_are_scored_like_all(planned):
    setup, *_ = planned
    rows = setup.rows.validation
    first = first_rows(setup, rows, 2)
    assert size_of(first) == 2 < size_of(rows) == 4
    assert first.prompts == rows.prompts[:2]
    assert first.references == rows.references[:2]
    assert first_rows(setup, rows, 4) is rows
    assert rows_at_once(setup, rows) >= setup.recipe.evaluation.batch_size


def test_saves_of_large_models_are_extrapolated_from_a_small_one(planned, tmp_path, monkeypatch):
    """Large checkpoints are not written: their size is known."""
    setup, found, _ = planned
    monkeypatch.setattr(measure, "MAX_SAVED_BYTES", 0)
    monkeypatch.setattr(measure, "SMALL_SAVE_WIDTH", 100)
    trainer = Trainer.build(setup.model, setup.schedule, setup.recipe.train, setup.accelerator)
    extrapolated = measure.Measurements(0.0)
    measure.time_saves(setup, trainer, tmp_path, extrapolated)
    assert extrapolated.checkpoint_bytes == pytest.approx(found.checkpoint_bytes, rel=0.2)
    assert extrapolated.checkpoint_bytes == pytest.approx(3 * extrapolated.model_bytes, rel=0.01)
    ratio = extrapolated.checkpoint_bytes / extrapolated.model_bytes
    assert extrapolated.checkpoint_seconds == pytest.approx(ratio * extrapolated.model_seconds)
    assert extrapolated.load_seconds > 0


@pytest.mark.parametrize(("changes", "number"), [({}, 128), ({"num_beams": 2}, 32)])
def test_as_many_rows_are_generated_at_once_as_in_an_evaluation(planned, changes, number):
    setup, *_ = planned
    generation = setup.recipe.generation.model_copy(update=changes)
    changed = replace(setup, recipe=setup.recipe.model_copy(update={"generation": generation}))
    assert rows_at_once(changed, setup.rows.validation) == number
