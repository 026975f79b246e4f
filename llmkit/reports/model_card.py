"""The model card: README.md of the model folder, with the metadata for the Hugging Face Hub."""

import re
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from llmkit import __version__
from llmkit.config.generation import CONSTRAINTS, Generation
from llmkit.config.schema import Data, Train
from llmkit.constants import SCRATCH
from llmkit.errors import count_of
from llmkit.families import Family
from llmkit.reports.tables import markdown_table
from llmkit.runs.folder import card_path
from llmkit.scoring.scores import SystemResult, TestResults
from llmkit.scoring.significance import CONFIDENCE_LEVEL, MIN_ROWS
from llmkit.tasks import Task

USAGE = """## Use

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

folder = "."  # the folder of this card
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder)
{prompt}
ids = tokenizer(prompt, return_tensors="pt").input_ids
output = model.generate(ids, {decoding}, pad_token_id=tokenizer.eos_token_id)
print(tokenizer.decode(output[0, ids.shape[1] :], skip_special_tokens=True))
```
"""
PROGRAM = re.compile(r"^## Use\n.*?(?=^## )", re.DOTALL | re.MULTILINE)


def model_card(
    name: str,
    results: TestResults,
    family: Family,
    *,
    base_model: str,
    data: Data,
    generation: Generation,
    train: Train,
    seed: int,
) -> str:
    """The model card of the main system.

    Args:
        name: Name of the model.
        results: The results on the test rows.
        base_model: The model before fine-tuning: a hub id, a folder, `embedded` or `scratch`.
        data: The `data` section of the recipe; `generation` and `train` are its other sections.
        seed: The seed of the recipe.
    """
    task = results.test.task
    metadata = card_metadata(name, results, family, base_model, data)
    base = base_model if is_hub_id(base_model) else Path(base_model).name
    parts = [
        f"---\n{metadata.to_yaml()}\n---\n\n# {name}\n",
        f"{family.title} (`{base}`) fine-tuned for {task.name} on {data_set_name(data, task)} "
        f"with llmkit {__version__}.\n",
        f"**{results.verdict}**\n",
        score_table(results.systems),
        f"{count_of(len(results.test.rows), 'test row')}; {interval_note(results)}. "
        f"{task.signature()}\n",
        usage(task, generation),
        training_settings(train, seed),
    ]
    return "\n".join(parts)


def read_card(folder: Path) -> str:
    """The model card of a model folder; empty if there is none."""
    path = card_path(folder)
    return path.read_text("utf-8") if path.is_file() else ""


def card_of_form(folder: Path, library: str, section: str) -> str:
    """The card of another form of the model in a folder, such as an export: that model's card with
    a section about the form.

    Its metadata names the library that opens the form, and has no scores, since those are of the
    model. The program remains only if transformers opens the form.
    """
    text = read_card(folder)
    if library not in ("transformers", "peft"):
        text = PROGRAM.sub("", text)
    if not text.startswith("---"):  # the user has changed it
        return text + section
    try:
        card = ModelCard(text, ignore_metadata_errors=True)
        card.data.library_name, card.data.eval_results = library, None
        text = str(card)
    except (ValueError, TypeError, yaml.YAMLError):  # the user has changed it
        pass
    return text + section


def card_metadata(
    name: str, results: TestResults, family: Family, base_model: str, data: Data
) -> ModelCardData:
    """The metadata for the hub, with the scores of the main system."""
    task = results.test.task
    return ModelCardData(
        model_name=name,
        library_name="transformers",
        pipeline_tag="text-generation",
        base_model=base_model if is_hub_id(base_model) else None,
        datasets=[data.hub] if data.hub else None,
        tags=["llmkit", family.model_type, task.name],
        eval_results=[
            EvalResult(
                task_type="text-generation",
                task_name=task.name,
                dataset_type=data.hub or "local",
                dataset_name=data_set_name(data, task),
                dataset_config=data.config,
                metric_type=metric,
                metric_value=round(value, 4),
            )
            for metric, value in results.main_system.scores.items()
        ],
    )


def data_set_name(data: Data, task: Task) -> str:
    """The data set on the hub, or the file of the training rows."""
    rows = f"{task.name} rows of llmkit" if data.is_embedded else Path(data.train).name
    return data.hub or rows


def interval_note(results: TestResults) -> str:
    """Explanation of the brackets in the table of scores."""
    if results.num_resampled < MIN_ROWS:
        return f"no intervals for fewer than {MIN_ROWS}"
    return f"{CONFIDENCE_LEVEL:.0%} intervals in brackets, unless all resamples score the same"


def is_hub_id(name: str) -> bool:
    """Whether a model's name is neither built in nor a path on this machine."""
    return name not in ("embedded", SCRATCH) and not Path(name).exists()


def score_table(systems: dict[str, SystemResult]) -> str:
    """A Markdown table: one row per system, one column per score."""
    names = list(dict.fromkeys(name for system in systems.values() for name in system.scores))
    lines = [[label, *(cell(system, name) for name in names)] for label, system in systems.items()]
    return markdown_table(["", *names], lines)


def cell(system: SystemResult, name: str) -> str:
    """A score with its interval; empty if the system has no such score."""
    if name not in system.scores:
        return ""
    ends = system.intervals.get(name)
    interval = f" [{ends[0]:.2f}, {ends[1]:.2f}]" if ends else ""
    return f"{system.scores[name]:.2f}{interval}"


def usage(task: Task, generation: Generation) -> str:
    """A program that completes a prompt in the format that the model was trained on."""
    note = ""
    if generation.constraint is not None:
        note = (
            f"\nThe scores are those of completions constrained by `{generation.constraint}` of "
            "the recipe. `llmkit generate` applies this constraint; this program does not.\n"
        )
    prompt = f"prompt = {task.template!r}  # replace the names in braces with your texts"
    if task.output == "text":
        prompt = 'prompt = "Once"'
    elif task.chat is not None:
        prompt = (
            'messages = [{"role": "user", "content": "Who keeps a goat?"}]\n'
            "prompt = tokenizer.apply_chat_template(messages, tokenize=False)"
        )
    settings: dict[str, Any] = generation.model_dump(
        exclude_defaults=True, exclude={"stop", *CONSTRAINTS}
    )
    settings |= {
        "max_new_tokens": generation.max_new_tokens,
        "do_sample": generation.temperature > 0,
    }
    decoding = ", ".join(f"{key}={value}" for key, value in settings.items())
    if generation.stop:
        decoding += f", stop_strings={generation.stop}, tokenizer=tokenizer"
    return USAGE.format(prompt=prompt, decoding=decoding) + note


def training_settings(train: Train, seed: int) -> str:
    """All training settings that differ from their defaults."""
    settings: dict[str, Any] = train.model_dump(exclude_defaults=True)
    lines = [f"- {key}: {value}" for key, value in settings.items()]
    return "\n".join(["## Training\n", *lines, f"- seed: {seed}", ""])
