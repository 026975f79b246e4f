"""What a person sees before and after training."""

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text
from torch import nn

from llmkit.account import Account
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
) -> None:
    """Data, model and batch arithmetic, before the first step, and what in it is odd."""
    num_all, num_trainable = count_parameters(model)
    counts = ", ".join(f"{count:,} {fate}" for fate, count in account.fates.most_common())
    num_tokens, num_supervised = sum(order.lengths), sum(order.supervised)
    console.print(
        f"model   {recipe.model}: {num_all:,} parameters, {num_trainable:,} trained "
        f"({recipe.train.method})"
    )
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
    shown = Table(title=f"{len(test.rows)} test rows", title_justify="left", box=box.SIMPLE)
    shown.add_column("")
    for name in names:
        shown.add_column(name, justify="right", no_wrap=True)
    for label, scores in table.items():
        shown.add_row(label, *(_format(scores.get(name)) for name in names))
    console.print()
    unbounded = console.options.update(max_width=1000)
    if console.measure(shown, options=unbounded).maximum <= console.width:
        console.print(shown)
    else:  # rich would cut the numbers to the terminal's width
        console.print(f"{len(test.rows)} test rows")
        for label, scores in table.items():
            console.print(label)
            for name in names:
                if name in scores:
                    console.print(f"  {name} {_format(scores[name])}")
    if test.task.signature:
        console.print(Text(test.task.signature(), style="dim"))


def _format(score: float | None) -> str:
    if score is None:
        return ""
    return f"{score:.2f}" if abs(score) < 1000 else f"{score:.3g}"
