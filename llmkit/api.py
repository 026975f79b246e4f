"""The Python API: what the commands do, as functions. `import llmkit` offers all of them.

Every function prints nothing unless `verbose` is true, in which case it prints what the command of
the same name prints. A user's mistake raises `llmkit.UserError` with the message of the command.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmkit.runtime.console import python_call

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from llmkit.config.schema import Recipe
    from llmkit.data.preview import Check
    from llmkit.metrics.prediction import Prediction
    from llmkit.planning.plan import Plan
    from llmkit.workflows.compare import Comparison

Overrides = Mapping[str, Any]


def load_recipe(
    name: str | Path, overrides: Overrides | None = None, *, scale: str | None = None
) -> "Recipe":
    """Load a recipe and check it.

    Args:
        name: A recipe of the package (`llmkit recipes` lists them), or the path of a YAML file.
        overrides: Values by dotted key; they replace those of the recipe.
        scale: One of the recipe's scales; default: the first.

    Raises:
        UserError: For an unknown recipe, scale or key, or a value that its key does not take.

    Example:
        >>> import llmkit
        >>> recipe = llmkit.load_recipe("summarize", {"train.max_steps": 2, "model": "embedded"})
        >>> recipe.train.max_steps, recipe.model.name
        (2, 'embedded')
    """
    from llmkit.config.recipe import to_override
    from llmkit.runs.find import open_recipe

    given = tuple(to_override(key, value) for key, value in (overrides or {}).items())
    return open_recipe(str(name), scale=scale, overrides=given)


def finetune(
    recipe: "Recipe",
    run_dir: str | Path | None = None,
    *,
    resume: bool = False,
    verbose: bool = False,
) -> dict[str, Any]:
    """Fine-tune a model and score it before and after.

    Args:
        recipe: What `load_recipe` returns.
        run_dir: Folder of the run; default: a new one under runs/.
        resume: Continue the stopped run in `run_dir`.
        verbose: Print what `llmkit finetune` prints.

    Returns:
        The content of the run's metrics.json, and `run`, the path of its folder.

    Raises:
        UserError: For a mistake in the recipe or the data, before training.
        FloatingPointError: If the loss or the gradient is not finite.

    Example:
        >>> import llmkit
        >>> small = {"train.max_steps": 2, "evaluation.test_rows": 4, "data.limit": 40}
        >>> recipe = llmkit.load_recipe("summarize", small)
        >>> result = llmkit.finetune(recipe, "runs/demo")
        >>> sorted(result["scores"]["fine-tuned"])
        ['loss', 'rouge1', 'rouge2', 'rougeL', 'rougeLsum']
    """
    with python_call(verbose) as console:
        from llmkit.config.recipe import recipe_keys
        from llmkit.runs.find import choose_run_dir, find_run_to_resume
        from llmkit.runtime.rendezvous import from_first_process
        from llmkit.scoring.results import read_results
        from llmkit.workflows.finetune import finetune as run_recipe

        given = None if run_dir is None else str(run_dir)

        def choose() -> Path:
            if resume:
                return find_run_to_resume(given or "auto", None, recipe_keys(recipe))
            return choose_run_dir(given, recipe.task)

        run = from_first_process(choose, Path)
        run, _ = run_recipe(recipe, run, console, resume=resume, is_default_name=given is None)
        results = from_first_process(lambda: read_results(run).as_dict(), dict[str, Any])
        return {"run": str(run), **results}


def evaluate(
    model: str | Path,
    recipe: "Recipe | None" = None,
    *,
    output: str | Path | None = None,
    verbose: bool = False,
) -> dict[str, dict[str, Any]]:
    """Score a model or a run on the recipe's test rows, next to the baselines.

    Args:
        model: A run, a folder with a GPT-2, `embedded`, or a hub id.
        recipe: The recipe to score with; default: that of the run.
        output: Folder in which metrics.json and predictions.jsonl are written.
        verbose: Print what `llmkit evaluate` prints.

    Returns:
        For each test set, the content of its metrics.json: among others `scores`, by system and
        name of the score.

    Raises:
        UserError: For a model that cannot be loaded, or a mistake in the recipe or the data.

    Example:
        >>> import llmkit
        >>> results = llmkit.evaluate("runs/demo")
        >>> list(results["test"]["scores"])[:2]
        ['this model', 'untuned']
    """
    with python_call(verbose) as console:
        from llmkit.errors import UserError
        from llmkit.runs.find import recipe_of, resolve_model
        from llmkit.workflows.evaluate import evaluate_model

        name, run = resolve_model(str(model))
        if recipe is None and run is None:
            raise UserError(f"{model}: not a run; name the recipe to score with")
        settings = recipe or recipe_of(run)
        return evaluate_model(name, settings, console, None if output is None else str(output))


def generate(
    prompts: Sequence[str],
    model: str | Path | None = None,
    *,
    raw: bool = False,
    seed: int = 0,
    overrides: Overrides | None = None,
    verbose: bool = False,
    **decoding: Any,
) -> list["Prediction"]:
    """Predict for each prompt: a generated text, or the most likely label of a classifier.

    Args:
        prompts: Texts; each is put into the prompt template that the run was trained with.
        model: A run, a folder with a GPT-2, `embedded` or a hub id; default: the newest finished
            run under runs/, else the embedded model.
        raw: Pass prompts as they are, without the template.
        seed: Seed of the sampling.
        overrides: Values by dotted key that replace those of the run's recipe.
        verbose: Print what `llmkit generate` prints on stderr.
        **decoding: max_new_tokens, temperature and the other keys of the recipe's `generation`.
            None keeps the run's value.

    Returns:
        A prediction for each prompt, with its `text`; for a classifier also `probabilities`.

    Raises:
        UserError: For a model that cannot be loaded, a decoding setting that is not valid, or a
            prompt that is too long.

    Example:
        >>> import llmkit
        >>> (prediction,) = llmkit.generate(["The ferry was late."], "embedded", max_new_tokens=4)
        >>> type(prediction.text)
        <class 'str'>
    """
    with python_call(verbose) as console:
        from llmkit.config.recipe import to_override
        from llmkit.generation.session import open_session
        from llmkit.workflows.generate import predict_texts

        given = tuple(to_override(key, value) for key, value in (overrides or {}).items())
        name = None if model is None else str(model)
        session = open_session(name, given, decoding, seed, console, as_keywords=True)
        return predict_texts(session, prompts, raw)


def compare(first: str | Path, second: str | Path, *, task: str | None = None) -> "Comparison":
    """Test whether the second system is better than the first on the same rows.

    Args:
        first: A run, a folder of scores, or a file of predictions.
        second: The same for the other system.
        task: Task of prediction files that do not name theirs.

    Returns:
        Differences of all scores with their confidence intervals and p-values.

    Raises:
        UserError: If the two do not have predictions for the same rows.

    Example:
        >>> import llmkit
        >>> _ = llmkit.evaluate("runs/demo", output="scores")
        >>> llmkit.compare("runs/demo", "scores").num_rows
        4
    """
    with python_call(verbose=False):
        from llmkit.workflows.compare import compare_systems

        return compare_systems(str(first), str(second), task)


def check(recipe: "Recipe", *, rows: int = 3) -> "Check":
    """Read and encode all rows of a recipe without training, and report what is wrong with them.

    Args:
        recipe: What `load_recipe` returns.
        rows: Number of training rows to return as the model sees them.

    Returns:
        Counts and lengths of each split, `samples` of rows, and `findings`, which name the
        problems with their rows.

    Raises:
        UserError: If nothing can be read, or training would refuse the recipe.

    Example:
        >>> import llmkit
        >>> report = llmkit.check(llmkit.load_recipe("summarize", {"data.limit": 40}))
        >>> [finding for finding in report.findings if finding.severity == "error"]
        []
    """
    with python_call(verbose=False):
        from llmkit.workflows.check import check as check_rows

        return check_rows(recipe, rows)


def plan(
    recipe: "Recipe",
    *,
    budget: str | None = None,
    memory: str | None = None,
    device: str | None = None,
    trials: bool = False,
    verbose: bool = False,
) -> "Plan":
    """Predict time, memory and disk space of a run, and propose changes for a budget.

    Args:
        recipe: A recipe, as returned by `load_recipe`.
        budget: Time budget, such as "3h".
        memory: Memory budget, such as "16GB".
        device: GPU to estimate for from its data sheet, such as "a100"; default: this machine, on
            which a few seconds of the run are timed.
        trials: Whether to train two short runs to forecast the loss.
        verbose: Print the progress of `llmkit plan`.

    Returns:
        The predicted costs in `prediction`, and, for a budget or a device, `proposals`.

    Raises:
        UserError: For a mistake in an argument, or one that `finetune` would reject.

    Example:
        >>> import llmkit
        >>> recipe = llmkit.load_recipe("summarize", {"data.limit": 40, "train.epochs": 1})
        >>> plan = llmkit.plan(recipe, budget="1h", device="a100")
        >>> plan.prediction.total_seconds < 3600
        True
    """
    with python_call(verbose) as console:
        from llmkit.planning.devices import find_device
        from llmkit.units import parse_bytes, parse_duration
        from llmkit.workflows.plan import make_plan

        return make_plan(
            recipe,
            console,
            None if budget is None else parse_duration(budget, "budget"),
            None if memory is None else parse_bytes(memory, "memory"),
            None if device is None else find_device(device, "device"),
            runs_trials=trials,
        )


def load_model(
    name: str | Path, *, revision: str | None = None
) -> tuple["PreTrainedModel", "PreTrainedTokenizerBase"]:
    """Load a model and its tokenizer.

    Args:
        name: A run, a folder with a GPT-2 in safetensors, `embedded`, or a hub id.
        revision: Branch, tag or commit of a hub model.

    Returns:
        The Hugging Face model, in float32 or int8 on the CPU, and its tokenizer.

    Raises:
        UserError: If the model cannot be reached, is not a GPT-2, or has no safetensors weights.

    Example:
        >>> import llmkit
        >>> model, tokenizer = llmkit.load_model("embedded")
        >>> model.num_parameters() > 1e6, tokenizer.eos_token
        (True, '<|endoftext|>')
    """
    with python_call(verbose=False):
        from llmkit.model.load import load_model as load
        from llmkit.runs.find import resolve_model

        folder, _ = resolve_model(str(name))
        return load(folder, revision)
