"""The training loop: step, validate, save, stop."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from accelerate import Accelerator

from llmkit.errors import UserError
from llmkit.runtime.signals import Signals, Stopped
from llmkit.tasks import Scores
from llmkit.training.log import RunLog
from llmkit.training.samples import Sample
from llmkit.training.saver import RunSaver
from llmkit.training.state import TrainingProgress
from llmkit.training.trainer import Trainer


@dataclass(frozen=True)
class Validation:
    """How the weights are scored during training."""

    score: Callable[[], tuple[Scores, list[Sample]]]
    """Scores the current weights on the validation rows; samples are for the log."""
    metric: str
    """The score that selects the best weights."""
    higher_is_better: bool
    every: int
    """Optimizer steps between validations; the last step is validated as well."""
    patience: int | None
    """Number of validations without improvement after which training stops; None: never."""

    def is_due(self, step: int, num_steps: int) -> bool:
        """Whether the weights are scored after this step."""
        return step == num_steps or step % self.every == 0


def train(
    trainer: Trainer, validation: Validation, saver: RunSaver, log: RunLog, signals: Signals
) -> None:
    """Train from the trainer's progress to the end, in place.

    Stop requests take effect between steps: a checkpoint is written, then Stopped is raised.
    """
    progress, num_steps = trainer.progress, trainer.schedule.num_steps
    with signals.deferred():
        if progress.validation_pending:  # resumed between a step and its validation
            validate(trainer, validation, saver, log, signals)
        while not is_over(trainer, validation):
            trainer.train_step(log)
            if progress.step == num_steps:
                require_updates(progress)
            progress.validation_pending = validation.is_due(progress.step, num_steps)
            if saver.is_due(progress.step):  # first, as a validation takes long and may fail
                saver.save_checkpoint(trainer)
            if progress.validation_pending:
                validate(trainer, validation, saver, log, signals)
            stop_signal, save_requested = sync_stop_requests(trainer.accelerator, signals, saver)
            if stop_signal or save_requested:
                signals.wants_save = False
                saver.save_checkpoint(trainer)
            if stop_signal:
                raise Stopped(stop_signal)
    signals.raise_if_stopped()  # requested at the last moment
    require_updates(progress)
    if not progress.best_step:
        raise UserError(
            f"no validation gave a finite {validation.metric}, so there is no model; start again "
            "with a lower train.learning_rate, or train.mixed_precision=no"
        )


def validate(
    trainer: Trainer, validation: Validation, saver: RunSaver, log: RunLog, signals: Signals
) -> None:
    """Score the weights; if they are the best so far, save them as the run's model.

    A stop request leaves the validation to the resumed run. A single process stops at any moment;
    several stop together, when they gather their results.
    """
    progress, accelerator = trainer.progress, trainer.accelerator
    stop_signal, _ = sync_stop_requests(accelerator, signals, saver)
    try:
        if stop_signal:
            raise Stopped(stop_signal)
        with signals.at_once() if accelerator.num_processes == 1 else nullcontext():
            scores, samples = validation.score()
    except Stopped:
        saver.save_checkpoint(trainer)
        raise
    is_best = progress.update_best(scores, validation.metric, validation.higher_is_better)
    progress.validation_pending = False
    log.validation(progress.step, scores, is_best, samples)
    if is_best:
        saver.save_best_model(trainer)
    # A checkpoint of the best weights can restore the model.
    if saver.follows_validations or is_best or is_over(trainer, validation):
        saver.save_checkpoint(trainer)


def is_over(trainer: Trainer, validation: Validation) -> bool:
    """Whether all steps are done, or the scores have not improved for too long."""
    progress, patience = trainer.progress, validation.patience
    gave_up = patience is not None and progress.validations_without_improvement >= patience
    return progress.step >= trainer.schedule.num_steps or gave_up


def require_updates(progress: TrainingProgress) -> None:
    """Raise FloatingPointError if no step so far has changed a weight."""
    if not progress.num_updates:
        raise FloatingPointError(
            f"none of {progress.step} steps changed a weight, since no gradient was finite: set "
            "train.mixed_precision=bf16 or no, or lower train.learning_rate"
        )


def sync_stop_requests(
    accelerator: Accelerator, signals: Signals, saver: RunSaver
) -> tuple[int, bool]:
    """The signal that asked any process to stop (0: none), and whether any process was asked, by a
    signal or by the clock, to save a checkpoint."""
    requests = [signals.stop or 0, int(signals.wants_save or saver.is_overdue())]
    if accelerator.num_processes > 1:  # each may have been asked, or one alone
        mine = torch.tensor([requests], device=accelerator.device)
        requests = accelerator.gather(mine).amax(0).tolist()
    return requests[0], bool(requests[1])
