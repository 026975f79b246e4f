"""The runtimes of transformers and peft, and that of the original model: llmkit's engine."""

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from llmkit import __version__
from llmkit.batching import map_by_length
from llmkit.config.generation import Generation
from llmkit.export.runtime import BATCH_SIZE, Runtime, log_softmax
from llmkit.generation.generate import complete, make_requests
from llmkit.model.load import evaluating


class HuggingFaceRuntime(Runtime):
    """A model in transformers or peft.

    Args:
        tool: Name and version of the library.
    """

    def __init__(self, tool: str, model: nn.Module, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tool, self.model, self.tokenizer = tool, model, tokenizer
        ends = model.generation_config.eos_token_id
        ends = ends if isinstance(ends, list) else [ends]
        self.end_tokens = sorted({*ends, tokenizer.eos_token_id} - {None})

    @torch.inference_mode()
    def log_probabilities(self, ids: list[int], positions: list[int]) -> np.ndarray:
        with evaluating(self.model):
            output = self.model(
                input_ids=torch.tensor([ids]), logits_to_keep=torch.tensor(positions)
            )
        return log_softmax(output.logits[0])

    def complete(self, prompts: list[list[int]], max_new_tokens: int) -> list[list[int]]:
        def complete_batch(batch: list[int]) -> list[list[int]]:
            return self._complete([prompts[index] for index in batch], max_new_tokens)

        return map_by_length(complete_batch, list(map(len, prompts)), BATCH_SIZE)

    @torch.inference_mode()
    def _complete(self, prompts: list[list[int]], max_new_tokens: int) -> list[list[int]]:
        longest = max(map(len, prompts))
        padded = [[0] * (longest - len(prompt)) + prompt for prompt in prompts]
        mask = [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
        with evaluating(self.model):
            output = self.model.generate(
                input_ids=torch.tensor(padded),
                attention_mask=torch.tensor(mask),
                max_new_tokens=max_new_tokens,
                do_sample=False,
                pad_token_id=self.tokenizer.eos_token_id,
            )
        return [self._before_end(ids) for ids in output[:, longest:].tolist()]

    def _before_end(self, ids: list[int]) -> list[int]:
        end = next((index for index, token in enumerate(ids) if token in self.end_tokens), None)
        return ids[:end]


class LlmkitRuntime(HuggingFaceRuntime):
    """A model in llmkit: its completions come from the engine behind `generate`."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tool, self.model, self.tokenizer = f"llmkit {__version__}", model, tokenizer
        self.end_tokens = [tokenizer.eos_token_id]

    def complete(self, prompts: list[list[int]], max_new_tokens: int) -> list[list[int]]:
        generation = Generation(max_new_tokens=max_new_tokens)
        requests = make_requests(prompts, [(0,)] * len(prompts), generation)
        sequences = complete(self.model, self.tokenizer, requests, BATCH_SIZE)
        return [sequence.token_ids for sequence in sequences]
