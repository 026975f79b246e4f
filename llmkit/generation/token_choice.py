"""The next token of each row, chosen from its logits as its request asks."""

from torch import Tensor

from llmkit.generation.request import Sequence


def choose_tokens(logits: Tensor, sequences: list[Sequence], eos_token_id: int) -> list[int]:
    """The next token of each sequence.

    Args:
        logits: (num_sequences, vocab_size), float32.
    """
    return logits.argmax(-1).tolist()
