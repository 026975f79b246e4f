"""The interface of the programs that run models: llmkit itself, and those that open exports."""

from abc import ABC, abstractmethod

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from llmkit.data.encode import encode_text

BATCH_SIZE = 16  # prompts completed together


class Runtime(ABC):
    """A program that has loaded a model, with the tokenizer of the folder unless it has its own."""

    tool: str
    """Name and version of the program."""
    end_tokens: list[int]
    """Ids of the tokens at which a completion ends."""
    tokenizer: PreTrainedTokenizerBase

    @abstractmethod
    def log_probabilities(self, ids: list[int], positions: list[int]) -> np.ndarray:
        """Log-probabilities of the token after each position, (len(positions), vocab_size); NaN
        where the program does not return them."""

    @abstractmethod
    def complete(self, prompts: list[list[int]], max_new_tokens: int) -> list[list[int]]:
        """Greedy completion of each prompt, without the token that ends it."""

    def token_nll(self, ids: list[int], targets: list[int]) -> list[float]:
        """Negative log-likelihood, in nats, of the tokens at the indices `targets` (above 0)."""
        found = self.log_probabilities(ids, [index - 1 for index in targets])
        return [-float(row[ids[index]]) for row, index in zip(found, targets, strict=True)]

    def decode(self, ids: list[int]) -> str:
        """Text of tokens, without special ones."""
        return self.tokenizer.decode(
            ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )

    def tokenize(self, text: str) -> list[int]:
        """Token ids of a text."""
        return encode_text([text], self.tokenizer)[0]


def log_softmax(logits: torch.Tensor) -> np.ndarray:
    """Log-probabilities of logits (..., vocab_size) in any precision."""
    return logits.double().log_softmax(-1).float().numpy()
