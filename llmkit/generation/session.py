"""A generation session: a model on its device, with its prompt template, labels and decoding."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from rich.console import Console
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from llmkit import __version__
from llmkit.config.generation import Generation
from llmkit.config.recipe import load_recipe
from llmkit.config.schema import Data, Recipe, Train
from llmkit.data.answers import count_answers, encode_labels
from llmkit.data.column_mapping import Columns, check_columns, columns_of
from llmkit.data.encode import encode_segments, truncate_prompt
from llmkit.data.recipe_task import prompt_task
from llmkit.data.splits import open_splits
from llmkit.errors import UserError
from llmkit.generation.options import Options
from llmkit.generation.predict import iter_predictions, stream_prediction
from llmkit.generation.prompt_length import check_prompt_length
from llmkit.generation.prompts import EncodedPrompt, Prompt, PromptReader
from llmkit.io.atomic import CorruptFolder, read_own_json
from llmkit.metrics.prediction import Prediction
from llmkit.model.load import load_model, move_to_device, weights_fingerprint
from llmkit.paths import row_format, sha256
from llmkit.runs.find import newest_finished_run, recipe_of, resolve_model
from llmkit.runs.folder import record_path
from llmkit.runtime.devices import start_accelerator
from llmkit.tasks import Example, Task

MODEL_KEYS = ("data.encoding", "data.skip_invalid")  # also apply to models without a run


@dataclass(frozen=True)
class GenerationSession:
    """A loaded model with everything needed to build, encode and complete prompts."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    task: Task
    columns: Columns
    """Maps columns of the task to columns of the new rows."""
    labels: dict[str, list[int]]
    """Token ids of each label to choose from; empty for tasks that generate text."""
    data: Data
    """Settings for reading new rows, and `max_length` of prompt and completion together."""
    generation: Generation
    batch_size: int
    seed: int
    """Random seed for sampling."""
    accelerator: Accelerator
    console: Console
    """Console for messages; stdout is reserved for predictions."""
    limit_name: str = "max_new_tokens"
    """How messages call `generation.max_new_tokens`."""

    @property
    def max_new_tokens(self) -> int:
        """Maximum number of tokens that can follow a prompt."""
        if self.labels:
            return max(map(len, self.labels.values()))
        return self.generation.max_new_tokens

    def reader(self, is_raw: bool) -> PromptReader:
        """A reader of new rows. is_raw: pass plain text without the task's template."""
        return PromptReader(self.task, self.columns, self.data.encoding, is_raw)

    def encode(self, prompts: Sequence[Prompt]) -> list[EncodedPrompt | UserError]:
        """Encode prompts; inputs and conversations are truncated as in training. A prompt that does
        not fit into the context becomes a UserError."""
        examples = [Example(str(p.id), p.segments, "", [], p.where) for p in prompts]
        encoded = encode_segments(examples, self.tokenizer)
        return [
            self._encode(prompt, segment_ids[:-1])
            for prompt, (_, segment_ids) in zip(prompts, encoded, strict=True)
        ]

    def _encode(self, prompt: Prompt, segment_ids: list[list[int]]) -> EncodedPrompt | UserError:
        max_prompt_tokens = self.data.max_length - self.max_new_tokens
        # A prompt without a truncatable part is passed as a whole if it fits into the context.
        kept = truncate_prompt(prompt.segments, segment_ids, max_prompt_tokens) or segment_ids
        ids = [token for tokens in kept for token in tokens]
        advice = "" if self.labels else f" or lower {self.limit_name}"
        try:
            check_prompt_length(prompt.where, len(ids), self.max_new_tokens, self.model, advice)
        except UserError as error:
            return error
        return EncodedPrompt(prompt, ids, is_truncated=len(ids) < sum(map(len, segment_ids)))

    def predict(
        self, prompts: Sequence[EncodedPrompt], first_number: int = 0
    ) -> Iterator[Prediction]:
        """Yield the prediction for each prompt, in order, as soon as it and all earlier ones have
        ended.

        The samples of a prompt depend only on the session's seed and the prompt's number.

        Args:
            first_number: Number of the first prompt.
        """
        with self.accelerator.autocast():
            yield from iter_predictions(
                self.model,
                self.tokenizer,
                [prompt.ids for prompt in prompts],
                self.labels,
                self.generation,
                self.batch_size,
                self.seed,
                range(first_number, first_number + len(prompts)),
            )

    def fingerprint(self, path: Path, is_raw: bool) -> dict[str, Any]:
        """Everything that determines the predictions for a file up to rounding, as JSON values by
        name."""
        tokenizer = self.tokenizer.backend_tokenizer.to_str()
        keys = {"max_length", "encoding", "skip_invalid"}
        return {
            "llmkit": __version__,
            "input": sha256(path),
            "format": row_format(path),
            "model": weights_fingerprint(self.model),
            "tokenizer": hashlib.sha256(tokenizer.encode()).hexdigest(),
            "task": self.task.name,
            "template": self.task.template,
            "columns": dict(self.columns),
            "labels": list(self.labels),
            **{f"data.{key}": value for key, value in self.data.model_dump(include=keys).items()},
            "--raw": is_raw,
            "--seed": self.seed,
            **self.generation.model_dump(mode="json"),
            "train.mixed_precision": self.accelerator.mixed_precision,
        }

    @property
    def can_stream(self) -> bool:
        """Whether a prediction can be shown while it is generated. Constrained text is not, because
        only the complete prediction shows whether the constraint was met."""
        decoding = self.generation
        is_one_text = decoding.num_beams == decoding.num_return_sequences == 1
        return is_one_text and not self.labels and not decoding.constraint

    def stream(self, prompt: EncodedPrompt) -> Iterator[str]:
        """Yield the prediction for prompt number 0 in pieces while it is generated."""
        with self.accelerator.autocast():
            yield from stream_prediction(
                self.model, self.tokenizer, prompt.ids, self.generation, self.seed, number=0
            )


