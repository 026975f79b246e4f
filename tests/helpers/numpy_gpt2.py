"""Loss and gradients of GPT-2 in NumPy, written from the papers without code of the package.

Radford et al. 2019 (the model), Hendrycks & Gimpel 2016 (GELU, its tanh form), Ba et al. 2016
(layer normalization). One row at a time, so that there is no padding to get wrong; float64.
"""

import numpy as np

Weights = dict[str, np.ndarray]
EPSILON = 1e-5
IGNORED = -100


def loss_and_gradients(
    weights: Weights, rows: list[tuple[list[int], list[int]]], n_head: int
) -> tuple[float, int, Weights]:
    """(sum of nats, supervised tokens, gradient of the sum) over rows of (input_ids, labels).

    labels are not shifted: the label at a position is the token there, predicted from those before.
    """
    gradients = {name: np.zeros_like(value) for name, value in weights.items()}
    loss, count = 0.0, 0
    for input_ids, labels in rows:
        row_loss, row_count = _row(weights, gradients, np.array(input_ids), labels, n_head)
        loss, count = loss + row_loss, count + row_count
    return loss, count, gradients


def _row(w: Weights, g: Weights, ids: np.ndarray, labels: list[int], n_head: int):
    """Forward and backward of one row; adds to the gradients g."""
    n_layer = len({name.split(".")[1] for name in w if name.startswith("h.")})
    x = w["wte.weight"][ids] + w["wpe.weight"][: len(ids)]
    tape = []
    for layer in range(n_layer):
        x, block = _block(w, f"h.{layer}.", x, n_head)
        tape.append(block)
    x, norm = _layer_norm(w, "ln_f.", x)
    logits = x @ w["wte.weight"].T
    logits -= logits.max(-1, keepdims=True)
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))

    loss, d_logits = 0.0, np.zeros_like(logits)
    targets = [(at, label) for at, label in enumerate(labels[1:]) if label != IGNORED]
    for at, label in targets:
        loss -= log_p[at, label]
        d_logits[at] = np.exp(log_p[at])
        d_logits[at, label] -= 1

    g["wte.weight"] += d_logits.T @ x
    dx = norm(d_logits @ w["wte.weight"], g)
    for block in reversed(tape):
        dx = block(dx, g)
    np.add.at(g["wte.weight"], ids, dx)
    g["wpe.weight"][: len(ids)] += dx
    return loss, len(targets)


def _block(w: Weights, at: str, x: np.ndarray, n_head: int):
    """The output of a block, and the function that backpropagates a gradient through it."""
    normed, norm_1 = _layer_norm(w, f"{at}ln_1.", x)
    attended, attention = _attention(w, f"{at}attn.", normed, n_head)
    middle = x + attended
    normed, norm_2 = _layer_norm(w, f"{at}ln_2.", middle)
    hidden, fc = _linear(w, f"{at}mlp.c_fc.", normed)
    active, gelu = _gelu(hidden)
    projected, proj = _linear(w, f"{at}mlp.c_proj.", active)

    def backward(d: np.ndarray, g: Weights) -> np.ndarray:
        d = d + norm_2(fc(gelu(proj(d, g)), g), g)
        return d + norm_1(attention(d, g), g)

    return middle + projected, backward


def _attention(w: Weights, at: str, x: np.ndarray, n_head: int):
    length, width = x.shape
    size = width // n_head

    def split(y: np.ndarray) -> np.ndarray:  # (T, D) -> (H, T, D / H)
        return y.reshape(length, n_head, size).transpose(1, 0, 2)

    def join(y: np.ndarray) -> np.ndarray:
        return y.transpose(1, 0, 2).reshape(length, width)

    qkv, c_attn = _linear(w, f"{at}c_attn.", x)
    q, k, v = (split(part) for part in np.split(qkv, 3, axis=1))
    scores = q @ k.transpose(0, 2, 1) / np.sqrt(size)
    scores[:, np.triu(np.ones((length, length), bool), 1)] = -np.inf
    p = np.exp(scores - scores.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    out, c_proj = _linear(w, f"{at}c_proj.", join(p @ v))

    def backward(d: np.ndarray, g: Weights) -> np.ndarray:
        d = split(c_proj(d, g))
        dp = d @ v.transpose(0, 2, 1)
        ds = p * (dp - (dp * p).sum(-1, keepdims=True)) / np.sqrt(size)
        parts = ds @ k, ds.transpose(0, 2, 1) @ q, p.transpose(0, 2, 1) @ d
        return c_attn(np.concatenate([join(part) for part in parts], axis=1), g)

    return out, backward


def _linear(w: Weights, at: str, x: np.ndarray):
    """x @ W + b: GPT-2 keeps its matrices input-first."""
    weight, bias = f"{at}weight", f"{at}bias"

    def backward(d: np.ndarray, g: Weights) -> np.ndarray:
        g[weight] += x.T @ d
        g[bias] += d.sum(0)
        return d @ w[weight].T

    return x @ w[weight] + w[bias], backward


def _layer_norm(w: Weights, at: str, x: np.ndarray):
    weight, bias = f"{at}weight", f"{at}bias"
    scale = 1 / np.sqrt(x.var(-1, keepdims=True) + EPSILON)
    normal = (x - x.mean(-1, keepdims=True)) * scale

    def backward(d: np.ndarray, g: Weights) -> np.ndarray:
        g[weight] += (d * normal).sum(0)
        g[bias] += d.sum(0)
        d = d * w[weight]
        mean, along = d.mean(-1, keepdims=True), (d * normal).mean(-1, keepdims=True)
        return scale * (d - mean - normal * along)

    return normal * w[weight] + w[bias], backward


def _gelu(x: np.ndarray):
    c = np.sqrt(2 / np.pi)
    t = np.tanh(c * (x + 0.044715 * x**3))

    def backward(d: np.ndarray) -> np.ndarray:
        inner = c * (1 + 3 * 0.044715 * x**2)
        return d * (0.5 * (1 + t) + 0.5 * x * (1 - t**2) * inner)

    return 0.5 * x * (1 + t), backward
