"""The training loop: steps, validations, checkpoints, and requests to stop."""

import math
import time
from collections.abc import Callable
from contextlib import nullcontext

import torch

from llmkit.errors import UserError
from llmkit.runtime.signals import Signals, Stopped
from llmkit.tasks import Scores
from llmkit.training.log import RunLog
from llmkit.training.progress import Progress
from llmkit.training.step import Learner, take_step


def train(
    learner: Learner,
    progress: Progress,
    log: RunLog,
    signals: Signals,
    metric: tuple[str, bool],
    validate: Callable[[], Scores],
    keep: Callable[[], None],
    save: Callable[[], None],
) -> None:
    """Train the model in place, from where `progress` says that it stands.

    validate scores the model as it stands; keep writes it down, called whenever its `metric` (name,
    higher is better) is the best so far; save writes a checkpoint. A request to stop waits for the
    end of a step or of a save, and raises Stopped behind a checkpoint.
    """
    order, recipe = learner.order, learner.recipe
    evaluate_every = recipe.evaluation.every or order.steps_per_epoch
    save_every, seconds = recipe.checkpoint.every, 60 * (recipe.checkpoint.minutes or math.inf)
    saved_at = time.monotonic()
    patience = recipe.evaluation.early_stopping_patience

    def is_over() -> bool:
        gave_up = patience is not None and progress.validations_without_improvement >= patience
        return progress.step >= order.num_steps or gave_up

    def save_now() -> None:
        nonlocal saved_at
        save()
        saved_at = time.monotonic()

    # Of several processes none may leave while the others wait for it in an exchange.
    is_alone = learner.accelerator.num_processes == 1
    with signals.deferred():
        while True:
            signals.wants_save |= time.monotonic() - saved_at > seconds
            stops, wants_save = sync_stop_requests(learner, signals)
            if stops or wants_save:
                save_now()
            if stops:
                raise Stopped(stops)
            if is_over() and not progress.num_updates:
                raise FloatingPointError(
                    f"none of {progress.step} steps changed a weight, since no gradient was "
                    "finite: set train.mixed_precision=bf16 or no, or lower train.learning_rate"
                )
            if not progress.is_validated:
                try:
                    with signals.at_once() if is_alone else nullcontext():
                        scores = validate()
                except Stopped:
                    save_now()
                    raise
                is_best = progress.update_best(scores, *metric)
                progress.is_validated = True
                log.validation(progress.step, scores, is_best)
                if is_best:
                    keep()
                # The best weights can be made again out of their checkpoint.
                if save_every is None or is_best or is_over():
                    save_now()
            elif is_over():
                break
            else:
                take_step(learner, progress, log)
                is_last = progress.step == order.num_steps
                progress.is_validated = not is_last and progress.step % evaluate_every != 0
                if save_every and progress.step % save_every == 0:
                    save_now()
    signals.raise_if_stopped()  # asked in the last moment
    if not progress.best_step:
        raise UserError(
            f"no validation gave a finite {metric[0]}, so there is no model; start again with a "
            "lower train.learning_rate, or train.mixed_precision=no"
        )


def sync_stop_requests(learner: Learner, signals: Signals) -> tuple[int, bool]:
    """The signal that asked any process to stop (0: none), and whether one was asked to save."""
    wants_save, signals.wants_save = signals.wants_save, False
    requests = [signals.stop or 0, int(wants_save)]
    accelerator = learner.accelerator
    if accelerator.num_processes > 1:  # each may have heard of it, or one alone
        mine = torch.tensor([requests], device=accelerator.device)
        requests = accelerator.gather(mine).amax(0).tolist()
    return requests[0], bool(requests[1])
