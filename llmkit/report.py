"""What a person sees before and after training."""

from accelerate import Accelerator
from rich.console import Console
from rich.text import Text
from torch import nn

from llmkit.account import Account
from llmkit.console import show_table
from llmkit.evaluation import EvaluationSet
from llmkit.findings import Finding
from llmkit.model import count_parameters
from llmkit.schema import Recipe
from llmkit.tasks import Scores
from llmkit.train import StepOrder

NUM_EXAMPLES = 3


def show_start(
    console: Console,
    recipe: Recipe,
    model: nn.Module,
    order: StepOrder,
    account: Account,
    was_cached: bool,
    accelerator: Accelerator,
) -> None:
    """Data, model and batch arithmetic, before the first step, and what in it is odd."""
    num_all, num_trainable = count_parameters(model)
    counts = ", ".join(f"{count:,} {fate}" for fate, count in account.fates.most_common())
    num_tokens, num_supervised = sum(order.lengths), sum(order.supervised)
    console.print(
        f"model   {recipe.model}: {num_all:,} parameters, {num_trainable:,} trained "
        f"({recipe.train.method})"
    )
    arithmetic = {"no": "float32"}.get(accelerator.mixed_precision, accelerator.mixed_precision)
    console.print(f"engine  {recipe.train.engine}, {arithmetic} on {accelerator.device}")
    origin = "  (encoded before: from the cache)" if was_cached else ""
    console.print(f"rows    {account.num_rows:,} read: {counts}{origin}")
    console.print(
        f"tokens  {num_tokens:,} in {len(order.lengths):,} encoded rows, "
        f"{num_supervised:,} ({num_supervised / num_tokens:.0%}) supervised"
    )
    console.print(
        f"steps   {order.num_steps} of {order.global_batch_size} rows = "
        f"{order.micro_batch_size} a micro-batch x {order.gradient_accumulation_steps} accumulated "
        f"x {order.num_processes} process{'es' if order.num_processes > 1 else ''}"
    )
    show_warm_up(console, recipe, order)


def show_warm_up(console: Console, recipe: Recipe, order: StepOrder) -> None:
    """Say so where the warm-up is longer than the run."""
    if recipe.train.warmup_steps > order.num_steps:
        console.print(
            f"warning: train.warmup_steps={recipe.train.warmup_steps} outlasts the run's "
            f"{order.num_steps} steps; the learning rate never reaches its peak: "
            "lower it or train longer"
        )


def show_findings(console: Console, findings: list[Finding]) -> None:
    """A line each."""
    styles = {"error": "bold red", "warning": "yellow", "note": "dim"}
    for finding in findings:
        console.print(Text(str(finding), style=styles[finding.severity]))


def show_results(
    console: Console, test: EvaluationSet, table: dict[str, Scores], predictions: list[str]
) -> None:
    """Scores beside the baselines, and a few predictions in full."""
    show_scores(console, test, table)
    for example, prediction in list(zip(test.examples, predictions, strict=False))[:NUM_EXAMPLES]:
        console.print()
        console.print(Text(example.prompt_text, style="dim"))
        console.print(Text(f"prediction: {prediction}", style="bold"))
        console.print(Text(f"reference:  {' | '.join(example.references)}"))


def show_scores(console: Console, test: EvaluationSet, table: dict[str, Scores]) -> None:
    """A row a model or baseline, a column a score; what was not measured stays empty."""
    names = list(dict.fromkeys([*test.task.metrics, "loss"]))
    lines = [
        [label, *(_format(scores.get(name)) for name in names)] for label, scores in table.items()
    ]
    console.print(f"\n{len(test.rows)} test rows")
    show_table(console, ["", *names], [lines])
    if test.task.signature:
        console.print(Text(test.task.signature(), style="dim"))


def _format(score: float | None) -> str:
    if score is None:
        return ""
    return f"{score:.2f}" if abs(score) < 1000 else f"{score:.3g}"