def open_session(
    name: str | None,
    overrides: tuple[str, ...],
    decoding: dict[str, Any],
    seed: int,
    console: Console,
    *,
    as_keywords: bool = False,
) -> GenerationSession:
    """Open a session with a model or run.

    Args:
        name: A run, a model folder, `embedded` or a hub id; None: the newest finished run in runs/,
            or the embedded model if there is none.
        overrides: KEY=VALUE for keys of the run's recipe.
        decoding: Decoding options by key of `generation`; None keeps the recipe's value.
        seed: Random seed for sampling.
        as_keywords: In messages, call decoding options by their Python keyword, not their flag.

    Raises UserError if the model, an override or a decoding option is invalid.
    """
    name = default_model() if name is None else name
    model_name, run = resolve_model(name)
    console.print(f"model: {name}", style="dim")
    recipe = _open_recipe(run, name, overrides)
    task = prompt_task(recipe.task, recipe.data)
    check_columns(recipe.data, task)
    options = Options(decoding, as_keywords=as_keywords)
    generation = options.apply_to(recipe.generation, task)
    label_names = open_labels(run, task) if run and task.output == "label" else []
    accelerator = start_accelerator(recipe.train.device, recipe.train.mixed_precision, recipe.seed)
    model, tokenizer = load_model(model_name)
    options.check_constraint(generation, tokenizer)
    move_to_device(model, accelerator.device)
    data = recipe.data
    if run is None:
        data = data.model_copy(update={"max_length": model.config.max_position_embeddings})
    return GenerationSession(
        model,
        tokenizer,
        task,
        columns_of(data, "test") | _given_columns(data.columns, overrides),
        encode_labels(label_names, tokenizer) if label_names else {},
        data,
        generation,
        recipe.evaluation.batch_size,
        seed,
        accelerator,
        console,
        options.name_of("max_new_tokens"),
    )


def default_model() -> str:
    """The model to load if none is given: the newest finished run in runs/, or the embedded model
    if there is none."""
    newest = newest_finished_run()
    return str(newest) if newest else "embedded"


def _open_recipe(run: Path | None, name: str, overrides: tuple[str, ...]) -> Recipe:
    if run is not None:
        recipe = recipe_of(run, overrides=overrides)
        if any(override.startswith("data.encoding=") for override in overrides):
            return recipe
        # New rows need not have the encoding of the training rows; usually they are UTF-8.
        return recipe.model_copy(update={"data": recipe.data.model_copy(update={"encoding": None})})
    for override in overrides:
        if override.partition("=")[0] not in MODEL_KEYS:
            raise UserError(f"{override}: {name} is not a run, so it has no recipe to override")
    given = load_recipe("pretrain", overrides=overrides).data
    data = Data(encoding=given.encoding, skip_invalid=given.skip_invalid)
    return Recipe(task="pretrain", train=Train(max_steps=1), data=data)


def _given_columns(columns: Columns, overrides: tuple[str, ...]) -> Columns:
    """The columns set by overrides, which take precedence over those of the run's test rows."""
    keys = [override.partition("=")[0] for override in overrides]
    return {name: column for name, column in columns.items() if f"data.columns.{name}" in keys}


def open_labels(run: Path, task: Task) -> list[str]:
    """The labels of a classifier: those recorded by its run or, for a run of an earlier version,
    those of its training rows.

    Raises UserError if neither can be read.
    """
    try:
        recorded = read_own_json(record_path(run)).get("labels")
    except CorruptFolder as error:
        raise UserError(f"{record_path(run)}: {error}; train again") from None
    if isinstance(recorded, list) and all(isinstance(label, str) for label in recorded):
        return recorded
    try:
        train = open_splits(recipe_of(run).data, task)["train"]
        return sorted(count_answers(train, task))
    except UserError as error:
        raise UserError(
            f"{record_path(run)}: has no `labels`, as in runs of earlier versions, and the "
            f"training rows that would show them cannot be read: {error}"
        ) from None
