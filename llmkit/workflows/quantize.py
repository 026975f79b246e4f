"""The `quantize` command: a run's model with int8 weights, scored and timed next to it."""

from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console

from llmkit.errors import count_of
from llmkit.io.atomic import check_replaceable, write_folder, write_text
from llmkit.model.int8 import is_int8, save_int8
from llmkit.model.load import check_finite_weights, load_model
from llmkit.paths import check_writable
from llmkit.reports.compression import NOTE, ModelFigures, models_table, show_models
from llmkit.reports.model_card import card_of_form
from llmkit.runs.find import find_finished_run, recipe_of
from llmkit.runs.folder import card_path, int8_dir, model_dir
from llmkit.workflows.compression import Scorer, weight_bytes

FLOAT32, INT8 = "float32", "int8"  # names of the models


@dataclass(frozen=True)
class Quantized:
    """The int8 model of a run."""

    folder: Path
    metric: str
    """The deciding score."""
    num_rows: int
    """Test rows that were scored."""
    instructions: str
    """The processor's instruction set, and the threads that were used."""
    models: list[ModelFigures]
    """The model of the run, and its int8 weights."""


def quantize_run(
    name: str, overrides: tuple[str, ...], console: Console, *, is_forced: bool = False
) -> Quantized:
    """Write the model of a finished run with int8 weights into the folder `int8` of the run, open
    it, and compare it with the model on the run's test rows.

    The folder appears once it is complete, with the comparison in its model card.

    Args:
        name: The run.
        overrides: `key=value` for keys of its recipe that name the test rows.
        is_forced: Replace existing int8 weights.
    """
    run = find_finished_run(name)
    folder = int8_dir(run)
    check_writable(run, "RUN")
    check_replaceable(folder, is_int8, is_forced=is_forced)
    recipe = recipe_of(run, overrides=(*overrides, "train.device=cpu"))
    model, tokenizer = load_model(model_dir(run))
    check_finite_weights(model)
    scorer = Scorer.open(recipe, model, tokenizer)
    found: list[Quantized] = []

    def write(staging: Path) -> None:
        save_int8(model, tokenizer, staging)
        models = {FLOAT32: model, INT8: load_model(staging)[0]}
        sizes = {FLOAT32: weight_bytes(model_dir(run)), INT8: weight_bytes(staging)}
        results = {name: scorer.score(name, model, console) for name, model in models.items()}
        figures = scorer.compare(models, results, sizes)
        num_rows = len(scorer.test.rows)
        quantized = Quantized(folder, scorer.metric, num_rows, instructions(), figures)
        card = card_of_form(model_dir(run), "llmkit", section(quantized))
        write_text(card_path(staging), card)
        found.append(quantized)

    write_folder(folder, write)
    return found[0]


def instructions() -> str:
    """The instruction set and the number of threads that the products use."""
    capability, threads = torch.backends.cpu.get_cpu_capability(), torch.get_num_threads()
    return f"{capability}, {count_of(threads, 'thread')}"


def section(quantized: Quantized) -> str:
    """The section of the model card about the int8 weights."""
    return (
        "\n## Int8 weights\n\n"
        "Weights of the linear layers as int8, with a scale for each output. Only llmkit opens "
        f"this folder. {quantized.num_rows:,} test rows; {quantized.instructions}:\n\n"
        f"{models_table(quantized.metric, quantized.models)}\n{NOTE}\n"
    )


def show_quantized(console: Console, quantized: Quantized) -> None:
    """Print the table."""
    show_models(console, quantized.metric, quantized.num_rows, [quantized.models])
    console.print(quantized.instructions)
    console.print(f"model: {quantized.folder}")
