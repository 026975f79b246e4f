"""The content of run.json: data, model and settings of a run that are not in its recipe."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ModelRecord:
    """The model that training starts from."""

    name: str
    sha256: str
    """SHA-256 of its weights."""
    commit: str | None
    """Commit of a hub model; None for other models."""


@dataclass(frozen=True)
class SplitRecord:
    """The rows of a split."""

    source: str
    rows: int
    tokens_sha256: str
    """SHA-256 of the encoded rows."""


@dataclass(frozen=True)
class RunRecord:
    """The content of run.json, to which `start_run` adds versions, the time and `given`."""

    findings: list[str]
    """Problems of the data that did not stop the run."""
    seed: int
    device: str
    mixed_precision: str
    float32_matmul_precision: str
    deterministic: bool
    """Whether the run uses only deterministic kernels; always true on a CPU."""
    num_processes: int
    model: ModelRecord
    data: dict[str, SplitRecord]
    """The record of each split or test set."""
    train_rows: dict[str, int]
    """Number of training rows by outcome of encoding."""
    labels: list[str]
    """Labels that `generate` chooses from; empty for other tasks."""
    micro_batch_size: int | None
    """Largest number of rows of a micro-batch; None if only its tokens are limited."""
    num_steps: int
    micro_batch_tokens: int | None = None
    """Largest number of tokens of a micro-batch; None if only its rows are limited."""
