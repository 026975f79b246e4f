"""The machine that the costs of a recipe are estimated for."""

from dataclasses import dataclass

from llmkit.model.loss import unwrap_model
from llmkit.planning.devices import EFFICIENCY, SECONDS_PER_BLOCK, Device
from llmkit.planning.flops import training_flops
from llmkit.planning.predicted_costs import (
    FINAL_SCORES,
    PREPARATION,
    STATISTICS,
    VALIDATIONS,
    PredictedCosts,
)
from llmkit.planning.proposals import Rates
from llmkit.runtime.memory import available_bytes
from llmkit.training.memory import MEMORY_FRACTION
from llmkit.workflows.measure import Measurements
from llmkit.workflows.predict import LIBRARIES
from llmkit.workflows.probes import MeanStep
from llmkit.workflows.training_setup import TrainingSetup

CUDA_BYTES = 0.6e9  # memory of the CUDA context and its libraries
DISK_RATE = 5e8  # assumed bytes per second of checkpoints on another machine


@dataclass(frozen=True)
class Machine:
    """The machine that costs are estimated for."""

    device_type: str
    """Device type: cpu or cuda."""
    precisions: tuple[str, ...]
    """Supported precisions, the one that the recipe uses there first."""
    rates: Rates
    memory_budget: float
    """Bytes available to the training, without the libraries."""
    base_bytes: int
    """Memory of the libraries in bytes."""
    sheet: Device | None
    """Data sheet; None: this machine, at its measured speed."""
    scoring: tuple[float, float] = (0.0, 0.0)
    """Measured seconds of one validation and of the final scores of the recipe's model."""


def this_machine(
    setup: TrainingSetup,
    measured: Measurements,
    step: MeanStep,
    prediction: PredictedCosts,
    memory: int | None,
) -> Machine:
    """This machine, at the speed of the timed steps."""
    kind = setup.accelerator.device.type
    precision = setup.accelerator.mixed_precision
    flops = training_flops(setup.model, checkpointing=setup.memory.activation_checkpointing)
    flop = flops.total(step.workload)
    seconds = measured.steps.seconds(step.micro_batches, flop)
    base = prediction.memory.get(LIBRARIES, int(CUDA_BYTES))
    weights = setup.memory.usage.weights
    free = weights + MEMORY_FRACTION.get(kind, MEMORY_FRACTION["cpu"]) * available_bytes(
        setup.accelerator.device
    )
    saved = measured.checkpoint_bytes + measured.model_bytes
    relative = {precision: 1.0, **measured.relative_seconds}
    rates = Rates(
        per_flop={name: factor * seconds / flop for name, factor in relative.items()},
        per_step=0.0,
        per_micro_batch=0.0,
        per_saved_byte=(measured.checkpoint_seconds + measured.model_seconds) / saved,
        fixed=prediction.seconds[PREPARATION]
        + measured.steps.warm_up
        + prediction.seconds[STATISTICS],
    )
    memory_budget = free if memory is None else memory - base
    validation = prediction.seconds[VALIDATIONS] / prediction.num_validations
    scoring = validation, prediction.seconds[FINAL_SCORES]
    return Machine(kind, (*relative,), rates, memory_budget, base, None, scoring)


def machine_from_datasheet(
    device: Device, setup: TrainingSetup, measured: Measurements, memory: int | None
) -> Machine:
    """A device, at the assumed fraction of the peak rates in its data sheet."""
    requested = setup.recipe.train.mixed_precision
    precision = requested if requested in device.rates else device.precision
    others = (name for name in device.rates if name not in (precision, "no"))
    precisions = (precision, *others)
    blocks = unwrap_model(setup.model).config.num_hidden_layers
    rates = Rates(
        per_flop={name: 1 / (EFFICIENCY * 1e12 * rate) for name, rate in device.rates.items()},
        per_step=blocks * SECONDS_PER_BLOCK,
        per_micro_batch=3 * blocks * SECONDS_PER_BLOCK,
        per_saved_byte=1 / DISK_RATE,
        fixed=measured.setup_seconds,
    )
    limit = MEMORY_FRACTION["cuda"] * device.num_bytes if memory is None else memory
    memory_budget = limit - CUDA_BYTES
    return Machine("cuda", precisions, rates, memory_budget, int(CUDA_BYTES), device)
