"""A plain PyTorch GPT-2 and training loop, as nanoGPT has them, independent of llmkit.

It reads token files as nanoGPT does (little-endian uint16), computes attention with PyTorch's
scaled_dot_product_attention and the loss from the logits of all positions, and steps fused AdamW.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import GPT2LMHeadModel


class Block(nn.Module):
    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.c_attn, self.attn_proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.c_fc, self.mlp_proj = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        heads = (
            part.view(batch, length, self.num_heads, -1).transpose(1, 2)
            for part in self.c_attn(self.ln_1(x)).split(width, dim=2)
        )
        y = F.scaled_dot_product_attention(*heads, is_causal=True)
        x = x + self.attn_proj(y.transpose(1, 2).reshape(batch, length, width))
        return x + self.mlp_proj(F.gelu(self.c_fc(self.ln_2(x)), approximate="tanh"))


class PlainGPT(nn.Module):
    """GPT-2 without dropout; the output embeddings are the token embeddings."""

    def __init__(self, model: GPT2LMHeadModel) -> None:
        """model: Its shape and weights are taken over."""
        super().__init__()
        config = model.config
        self.wte = nn.Embedding(config.vocab_size, config.n_embd)
        self.wpe = nn.Embedding(config.n_positions, config.n_embd)
        self.blocks = nn.ModuleList(
            Block(config.n_embd, config.n_head) for _ in range(config.n_layer)
        )
        self.ln_f = nn.LayerNorm(config.n_embd)
        self.load(dict(model.transformer.named_parameters()))

    def load(self, weights: dict[str, Tensor]) -> None:
        """Copy GPT-2's weights; those of its Conv1D layers are transposed."""
        names = {"attn.c_attn": "c_attn", "attn.c_proj": "attn_proj"}
        names |= {"mlp.c_fc": "c_fc", "mlp.c_proj": "mlp_proj"}
        with torch.no_grad():
            for name, weight in weights.items():
                prefix, _, kind = name.removeprefix("h.").rpartition(".")
                number, _, layer = prefix.partition(".")
                if layer in names:
                    target = getattr(self.blocks[int(number)], names[layer])
                    weight = weight.T if kind == "weight" else weight
                else:
                    module = f"blocks.{prefix}" if name.startswith("h.") else prefix
                    target = self.get_submodule(module)
                getattr(target, kind).copy_(weight)

    def forward(self, ids: Tensor) -> Tensor:
        """The mean cross-entropy of predicting each token but the first; ids: (B, T)."""
        inputs, targets = ids[:, :-1], ids[:, 1:]
        x = self.wte(inputs) + self.wpe(torch.arange(inputs.shape[1]))
        for block in self.blocks:
            x = block(x)
        logits = F.linear(self.ln_f(x), self.wte.weight)
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def read_tokens(folder: Path, split: str) -> np.ndarray:
    """All token ids of a split, which `llmkit prepare` wrote, with end-of-text before the first
    document, too."""
    shards = [np.fromfile(shard, "<u2") for shard in sorted(folder.glob(f"{split}*.bin"))]
    return np.concatenate([shards[-1][-1:], *shards])


def blocks_at(tokens: np.ndarray, starts: np.ndarray, length: int) -> list[Tensor]:
    """Blocks of tokens from these starts on: (B, length), and one that is cut short, (1, T)."""
    blocks = [torch.from_numpy(tokens[start : start + length].astype(int)) for start in starts]
    whole = [block for block in blocks if len(block) == length]
    short = [block[None] for block in blocks if len(block) < length]
    return [torch.stack(whole), *short] if whole else short


def random_blocks(tokens: np.ndarray, batch: int, length: int, seed: int) -> Iterator[list[Tensor]]:
    """Endless batches of blocks from random starts, as nanoGPT draws them."""
    generator = np.random.default_rng(seed)
    while True:
        yield blocks_at(tokens, generator.integers(len(tokens) - length, size=batch), length)


def ordered_blocks(
    tokens: np.ndarray, orders: Iterable[np.ndarray], batch: int, length: int
) -> Iterator[list[Tensor]]:
    """Batches of consecutive blocks, which share one token with the next, in the given orders."""
    for order in orders:
        for first in range(0, len(order), batch):
            yield blocks_at(tokens, order[first : first + batch] * (length - 1), length)


def build_optimizer(
    model: nn.Module, learning_rate: float, betas: tuple[float, float], weight_decay: float
) -> torch.optim.Optimizer:
    weights = list(model.parameters())
    groups = [
        {"params": [p for p in weights if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in weights if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=learning_rate, betas=betas, fused=True)


def cosine(step: int, num_steps: int, warmup: int, peak: float, low: float) -> float:
    """Learning rate of a step, counted from 0: linear warm-up, then cosine decay."""
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = (step - warmup) / max(1, num_steps - warmup)
    return low + (peak - low) * 0.5 * (1 + math.cos(math.pi * progress))


def train(
    model: nn.Module,
    batches: Iterator[list[Tensor]],
    optimizer: torch.optim.Optimizer,
    rate_at: Callable[[int], float],
    num_steps: int,
) -> Iterator[tuple[float, float]]:
    """Train; yields the loss of each step, and the seconds since the start after it."""
    started = time.perf_counter()
    for step in range(num_steps):
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step)
        loss = mean_over(model, next(batches))
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        yield loss.item(), time.perf_counter() - started


def mean_over(model: nn.Module, parts: list[Tensor]) -> Tensor:
    """The mean cross-entropy over all predicted tokens of blocks of different lengths."""
    counts = [part.shape[0] * (part.shape[1] - 1) for part in parts]
    sums = [model(part) * number for part, number in zip(parts, counts, strict=True)]
    return sum(sums) / sum(counts)


@torch.inference_mode()
def mean_loss(model: nn.Module, tokens: np.ndarray, length: int, batch: int) -> float:
    """Mean nats per token over all tokens but the first, in consecutive blocks."""
    starts = np.arange(0, len(tokens) - 1, length - 1)
    total = 0.0
    for first in range(0, len(starts), batch):
        parts = blocks_at(tokens, starts[first : first + batch], length)
        total += sum(model(part).item() * part.shape[0] * (part.shape[1] - 1) for part in parts)
    return total / (len(tokens) - 1)
