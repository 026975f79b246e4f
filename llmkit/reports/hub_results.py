"""The scores of a run in the hub's format of evaluation results, `.eval_results/*.yaml`.

An entry of the format belongs to a task of a benchmark: a data set on the hub whose eval.yaml lists
its tasks, each with a configuration and a split. Scores on other rows are in the metadata of the
model card alone.
"""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import yaml
from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

from llmkit import __version__
from llmkit.config.recipe_files import Loader
from llmkit.config.schema import Data, Evaluation
from llmkit.scoring.results import SavedResults

RESULTS_FILE = ".eval_results/llmkit.yaml"
BENCHMARK_FILE = "eval.yaml"
DEFAULT_CONFIG = "default"  # name of the only configuration of a data set
SHARES_OF_CORRECT_ANSWERS = ("accuracy", "exact_match", "final_answer")  # what benchmarks rank by


class HubResults(NamedTuple):
    """The content of the file, or why there is none."""

    text: str | None
    note: str
    """The entry, or the reason, in a few words."""


def hub_results(
    data: Data,
    evaluation: Evaluation,
    results: SavedResults,
    read_benchmark: Callable[[str], str | None],
) -> HubResults:
    """The score of the main system as an entry of its benchmark.

    Args:
        data: The `data` section of the run's recipe.
        evaluation: The `evaluation` section of the run's recipe.
        results: The results of the run.
        read_benchmark: Returns the eval.yaml of a data set; None if it has none.
    """
    scores = results.scores[results.main]
    metric = next((name for name in SHARES_OF_CORRECT_ANSWERS if name in scores), None)
    reason = why_not_whole_split(data, evaluation)
    if reason is None and metric is None:
        reason = f"{results.metric} is not the share of correct answers"
    if reason is not None:
        return HubResults(None, reason)
    tasks = tasks_of(read_benchmark(data.hub))
    if not tasks:
        return HubResults(None, f"{data.hub} is not a benchmark of the hub: no {BENCHMARK_FILE}")
    config = data.config or DEFAULT_CONFIG
    task = next((task for task in tasks if is_task_of(task, config, data.test)), None)
    if task is None:
        return HubResults(None, f"{data.hub} is a benchmark, but not with {config}, {data.test}")
    entry = EvalResultEntry(
        data.hub,
        task["id"],
        round(scores[metric], 4),
        dataset_revision=commit_of(data.revision),
        notes=f"{metric}, {results.num_rows} rows, {results.signature}, llmkit {__version__}",
    )
    text = yaml.safe_dump(eval_result_entries_to_yaml([entry]), sort_keys=False)
    return HubResults(text, f"{metric} {scores[metric]:.2f} on {data.hub}, task {task['id']}")


def why_not_whole_split(data: Data, evaluation: Evaluation) -> str | None:
    """Why the test rows are not a whole split of a data set on the hub; None if they are."""
    if data.hub is None:
        return "the test rows are not from the hub"
    if data.test is None:
        return "the test rows were held out of the training rows"
    if data.limit is not None or evaluation.test_rows is not None or data.skip_invalid:
        return "not all rows of the test split were scored"
    return None


def tasks_of(benchmark: str | None) -> list[dict[str, Any]]:
    """The tasks that an eval.yaml lists; empty if there are none or the file is damaged."""
    try:
        content = Loader(benchmark or "").get_single_data()
    except yaml.YAMLError:
        return []
    tasks = content.get("tasks") if isinstance(content, dict) else None
    listed = tasks if isinstance(tasks, list) else []
    return [task for task in listed if isinstance(task, dict) and isinstance(task.get("id"), str)]


def is_task_of(task: dict[str, Any], config: str, split: str) -> bool:
    """Whether a task of a benchmark is scored on a split."""
    return (task.get("config", DEFAULT_CONFIG), task.get("split")) == (config, split)


def commit_of(revision: str | None) -> str | None:
    """The revision, if it is a commit: the format takes no branch or tag."""
    return revision if re.fullmatch("[0-9a-f]{40}", revision or "") else None
