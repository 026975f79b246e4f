"""The optimizer and the learning rate."""

import math
from collections.abc import Iterable

import torch
from torch import nn

from llmkit.config.schema import Train
from llmkit.errors import count_of


def learning_rate_at(step: int, num_steps: int, train: Train) -> float:
    """Learning rate of a step, counted from 0; a pure function, so there is nothing to restore."""
    peak, low = train.learning_rate, train.min_learning_rate
    start = num_warmup_steps(num_steps, train)
    if step < start:
        return peak * (step + 1) / start
    if train.schedule == "constant":
        return peak
    if train.schedule == "warmup_stable_decay":
        start = max(start, num_steps - num_decay_steps(num_steps, train))
        if step < start:
            return peak
    progress = (step - start) / max(1, num_steps - start)
    if train.schedule == "cosine":
        return low + (peak - low) * 0.5 * (1 + math.cos(math.pi * progress))
    return low + (peak - low) * (1 - progress)


def num_warmup_steps(num_steps: int, train: Train) -> int:
    """Steps of the warm-up; a share of the run's steps is rounded up, as in transformers."""
    steps = train.warmup_steps
    return steps if isinstance(steps, int) else math.ceil(steps * num_steps)


def num_decay_steps(num_steps: int, train: Train) -> int:
    """Steps of the decay of warmup_stable_decay; by default a fifth of the run."""
    return train.decay_steps or max(1, num_steps // 5)


def warm_up_warning(num_steps: int, train: Train) -> str | None:
    """A warning if the warm-up is longer than the run; else None."""
    if num_warmup_steps(num_steps, train) <= num_steps:
        return None
    return (
        f"train.warmup_steps={train.warmup_steps} outlasts the run's "
        f"{count_of(num_steps, 'step')}; the learning rate never reaches its peak: "
        "lower it or train longer"
    )


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = learning_rate


def build_optimizer(model: nn.Module, train: Train) -> torch.optim.Optimizer:
    """The recipe's optimizer for the trainable weights; weight decay applies to matrices only."""
    trainable = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim >= 2], "weight_decay": train.weight_decay},
        {"params": [p for p in trainable if p.ndim < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    lr, (beta1, beta2) = train.learning_rate, train.betas
    match train.optimizer:
        case "adamw":
            return torch.optim.AdamW(groups, lr=lr, betas=(beta1, beta2), fused=True)
        case "rmsprop":
            return torch.optim.RMSprop(groups, lr=lr, alpha=beta2)
        case "sgd":
            return torch.optim.SGD(groups, lr=lr, momentum=beta1)
        case "adafactor":
            return torch.optim.Adafactor(groups, lr=lr)


def state_shapes(
    optimizer: torch.optim.Optimizer, weight: nn.Parameter
) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the optimizer state of a weight after its first update."""
    shape = tuple(weight.shape)
    match getattr(optimizer, "optimizer", optimizer):  # accelerate wraps it
        case torch.optim.AdamW():
            return {"step": (), "exp_avg": shape, "exp_avg_sq": shape}
        case torch.optim.RMSprop():
            return {"step": (), "square_avg": shape}
        case torch.optim.SGD():
            return {"momentum_buffer": shape}
        case torch.optim.Adafactor() if weight.ndim < 2:
            return {"step": (), "variance": shape}
        case torch.optim.Adafactor():
            *outer, rows, columns = shape
            return {"step": (), "row_var": (*outer, rows, 1), "col_var": (*outer, 1, columns)}


def state_bytes(optimizer: torch.optim.Optimizer, weights: Iterable[nn.Parameter]) -> int:
    """Bytes of the optimizer state of these weights."""
    return sum(
        weight.element_size() * math.prod(shape)
        for weight in weights
        for shape in state_shapes(optimizer, weight).values()
    )
