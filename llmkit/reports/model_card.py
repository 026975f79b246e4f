"""The model card: README.md of a trained model's folder, with the metadata that the hub reads."""

from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from llmkit import __version__
from llmkit.config.schema import Recipe
from llmkit.errors import count_of
from llmkit.families import Family
from llmkit.scoring.scores import SystemResult, TestResults
from llmkit.scoring.significance import LEVEL, MIN_ROWS
from llmkit.tasks import Task

USE = """## Use

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

folder = "."  # this one
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder)
{prompt}
ids = tokenizer(prompt, return_tensors="pt").input_ids
written = model.generate(ids, {decoding}, pad_token_id=tokenizer.eos_token_id)
print(tokenizer.decode(written[0, ids.shape[1] :], skip_special_tokens=True))
```
"""


def model_card(
    name: str,
    recipe: Recipe,
    results: TestResults,
    family: Family,
) -> str:
    """The card of the main system of these results."""
    task, tuned = results.test.task, results.main_system
    num_rows = len(results.test.rows)
    rows_of = recipe.data.hub or Path(recipe.data.train or f"{task.name} rows of llmkit").name
    base = recipe.model.name if is_hub_id(recipe.model.name) else Path(recipe.model.name).name
    metadata = ModelCardData(
        model_name=name,
        library_name="transformers",
        pipeline_tag="text-generation",
        base_model=recipe.model.name if is_hub_id(recipe.model.name) else None,
        datasets=[recipe.data.hub] if recipe.data.hub else None,
        tags=["llmkit", family.model_type, task.name],
        eval_results=[
            EvalResult(
                task_type="text-generation",
                task_name=task.name,
                dataset_type=recipe.data.hub or "local",
                dataset_name=rows_of,
                dataset_config=recipe.data.config,
                metric_type=metric,
                metric_value=round(value, 4),
            )
            for metric, value in tuned.scores.items()
        ],
    )
    intervals = (
        f"in brackets the {LEVEL:.0%} interval, unless all resamples score the same"
        if num_rows >= MIN_ROWS
        else f"fewer than {MIN_ROWS} are too few for an interval"
    )
    parts = [
        f"---\n{metadata.to_yaml()}\n---\n\n# {name}\n",
        f"{family.title} (`{base}`) fine-tuned for {task.name} on {rows_of} "
        f"with llmkit {__version__}.\n",
        f"**{results.verdict}**\n",
        score_table(results.systems),
        f"{count_of(num_rows, 'test row')}; {intervals}. {task.signature()}\n",
        usage(recipe, task),
        training(recipe),
    ]
    return "\n".join(parts)


def is_hub_id(name: str) -> bool:
    return name not in ("embedded", "scratch") and not Path(name).exists()


def score_table(systems: dict[str, SystemResult]) -> str:
    names = list(dict.fromkeys(name for system in systems.values() for name in system.scores))
    lines = [["", *names], ["---", *["---:"] * len(names)]]
    lines += [[label, *(cell(system, name) for name in names)] for label, system in systems.items()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def cell(system: SystemResult, name: str) -> str:
    """A score with its interval; empty if the system has no such score."""
    if name not in system.scores:
        return ""
    ends = system.intervals.get(name)
    interval = f" [{ends[0]:.2f}, {ends[1]:.2f}]" if ends else ""
    return f"{system.scores[name]:.2f}{interval}"


def usage(recipe: Recipe, task: Task) -> str:
    """How a prompt has to look, and a program that continues one."""
    prompt = f"prompt = {task.template!r}  # fill in its marks"
    if task.output == "text":
        prompt = 'prompt = "Once"'
    elif task.chat is not None:
        prompt = (
            'messages = [{"role": "user", "content": "Who keeps a goat?"}]\n'
            "prompt = tokenizer.apply_chat_template(messages, tokenize=False)"
        )
    settings: dict[str, Any] = recipe.generation.model_dump(exclude_defaults=True)
    settings |= {
        "max_new_tokens": recipe.generation.max_new_tokens,
        "do_sample": recipe.generation.temperature > 0,
    }
    decoding = ", ".join(f"{key}={value}" for key, value in settings.items())
    return USE.format(prompt=prompt, decoding=decoding)


def training(recipe: Recipe) -> str:
    """Every setting that is not at its default."""
    settings: dict[str, Any] = recipe.train.model_dump(exclude_defaults=True)
    lines = [f"- {key}: {value}" for key, value in settings.items()]
    return "\n".join(["## Training\n", *lines, f"- seed: {recipe.seed}", ""])
