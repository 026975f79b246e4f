"""Score versions of a run's model on its test rows, and time their generation."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from llmkit.config.generation import Generation
from llmkit.config.schema import Recipe
from llmkit.errors import count_of
from llmkit.evaluation.evaluation_set import EvaluationSet
from llmkit.evaluation.evaluator import Evaluator
from llmkit.evaluation.samples import evenly_spaced
from llmkit.generation.generate import generate
from llmkit.model.load import check_max_length, evaluating
from llmkit.paths import total_size
from llmkit.reports.compression import NUM_PROMPTS, ModelFigures
from llmkit.runtime.devices import start_accelerator
from llmkit.scoring.comparison import differences_from
from llmkit.scoring.deciding_metric import choose_metric
from llmkit.scoring.scores import SystemResult
from llmkit.workflows.evaluate import read_encoded_test

NUM_TOKENS = 64  # generated for each prompt, or half the context of the model if that is less
ROUNDS = 10  # maximum number of rounds
MAX_SECONDS = 60  # no further round begins after this time


@dataclass(frozen=True)
class Scorer:
    """The test rows of a run, and how they are predicted."""

    test: EvaluationSet
    evaluator: Evaluator
    metric: str
    """The deciding score."""

    @classmethod
    def open(
        cls, recipe: Recipe, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
    ) -> "Scorer":
        """model: The model of the run."""
        settings = recipe.train
        accelerator = start_accelerator(settings.device, settings.mixed_precision, recipe.seed)
        check_max_length(recipe.data.max_length, model)
        test = read_encoded_test(recipe, tokenizer)
        evaluator = Evaluator.of(recipe, tokenizer, accelerator)
        return cls(test, evaluator, choose_metric(test.task, recipe.evaluation.metric).name)

    def score(self, name: str, model: PreTrainedModel, console: Console) -> SystemResult:
        """Score a model, which is moved to the device. name: Name of the model, for the message."""
        console.print(f"scoring {name} on {count_of(len(self.test.rows), 'test row')}")
        return self.evaluator.evaluate_all(model, {"test": self.test})["test"]

    def compare(
        self,
        models: Mapping[str, PreTrainedModel],
        results: Mapping[str, SystemResult],
        sizes: Mapping[str, int],
    ) -> list[ModelFigures]:
        """Size, score and speed of each model, and its difference from the first one.

        Args:
            models: The models by name, on the device.
            results: Their scores.
            sizes: Bytes of their weight files.
        """
        single = self.speeds(models, batch_size=1)
        batched = self.speeds(models, batch_size=NUM_PROMPTS)
        first = next(iter(results.values()))
        return [
            ModelFigures(
                name,
                sizes[name],
                num_weights(model),
                results[name].scores.get(self.metric),
                results[name].intervals.get(self.metric),
                differences_from(first, results[name]).get(self.metric)
                if results[name] is not first
                else None,
                single[name],
                batched[name],
            )
            for name, model in models.items()
        ]

    def speeds(self, models: Mapping[str, PreTrainedModel], batch_size: int) -> dict[str, float]:
        """Tokens per second of each model, including the time to read the prompts.

        The models take turns, and the fastest round of each batch counts, so that other programs on
        the machine affect all models alike, and as little as possible.
        """
        num_positions = next(iter(models.values())).config.max_position_embeddings
        num_tokens = min(NUM_TOKENS, num_positions // 2)
        batches = batched_prompts(self.test, num_positions - num_tokens, batch_size)
        started, rounds = time.perf_counter(), []
        while len(rounds) < ROUNDS and time.perf_counter() - started < MAX_SECONDS:
            rounds.append([
                [self.time_generation(model, prompts, num_tokens) for model in models.values()]
                for prompts in batches
            ])  # fmt: skip
        seconds = np.min(rounds, axis=0).sum(0)  # (num_models,)
        total = num_tokens * sum(map(len, batches))
        return dict(zip(models, (total / seconds).tolist(), strict=True))

    def time_generation(
        self, model: PreTrainedModel, prompts: list[list[int]], num_tokens: int
    ) -> float:
        """Seconds to generate `num_tokens` for each of some prompts at once."""
        generation = Generation(max_new_tokens=num_tokens, min_new_tokens=num_tokens)
        started = time.perf_counter()
        with evaluating(model), self.evaluator.accelerator.autocast():
            generate(model, self.evaluator.tokenizer, prompts, generation, len(prompts))
        return time.perf_counter() - started


def batched_prompts(test: EvaluationSet, limit: int, batch_size: int) -> list[list[list[int]]]:
    """Prompts of test rows, as token ids, of at most `limit` tokens; for plain language modelling,
    beginnings of its texts."""
    rows = test.prompts or test.encoded["input_ids"]
    prompts = [rows[index][:limit] for index in evenly_spaced(len(rows), NUM_PROMPTS)]
    return [prompts[at : at + batch_size] for at in range(0, len(prompts), batch_size)]


def num_weights(model: PreTrainedModel) -> int:
    """Number of weights that are not 0; quantized or not, a shared matrix counts once."""
    tensors = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    return sum(int(tensor.count_nonzero()) for tensor in tensors.values())


def weight_bytes(folder: Path) -> int:
    """Bytes of the weight files of a model folder."""
    return total_size(folder.glob("model*.safetensors"))
