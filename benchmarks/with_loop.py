"""A plain PyTorch loop like nanoGPT's: full blocks, bf16 autocast, fused AdamW."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from benchmarks import job as shared
from benchmarks.job import Clock, Job, load_model, read_job, rows_in_order, write_result


def build_optimizer(model: nn.Module) -> torch.optim.Optimizer:
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": shared.WEIGHT_DECAY},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=shared.LEARNING_RATE, betas=shared.BETAS, fused=True)


def read_batches(job: Job) -> Iterator[Tensor]:
    """Blocks of equal length, (B, T)."""
    rows = torch.tensor([row["input_ids"] for row in rows_in_order(job)])
    yield from rows.split(job.batch)


def train(job: Job, model: nn.Module) -> tuple[Clock, list[float]]:
    forward = torch.compile(model)
    optimizer = build_optimizer(model)
    batches = list(read_batches(job))
    split = job.tuning["split"]
    losses = []
    clock = Clock()
    for batch in batches:
        loss_sum = 0.0
        for input_ids in batch.chunk(split):
            with torch.autocast("cpu", torch.bfloat16):
                loss = forward(input_ids=input_ids, labels=input_ids, use_cache=False).loss / split
            loss.backward()
            loss_sum += loss.item()
        nn.utils.clip_grad_norm_(model.parameters(), shared.MAX_GRAD_NORM)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss_sum)
        clock.mark()
    return clock, losses


def main() -> None:
    job = read_job()
    torch.manual_seed(shared.SEED)
    model = load_model(job, attn_implementation=job.tuning["attention"]).train()
    clock, losses = train(job, model)
    settings = {
        "torch.compile": True,
        "autocast": "bf16",
        "optim": "torch.optim.AdamW(fused=True)",
        "batch": job.batch,
        **job.tuning,
        "learning_rate": shared.LEARNING_RATE,
        "weight_decay": shared.WEIGHT_DECAY,
        "betas": shared.BETAS,
        "max_grad_norm": shared.MAX_GRAD_NORM,
    }
    lengths = [len(row["input_ids"]) for row in rows_in_order(job)]
    tokens = sum(lengths)
    counts = {"tokens": tokens, "supervised": tokens - len(lengths), "fed": tokens}
    write_result(job, clock, losses, settings, counts)


if __name__ == "__main__":
    main()
