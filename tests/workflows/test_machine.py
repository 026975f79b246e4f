"""The machine that costs are estimated for."""

from dataclasses import replace

import pytest

from llmkit.planning.devices import find_device
from llmkit.workflows.machine import machine_from_datasheet, this_machine
from llmkit.workflows.predict import predict


def test_the_rates_of_this_machine_are_those_of_the_timed_steps(planned):
    setup, found, step = planned
    found = replace(found, relative_seconds={"bf16": 0.25})
    machine = this_machine(setup, found, step, predict(setup, found, step), None)
    assert machine.precisions == ("no", "bf16")
    assert machine.rates.per_flop["bf16"] == pytest.approx(machine.rates.per_flop["no"] / 4)
    saved = found.checkpoint_bytes + found.model_bytes
    seconds = found.checkpoint_seconds + found.model_seconds
    assert machine.rates.per_saved_byte * saved == pytest.approx(seconds)


def test_all_of_a_memory_budget_may_be_used(planned):
    setup, found, _ = planned
    machine = machine_from_datasheet(find_device("a100"), setup, found, 10**9)
    assert machine.memory_budget + machine.base_bytes == 10**9
    assert machine_from_datasheet(find_device("a100"), setup, found, None).memory_budget < 40e9
