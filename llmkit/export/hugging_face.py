"""A model of Hugging Face's transformers as the runtime of an export."""

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from llmkit.batching import map_by_length
from llmkit.data.encode import encode_text
from llmkit.export.answers import BATCH_SIZE, nats_of, normalized


class HuggingFaceRuntime:
    """See export.answers.Runtime."""

    def __init__(self, tool: str, model: nn.Module, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tool, self.model, self.tokenizer = tool, model.eval(), tokenizer
        ends = model.generation_config.eos_token_id
        ends = ends if isinstance(ends, list) else [ends]
        self.end_tokens = sorted({*ends, tokenizer.eos_token_id} - {None})

    @torch.inference_mode()
    def log_probabilities(self, ids: list[int], positions: list[int]) -> np.ndarray:
        output = self.model(input_ids=torch.tensor([ids]), logits_to_keep=torch.tensor(positions))
        return normalized(output.logits[0])

    def nats(self, ids: list[int], targets: list[int]) -> list[float]:
        return nats_of(self.log_probabilities(ids, [at - 1 for at in targets]), ids, targets)

    def complete(self, prompts: list[list[int]], max_new_tokens: int) -> list[list[int]]:
        def compute(batch: list[int]) -> list[list[int]]:
            return self._complete([prompts[index] for index in batch], max_new_tokens)

        return map_by_length(compute, list(map(len, prompts)), BATCH_SIZE)

    @torch.inference_mode()
    def _complete(self, prompts: list[list[int]], max_new_tokens: int) -> list[list[int]]:
        longest = max(map(len, prompts))
        padded = [[0] * (longest - len(prompt)) + prompt for prompt in prompts]
        mask = [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
        output = self.model.generate(
            input_ids=torch.tensor(padded),
            attention_mask=torch.tensor(mask),
            max_new_tokens=max_new_tokens,
            do_sample=False,
            pad_token_id=self.tokenizer.eos_token_id,
        )
        return [self._up_to_end(ids) for ids in output[:, longest:].tolist()]

    def _up_to_end(self, ids: list[int]) -> list[int]:
        end = next((index for index, token in enumerate(ids) if token in self.end_tokens), None)
        return ids[:end]

    def decode(self, ids: list[int]) -> str:
        return self.tokenizer.decode(
            ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )

    def tokenize(self, text: str) -> list[int]:
        return encode_text([text], self.tokenizer)[0]
