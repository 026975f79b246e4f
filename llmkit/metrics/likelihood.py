"""Loss, perplexity and bits per byte: the likelihood of the rows' own texts under the model.

Rows (N, 2) hold the nats of their supervised tokens and the number of these tokens; for plain
language modelling a third column holds their bytes. Only bits per byte can be compared across
tokenizers.
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
