"""Logging during training: metrics.jsonl, samples.jsonl and the printed progress."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from llmkit.io.atomic import write_text
from llmkit.io.safe_json import to_json
from llmkit.runs.folder import log_path, samples_path
from llmkit.tasks import Scores
from llmkit.training.pace import Pace
from llmkit.training.samples import Sample, show_samples
from llmkit.units import show_seconds


class RunLog:
    """Writes metrics.jsonl and samples.jsonl, and prints their content; does nothing in processes
    other than the first.

    A terminal shows a progress bar; elsewhere, each logged step is printed as a line.
    """

    def __init__(
        self,
        run: Path | None,
        num_steps: int,
        every: int,
        console: Console,
        track: Callable[[dict[str, float], int], None],
    ) -> None:
        """
        Args:
            run: Folder of the run; None in processes other than the first.
            every: Number of steps between log lines.
            track: Sends the figures of a step to the recipe's trackers.
        """
        self.run = run
        self.track = track
        self.num_steps = num_steps
        self.every = every
        self.console = console
        self.started = time.perf_counter()
        self.first = 0  # steps done before this process started
        self.progress = Progress(
            TextColumn("training"),
            BarColumn(bar_width=None),
            TextColumn("{task.completed}/{task.total}"),
            TextColumn("{task.fields[status]}"),
            TimeRemainingColumn(),
            console=console,
            disable=run is None or not console.is_interactive,
            transient=True,
        )
        self.bar = self.progress.add_task("training", total=num_steps, status="")

    def __enter__(self) -> "RunLog":
        self.progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.progress.stop()

    def resume_from(self, step: int, validation_pending: bool) -> None:
        """Delete the lines after this step, or after its validation, which will be repeated."""
        self.first = step
        self.progress.update(self.bar, completed=step)
        if self.run is None:
            return
        log_path(self.run).touch()
        for path in filter(Path.is_file, (log_path(self.run), samples_path(self.run))):
            _keep_lines(path, step, validation_pending)

    def step(
        self,
        step: int,
        *,
        loss: float,
        learning_rate: float,
        grad_norm: float,
        tokens_per_second: float,
        tokens_seen: int,
    ) -> None:
        """Log a step that changed the weights: the first, the last and every n-th.

        tokens_seen: Number of tokens of all steps so far, without padding.
        """
        if self.run is None:
            return
        status = f"loss {loss:.3f}  {tokens_per_second:,.0f} tokens/s"
        self.progress.update(self.bar, completed=step, status=status)
        if step % self.every and step not in (1, self.num_steps):
            return
        figures = {
            "loss": loss,
            "learning_rate": learning_rate,
            "grad_norm": grad_norm,
            "tokens_per_second": round(tokens_per_second, 1),
            "tokens_seen": tokens_seen,
        }
        self._write(step=step, **figures)
        self.track(figures, step)
        if not self.console.is_interactive:
            seconds = time.perf_counter() - self.started
            left = seconds / (step - self.first) * (self.num_steps - step)
            self.console.print(
                f"step {step}/{self.num_steps}  {status}  lr {learning_rate:.2e}  "
                f"{show_seconds(left)} left"
            )

    def predicted_pace(self, pace: Pace) -> None:
        """Print the predicted time of the optimizer steps. It is not logged, because a resumed run
        predicts it again."""
        if self.run is None:
            return
        self.console.print(
            f"time    about {show_seconds(pace.predicted)} of optimizer steps, predicted from the "
            f"first {pace.num_steps}"
        )

    def note(self, step: int, text: str) -> None:
        """Log a note about a step."""
        if self.run is None:
            return
        self._write(step=step, note=text)
        self.console.print(text)

    def skipped_step(self, step: int, reason: str) -> None:
        """Log a step that did not change the weights, and why."""
        if self.run is None:
            return
        self._write(step=step, skipped=reason)
        self.console.print(f"skipped: {reason}")

    def validation(
        self, step: int, scores: Scores, is_best: bool, samples: list[Sample] | None = None
    ) -> None:
        """Log the scores of the validation rows after a step, and predictions for some of them."""
        if self.run is None:
            return
        for sample in samples or []:
            self._append(samples_path(self.run), {"step": step, **sample.as_dict()})
        self._write(step=step, split="validation", is_best=is_best, **scores)
        self.track({f"validation/{name}": value for name, value in scores.items()}, step)
        shown = "  ".join(f"{name} {value:.4g}" for name, value in scores.items())
        mark = "  (best so far)" if is_best else ""
        self.console.print(f"step {step}/{self.num_steps}  validation: {shown}{mark}")
        show_samples(self.console, samples or [])

    def _write(self, **line: Any) -> None:
        self._append(log_path(self.run), line)

    @staticmethod
    def _append(path: Path, line: dict[str, Any]) -> None:
        with path.open("a", encoding="utf-8") as file:
            file.write(to_json(line) + "\n")


def _keep_lines(path: Path, step: int, validation_pending: bool) -> None:
    """Drop the lines that do not belong to the first `step` steps."""
    kept = []
    for line in path.read_text("utf-8", errors="replace").splitlines(keepends=True):
        try:
            belongs = _belongs(json.loads(line), step, validation_pending)
        except (ValueError, TypeError, LookupError, RecursionError):
            break  # cut short: so is all that follows
        if belongs:
            kept.append(line)
    write_text(path, "".join(kept))


def _belongs(line: dict[str, Any], step: int, validation_pending: bool) -> bool:
    """Whether a line was written up to the end of that step and, unless that is still pending, of
    its validation."""
    is_of_validation = line.get("split") == "validation" or "prediction" in line
    is_due_again = validation_pending and is_of_validation
    return line["step"] < step + (not is_due_again)
