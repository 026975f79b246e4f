"""The rows of each optimizer step and process."""

import random
from functools import partial
from itertools import chain

import pytest
from gradient_cases import random_rows, schedule_of
from runs import four_steps

from llmkit.data.batches import UNLIMITED, MicroBatchLimit
from llmkit.data.encoded_rows import EncodedRows
from llmkit.data.mixed_rows import MixedRows
from llmkit.training.batch_schedule import BatchSchedule

ONE_ROW, FOUR_ROWS = MicroBatchLimit(rows=1), MicroBatchLimit(rows=4)


@pytest.fixture
def recipe(tiny_gpt2, tmp_path):
    return partial(four_steps, tiny_gpt2, tmp_path)


def test_short_last_step_of_an_epoch_counts_its_own_tokens(recipe):
    schedule = schedule_of(random_rows(random.Random(0), 11), recipe())
    assert schedule.steps_per_epoch == 2
    assert sorted(schedule.step_indices(0) + schedule.step_indices(1)) == list(range(11))
    assert len(schedule.step_indices(1)) == 3
    assert schedule.num_supervised(1) == sum(
        schedule.rows.supervised[i] for i in schedule.step_indices(1)
    )


@pytest.mark.parametrize("num_processes", [1, 2, 3])
def test_each_epoch_trains_on_every_row_once_in_some_process(recipe, num_processes):
    settings = recipe("train.global_batch_size=4")
    rows = EncodedRows(random_rows(random.Random(0), 11))
    schedules = [
        BatchSchedule(
            rows, settings.train, seed=5, capacity=None, limit=MicroBatchLimit(rows=2), rank=rank,
            num_processes=num_processes,
        )
        for rank in range(num_processes)
    ]  # fmt: skip
    for epoch in range(2):
        trained = [
            row
            for step in range(3 * epoch, 3 * epoch + 3)
            for schedule in schedules
            for batch in schedule.micro_batch_indices(step)[schedule.rank]
            for row in batch
        ]
        assert sorted(trained) == list(range(11))
    first, second = (schedules[0].step_indices(step) for step in (0, 3))
    assert first != second, "each epoch has its own order"


def test_the_rows_of_a_mixed_step_do_not_depend_on_the_number_of_processes(recipe):
    rng, train = random.Random(0), recipe("train.global_batch_size=8").train
    sets = {name: EncodedRows(random_rows(rng, size)) for name, size in (("train", 30), ("a", 7))}
    rows = MixedRows(sets, {"train": 0.4, "a": 0.6})

    def steps(num_processes):
        schedule = BatchSchedule(
            rows, train, seed=5, capacity=None, limit=ONE_ROW, num_processes=num_processes
        )
        return [
            [list(chain(*batches)) for batches in schedule.micro_batch_indices(step)]
            for step in range(2 * schedule.steps_per_epoch)
        ]

    alone = [sorted(chain(*by_process)) for by_process in steps(1)]
    assert sum(map(len, alone)) == 2 * len(rows)
    for num_processes in (2, 4):
        by_step = steps(num_processes)
        assert [sorted(chain(*by_process)) for by_process in by_step] == alone
        assert all(len(by_process) == num_processes for by_process in by_step)


@pytest.mark.parametrize(
    ("limit", "largest"),
    [
        (MicroBatchLimit(rows=3), 3),
        (MicroBatchLimit(rows=30), 8),  # at most the batch of a step
        (MicroBatchLimit(tokens=1), 1),
        (MicroBatchLimit(tokens=10**6), 8),
        (MicroBatchLimit(rows=2, tokens=10**6), 2),
    ],
)
def test_micro_batches_are_as_large_as_their_limit_allows(recipe, limit, largest):
    rows = EncodedRows(random_rows(random.Random(0), 24))
    schedule = BatchSchedule(rows, recipe().train, seed=0, capacity=None, limit=limit)
    assert max(map(len, schedule.micro_batch_indices(0)[0])) == largest


@pytest.mark.parametrize("limit", [MicroBatchLimit(rows=100), MicroBatchLimit(tokens=10**6)])
def test_a_step_can_be_split_until_each_row_is_alone(recipe, limit):
    rows = EncodedRows(random_rows(random.Random(0), 24))
    schedule = BatchSchedule(rows, recipe().train, seed=0, capacity=None, limit=limit)
    counts = [1]
    while schedule.split_further(step=0):
        counts.append(len(schedule.micro_batch_indices(0)[0]))
    assert counts == sorted(set(counts)), "each time there are more"
    assert counts[-1] == 8


def test_number_of_steps_follows_from_epochs_or_is_given(recipe):
    rows = EncodedRows(random_rows(random.Random(0), 24))

    def num_steps(*overrides):
        train = recipe("train.global_batch_size=5", *overrides).train
        return BatchSchedule(rows, train, seed=0, capacity=None, limit=ONE_ROW).num_steps

    assert num_steps("train.max_steps=7") == 7
    assert num_steps("train.max_steps=null", "train.epochs=2") == 2 * 5
    assert num_steps("train.max_steps=null", "train.epochs=0.01") == 1


def test_sequences_without_limit_have_no_padding(recipe):
    rows = EncodedRows(random_rows(random.Random(0), 24))
    train = recipe().train

    def padding(capacity):
        schedule = BatchSchedule(rows, train, seed=0, capacity=capacity, limit=FOUR_ROWS)
        return schedule.padding_share()

    assert padding(UNLIMITED) == 0 < padding(128) < padding(None) < 1


def test_a_layout_that_failed_a_step_ahead_is_tried_again(recipe, monkeypatch):
    rows = EncodedRows(random_rows(random.Random(0), 24))
    schedule = BatchSchedule(rows, recipe().train, seed=0, capacity=None, limit=ONE_ROW)
    lay_out, failures = schedule._lay_out, [MemoryError()]

    def fail_once(step):
        if step == 1 and failures:
            raise failures.pop()
        return lay_out(step)

    monkeypatch.setattr(schedule, "_lay_out", fail_once)
    schedule.micro_batches(0)
    with pytest.raises(MemoryError):
        schedule.micro_batches(1)
    assert len(schedule.micro_batches(1)) == 8
