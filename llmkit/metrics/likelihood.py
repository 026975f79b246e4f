"""Loss, perplexity and bits per byte: what the model itself says of the rows' own texts.

Rows (N, 2) hold nats and the tokens they are of; a third column, for plain language modelling, the
bytes of those tokens. Bits per byte alone can be compared across tokenizers.
"""

import math

import numpy as np


def scores(rows: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    nats, num_tokens, *num_bytes = (weights @ rows).T
    loss = np.divide(nats, num_tokens, out=np.full_like(nats, np.nan), where=num_tokens > 0)
    if not num_bytes:
        return {"loss": loss}
    return {
        "loss": loss,
        "perplexity": np.exp(np.minimum(loss, 700)),  # above, a float overflows
        "bits_per_byte": nats / math.log(2) / num_bytes[0],
    }
