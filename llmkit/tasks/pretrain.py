"""Plain language modelling: every token of a text is learnt; scored by its loss.

    {"id": "7", "text": "The ferry left at noon. ..."}

Reported are the loss (mean nats per token), the perplexity, and the bits per byte, which alone
can be compared across tokenizers. The baseline is a general-purpose compressor.
"""

import lzma
from collections.abc import Iterable

from llmkit.tasks.base import Task


def compressor_bits_per_byte(texts: Iterable[str]) -> float:
    """Bits per byte of the texts under xz, all in one file."""
    content = "\n".join(texts).encode()
    return 8 * len(lzma.compress(content, preset=9 | lzma.PRESET_EXTREME)) / len(content)


TASK = Task(
    name="pretrain",
    inputs=(),
    target="text",
    truncatable_input="text",
    template="",
    shapes=("text",),
    output="text",
    scores={"loss": False, "perplexity": False, "bits_per_byte": False},
)
