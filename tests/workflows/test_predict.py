"""Predicting the costs of a run from measurements."""

from dataclasses import replace

import pytest
from texts import write_shards

from llmkit.data.mixed_rows import MixedRows
from llmkit.data.prepared_text import PreparedSource
from llmkit.data.token_blocks import TokenBlocks
from llmkit.training.memory import MemoryUsage
from llmkit.workflows.measure import cached_bytes
from llmkit.workflows.predict import (
    cached_row_bytes,
    encoded_bytes,
    predict,
    predicted_memory,
)
from llmkit.workflows.probes import RowCosts, StepCosts


def test_seconds_add_up_over_steps_validations_and_checkpoints(planned):
    setup, found, step = planned
    (name,) = found.tuned
    known = replace(
        found, setup_seconds=1.0, build_seconds=0.5, open_seconds=0.25, load_seconds=0.25,
        steps=StepCosts(2.0, 0.0, 0.0, 5.0, 4, step.largest),
        untuned={name: RowCosts({4: 12.0}, 100, first=0.5)},
        tuned={name: RowCosts({4: 9.0}, 100)},
        statistics=RowCosts({4: 4.0}, 100), checkpoint_seconds=0.1, model_seconds=0.2,
    )  # fmt: skip
    prediction = predict(setup, known, step)
    assert (prediction.num_steps, prediction.num_validations) == (4, 2)
    assert prediction.seconds == pytest.approx({
        "preparation": 1.5,
        "optimizer steps": 5.0 + 4 * 2.0,
        "validations": 0.5 + 2 * 9.0,
        "checkpoints": 2 * (0.1 + 0.2),
        "final scores": 9.0 + 12.0 + 2 * 0.25,
        "statistics": 4.0,
    })  # fmt: skip


def test_micro_batches_larger_than_those_timed_raise_the_peak(planned):
    setup, found, step = planned
    usage: MemoryUsage = setup.memory.usage
    all_rows = {name: replace(costs, timed={4: 1.0}) for name, costs in found.tuned.items()}
    known = replace(found, tuned=all_rows)
    timed = replace(known, steps=replace(found.steps, largest_timed=step.largest))
    smaller = replace(known, steps=replace(found.steps, largest_timed=step.largest // 2))
    peak = sum(predicted_memory(setup, timed, step).values())
    more = sum(predicted_memory(setup, smaller, step).values()) - peak
    assert peak == found.peak_bytes
    assert more == usage.activations(step.largest) - usage.activations(step.largest // 2) > 0


def test_rows_that_were_not_timed_add_their_key_value_cache(planned):
    setup, found, step = planned
    peaks = {}
    for number in (1, 4):
        tuned = {name: replace(costs, timed={number: 1.0}) for name, costs in found.tuned.items()}
        parts = predicted_memory(setup, replace(found, tuned=tuned), step)
        peaks[number] = sum(parts.values())
    assert peaks[1] - peaks[4] == 3 * max(
        cached_bytes(setup, rows) for rows in setup.rows.scored.values()
    )


def test_prepared_text_takes_two_bytes_per_token_in_the_cache_or_none(planned, tmp_path):
    blocks = TokenBlocks(write_shards(tmp_path, [[("a:1", [5, 6, 7]), ("a:2", [8])]]), 4)
    rows = planned[0].schedule.rows
    num_tokens, block_tokens = int(rows.lengths.sum()), int(blocks.lengths.sum())
    mixed = MixedRows({"train": rows, "notes": blocks}, {"train": 0.5, "notes": 0.5})
    prepared = PreparedSource(blocks.prepared)
    assert cached_row_bytes(planned[0]) == 8 * num_tokens
    assert encoded_bytes(blocks, {"train": None}) == 2 * block_tokens
    assert encoded_bytes(blocks, {"train": prepared}) == 0
    assert encoded_bytes(mixed, {"train": None, "notes": None}) == 8 * num_tokens + 2 * block_tokens
    assert encoded_bytes(mixed, {"train": None, "notes": prepared}) == 8 * num_tokens


def test_a_note_says_that_early_stopping_may_end_the_run_sooner(planned):
    setup, found, step = planned
    evaluation = setup.recipe.evaluation.model_copy(update={"early_stopping_patience": 2})
    stopped = replace(setup, recipe=setup.recipe.model_copy(update={"evaluation": evaluation}))
    assert predict(setup, found, step).notes == []
    (note,) = predict(stopped, found, step).notes
    assert "its full length" in note
