"""`--fail-under`: scores that a job must reach."""

import math
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from llmkit.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from llmkit.tasks import Task

FAILED = 1  # exit code


@dataclass(frozen=True)
class Limit:
    """The worst value of a score that passes."""

    score: str
    value: float

    def __str__(self) -> str:
        return f"{self.score}={self.value:g}"


def _parse(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> list[Limit]:
    limits = []
    for text in given:
        score, _, value = text.partition("=")
        try:
            limit = Limit(score, float(value))
        except ValueError:
            limit = Limit(score, math.nan)
        if not math.isfinite(limit.value):  # no score is under NaN
            raise click.BadParameter(f"{text!r}: give SCORE=N, such as rougeL=20")
        limits.append(limit)
    return limits


fail_under_option = click.option(
    "--fail-under",
    "limits",
    metavar="SCORE=N",
    multiple=True,
    callback=_parse,
    help="Exit with code 1 if the score on the test rows is below N, or above N for a score where "
    "lower is better, such as loss. Repeatable.",
)


def check_limits(limits: list[Limit], task: "Task") -> None:
    """Raise UserError, before any work, for a score that the task does not have."""
    for limit in limits:
        if limit.score not in task.score_names:
            hint = did_you_mean(limit.score, task.score_names)
            it_has = f"; it has {', '.join(task.score_names)}"
            raise UserError(
                f"--fail-under: {task.name} has no score {limit.score!r}{hint or it_has}"
            )


def fail_if_missed(limits: list[Limit], scores: dict[str, float], task: "Task") -> None:
    """Print which limits the scores miss, and exit with code 1 if there are any."""
    missed = [reason for limit in limits if (reason := _reason(limit, scores, task))]
    for reason in missed:
        click.echo(f"llmkit: --fail-under {reason}", err=True)
    if missed:
        sys.exit(FAILED)


def _reason(limit: Limit, scores: dict[str, float], task: "Task") -> str | None:
    """The reason why the scores miss a limit; None if they reach it."""
    score = scores.get(limit.score)
    if score is None:
        return f"{limit}: this score was not computed"
    if task.scores.get(limit.score, False):  # no task lists the loss among its scores
        return f"{limit}: it is {score:.4g}" if score < limit.value else None
    return f"{limit}: it is {score:.4g}, and lower is better" if score > limit.value else None
