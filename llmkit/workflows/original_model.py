"""The original model of a run and its outputs, with which those of exports are compared."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from llmkit.config.generation import Generation
from llmkit.data.recipe_task import recipe_task
from llmkit.evaluation.evaluation_set import EvaluationSet
from llmkit.export.hugging_face import LlmkitRuntime
from llmkit.export.inputs import Inputs, make_inputs
from llmkit.export.outputs import Outputs, compute_outputs
from llmkit.export.source import Source
from llmkit.export.verification import Verification, compare_outputs, system_result
from llmkit.model.load import check_max_length, load_model
from llmkit.paths import total_size
from llmkit.runs.find import recipe_of
from llmkit.runs.folder import model_dir
from llmkit.scoring.deciding_metric import choose_metric
from llmkit.workflows.evaluate import read_encoded_test


@dataclass(frozen=True)
class OriginalModel:
    """The outputs of the original model on the run's test rows."""

    test: EvaluationSet
    inputs: Inputs
    outputs: Outputs
    stop: Sequence[str]
    """Stop strings of the recipe."""
    metric: str
    """The deciding metric, or the first score of the task if greedy completions do not have it."""
    num_bytes: int
    """Size of the model's folder."""

    def compare(self, outputs: Outputs, num_bytes: int) -> Verification:
        """The figures of a model of that size with these outputs."""
        return compare_outputs(outputs, self.outputs, self.test, self.stop, self.metric, num_bytes)

    @property
    def figures(self) -> Verification:
        """The figures of the original model itself."""
        return self.compare(self.outputs, self.num_bytes)


def load_source(run: Path, overrides: tuple[str, ...]) -> Source:
    """The run with its model."""
    recipe = recipe_of(run, overrides=overrides)
    model, tokenizer = load_model(model_dir(run))
    check_max_length(recipe.data.max_length, model)
    return Source(run, recipe, recipe_task(recipe), model, tokenizer)


def run_original_model(source: Source, console: Console) -> OriginalModel:
    """Compute the outputs of the original model on the run's test rows."""
    recipe = source.recipe
    test = read_encoded_test(recipe, source.tokenizer)
    warn_of_other_decoding(source, console)
    inputs = make_inputs(
        test,
        source.tokenizer,
        recipe.generation.max_new_tokens,
        source.model.config.max_position_embeddings,
    )
    console.print(f"original: scoring {len(test.rows):,} test rows")
    outputs = compute_outputs(LlmkitRuntime(source.model, source.tokenizer), inputs)
    metric = choose_metric(test.task, recipe.evaluation.metric).name
    if metric not in system_result(test, outputs, recipe.generation.stop).scores:
        metric = next(iter(test.task.scores))
    num_bytes = total_size(source.folder.iterdir())
    return OriginalModel(test, inputs, outputs, recipe.generation.stop, metric, num_bytes)


def warn_of_other_decoding(source: Source, console: Console) -> None:
    """Print a note if the recipe does not decode greedily."""
    generation = source.recipe.generation
    greedy = Generation(max_new_tokens=generation.max_new_tokens, stop=generation.stop)
    if source.task.output == "completion" and generation != greedy:
        console.print(
            "decoding: greedy for the original model and for each export, without the recipe's "
            "other settings, which not all programs share"
        )
