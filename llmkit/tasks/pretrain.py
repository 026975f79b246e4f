"""Plain language modelling: every token of a text is supervised; scored by the loss.

    {"id": "7", "text": "The ferry left at noon. ..."}

The scores are the loss (mean nats per token), the perplexity, and the bits per byte, the only one
that can be compared across tokenizers. The baseline is a general-purpose compressor.
"""

import lzma
from collections.abc import Iterable

from llmkit.tasks.base import Task


def compressor_bits_per_byte(texts: Iterable[str]) -> float:
    """Bits per byte of the texts when xz compresses them as one file."""
    content = "\n".join(texts).encode()
    return 8 * len(lzma.compress(content, preset=9 | lzma.PRESET_EXTREME)) / len(content)


TASK = Task(
    name="pretrain",
    inputs=(),
    target="text",
    truncatable_input="text",
    template="",
    accepted_shapes=("text",),
    output="text",
    scores={"loss": False, "perplexity": False, "bits_per_byte": False},
)
