"""The source of an export: a finished run with its recipe, task, model and tokenizer."""

from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from llmkit.config.schema import Recipe
from llmkit.runs.folder import model_dir
from llmkit.tasks import Task


@dataclass(frozen=True)
class Source:
    """A finished run with its model in float32 on the CPU."""

    run: Path
    recipe: Recipe
    task: Task
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase

    @property
    def folder(self) -> Path:
        """The folder of the model."""
        return model_dir(self.run)
